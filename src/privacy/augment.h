// Makes new training texts out of old ones and of templates: other names, places, numbers in the same places.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "privacy/example.h"

namespace hedge::privacy {

// Words by kind and country; see assets/make_lists.py for the file.
struct WordLists {
  struct Entry {
    std::string locale;
    std::string value;
  };
  std::map<std::string, std::vector<Entry>, std::less<>> kinds;

  // Lines "kind TAB locale TAB value"; kCorrupt names the line that is none.
  static Result<WordLists> parse(std::string_view text);
};

// Nationalities, religious and political groups: "Polish", "Muslim".
std::span<const std::string_view> nationalities();

class Augmenter {
 public:
  // Borrows all of it. `pool`: the texts whose own values are used again, too.
  Augmenter(const WordLists& lists, const std::vector<Example>& pool, uint64_t seed);

  // `example` with other values of the same kinds, and now and then in lower case.
  Example vary(const Example& example);
  // A template with every {{TYPE}} filled; {{TYPE:like this}} with a value of the same form. {{NUMBER}} is a
  // number that nothing personal hangs on, and stays unmarked.
  Example fill(std::string_view text, int64_t group);

 private:
  std::string value(const std::string& type, std::string_view old);
  std::string person();
  std::string place(std::string_view old);
  std::string street();
  std::string address(std::string_view old);
  std::string company();
  std::string title(std::string_view old);
  std::string date(std::string_view old);
  std::string zip();
  std::string phone();
  std::string card();
  std::string iban();
  std::string url();
  std::string email();
  std::string digits(std::string_view pattern);  // '#': a digit, '%': 1 to 9
  const std::string& pick(std::string_view kind);
  const std::string& pick(std::string_view kind, std::string_view locale);
  bool chance(double p) { return rng_.uniform() < p; }
  std::string_view one_of(std::initializer_list<std::string_view> values) {
    return values.begin()[rng_.below(values.size())];
  }

  const WordLists* lists_;
  std::map<std::string, std::vector<std::string>, std::less<>> pool_;  // values by type
  std::map<std::string, std::map<std::string, std::vector<const std::string*>, std::less<>>, std::less<>>
      by_locale_;
  Rng rng_;
};

}  // namespace hedge::privacy
