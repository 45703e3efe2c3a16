// Reversible masking: every personal value becomes a placeholder such as <PERSON_1>, the same value always
// the same one, and placeholders in an answer become the values again. Pure but for the table.
//
// Exact: unmask(mask(text)) == text for any text. What looks like a placeholder in the text itself is masked,
// too
// (<TEXT_1>), so that every placeholder in a masked text is one of ours.
//
// Of a name its words are masked, too, where they stand alone: <PERSON_1_1>, <PERSON_1_2>, numbered as they
// come (name_words.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "privacy/json_members.h"
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

  // The placeholder of a value, made when it has none yet; of a word of a name that is here, the name's with
  // one number more.
  const std::string& placeholder(std::string_view type, std::string_view value);
  // The value behind a placeholder, or null.
  const std::string* value(std::string_view placeholder) const;
  // The placeholder of a value of any type, or null.
  const std::string* known(std::string_view value) const;
  // The first name that has the whole of `text` as one of its words, or the word of this hash; or null.
  const Entry* name_with(std::string_view text) const;
  const Entry* name_with(uint32_t word) const;
  // Puts an entry of a saved table in. kCorrupt when it is no placeholder or stands there with another value.
  Status add(std::string_view placeholder, std::string_view value);

  const std::vector<Entry>& entries() const { return entries_; }
  // Whether some placeholder begins with `text`.
  bool any_begins(std::string_view text) const;

 private:
  void add_entry(std::string placeholder, std::string_view value);

  std::vector<Entry> entries_;
  std::map<std::string, size_t, std::less<>> by_placeholder_;
  std::map<std::string, size_t, std::less<>> by_value_;  // the first placeholder of each value
  std::map<std::string, size_t, std::less<>> numbers_;   // the last number of each type, and of each name
  std::map<uint32_t, size_t> by_word_;                   // the first name that has the word
};

// "PERSON" of "<PERSON_1>" and of its part, "<PERSON_1_2>".
std::string_view type_of(std::string_view placeholder);

// Masks texts of one conversation with one table.
class Masker {
 public:
  // `types`: those that are masked. Borrows both.
  Masker(Scanner& scanner, PlaceholderTable& table, TypeSet types = kAllTypes);

  // From here on; what the table knows is masked all the same.
  void set_types(TypeSet types) { types_ = types; }
  // Puts the text's values into the table. A value that is found in one text is masked in all of them: so
  // learn all texts first, then mask them.
  void learn(std::string_view text) { learn(text, 0, types_); }
  // `text` with placeholders; learns it, too.
  std::string mask(std::string_view text) { return mask(text, 0, types_); }
  // The same for a text of JSON, string by string; it stays JSON. A string in which something is masked is
  // written anew, so that not every byte comes back, but every value. REQUIRES is_json_text(json).
  void learn_json(std::string_view json);
  std::string mask_json(std::string_view json);

  // The placeholders that stand in what was masked.
  const std::set<std::string, std::less<>>& used() const { return used_; }

 private:
  struct Range {
    size_t begin = 0;
    size_t end = 0;
    std::string_view type;
  };
  // The first `label` bytes of the text are none of it, but say what follows.
  void learn(std::string_view text, size_t label, TypeSet types);
  std::string mask(std::string_view text, size_t label, TypeSet types);
  std::vector<Range> find(std::string_view text, size_t label, TypeSet types);
  void add_known(std::string_view text, std::vector<Range>& ranges) const;
  void add_name_words(std::string_view text, std::vector<Range>& ranges) const;

  Scanner* scanner_;
  PlaceholderTable* table_;
  TypeSet types_;
  JsonWork json_;
  std::set<std::string, std::less<>> used_;
};

// How values are written where the placeholders stood.
enum class Escape : uint8_t {
  kNone,
  kJson,  // inside of a JSON string, as tool arguments are
};

// Whether `text` ends in the beginning of one of the table's values, of four bytes or more: what a cut in
// mid-answer leaves of a value.
bool ends_inside_value(std::string_view text, const PlaceholderTable& table);

// Whether a value that is masked wherever it stands does stand in `text`, or a word of a name, unless it is
// an English word as well: definitions of tools would be full of "Mark" and "Will".
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

// In what a tool is called with: JSON, or what a model took for it. Placeholders that are spelled in escapes
// are found, too.
std::string unmask_json(std::string_view json, const PlaceholderTable& table);

// Whether the whole of `text` looks like a placeholder: <UPPER_CASE_12>.
bool is_mask_placeholder(std::string_view text);

}  // namespace hedge::privacy
