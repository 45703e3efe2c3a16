// Reversible masking: every personal value becomes a placeholder such as <PERSON_1>, the same value always
// the same one, and placeholders in an answer become the values again. Pure but for the table.
//
// Exact: unmask(mask(text)) == text for any text. What looks like a placeholder in the text itself is masked,
// too
// (<TEXT_1>), so that every placeholder in a masked text is one of ours.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "privacy/policy.h"
#include "privacy/scan.h"

namespace hedge::privacy {

inline constexpr size_t kPlaceholderMax = 48;  // bytes, with the brackets

// The placeholders of one conversation, in order of their making.
class PlaceholderTable {
 public:
  struct Entry {
    std::string placeholder;  // "<PERSON_1>"
    std::string value;
  };

  // The placeholder of a value, made when it has none yet.
  const std::string& placeholder(std::string_view type, std::string_view value);
  // The value behind a placeholder, or null.
  const std::string* value(std::string_view placeholder) const;
  // The placeholder of a value of any type, or null.
  const std::string* known(std::string_view value) const;
  // Puts an entry of a saved table in. kCorrupt when it is no placeholder or stands there with another value.
  Status add(std::string_view placeholder, std::string_view value);

  const std::vector<Entry>& entries() const { return entries_; }
  // Whether some placeholder begins with `text`.
  bool any_begins(std::string_view text) const;

 private:
  std::vector<Entry> entries_;
  std::map<std::string, size_t, std::less<>> by_placeholder_;
  std::map<std::string, size_t, std::less<>> by_value_;  // the first placeholder of each value
  std::map<std::string, size_t, std::less<>> numbers_;   // the last number of each type
};

// Masks texts of one conversation with one table.
class Masker {
 public:
  // `types`: those that are masked. Borrows both.
  Masker(Scanner& scanner, PlaceholderTable& table, TypeSet types = kAllTypes);

  // From here on; what the table knows is masked all the same.
  void set_types(TypeSet types) { types_ = types; }
  // Puts the text's values into the table. A value that is found in one text is masked in all of them: so
  // learn all texts first, then mask them.
  void learn(std::string_view text);
  // `text` with placeholders; learns it, too.
  std::string mask(std::string_view text);

 private:
  struct Range {
    size_t begin = 0;
    size_t end = 0;
    std::string_view type;
  };
  std::vector<Range> find(std::string_view text);
  void add_known(std::string_view text, std::vector<Range>& ranges) const;

  Scanner* scanner_;
  PlaceholderTable* table_;
  TypeSet types_;
};

// How values are written where the placeholders stood.
enum class Escape : uint8_t {
  kNone,
  kJson,  // inside of a JSON string, as tool arguments are
};

// Whether `text` ends in the beginning of one of the table's values, of four bytes or more: what a cut in
// mid-answer leaves of a value.
bool ends_inside_value(std::string_view text, const PlaceholderTable& table);

// Whether a value that is masked wherever it stands does stand in `text`.
bool holds_value(std::string_view text, const PlaceholderTable& table);

// Puts values in the place of placeholders in a text that comes in pieces. Holds back no more than what may
// still become a placeholder (less than kPlaceholderMax bytes).
class Unmasker {
 public:
  // Borrows `table`.
  explicit Unmasker(const PlaceholderTable& table, Escape escape = Escape::kNone)
      : table_(&table), escape_(escape) {}

  // What can be handed on after this piece.
  std::string push(std::string_view piece);
  // The rest, when the text has ended.
  std::string finish();
  // Before finish(), of a text that was cut anywhere: what is held is the beginning of a placeholder of ours,
  // and nobody's text, but for a "<" alone.
  void drop_placeholder();

 private:
  const PlaceholderTable* table_;
  Escape escape_;
  std::string held_;  // empty, or begins with '<' and is the beginning of some placeholder
};

// All at once.
std::string unmask(std::string_view text, const PlaceholderTable& table, Escape escape = Escape::kNone);

// Whether the whole of `text` looks like a placeholder: <UPPER_CASE_12>.
bool is_mask_placeholder(std::string_view text);

}  // namespace hedge::privacy
