#include "privacy/mask.h"

#include <algorithm>

#include "base/utf8.h"
#include "privacy/fold.h"
#include "privacy/name_words.h"

namespace hedge::privacy {
namespace {

constexpr std::string_view kTextType = "TEXT";
// Shorter values stand in texts by chance: they are masked where they are found and nowhere else. A name is
// one with three letters ("Ann").
constexpr size_t kEverywhereMin = 4;
constexpr size_t kNameEverywhereMin = 3;
constexpr size_t kBeginningMin = 4;  // of a value that was cut

bool masked_everywhere(std::string_view value) {
  return value.size() >= kEverywhereMin || (value.size() >= kNameEverywhereMin && is_upper(value[0]) &&
                                            std::all_of(value.begin() + 1, value.end(), is_lower));
}

bool is_name_char(char c) { return is_upper(c) || is_digit(c) || c == '_'; }

// End of the text at `begin`, which is '<', that looks like a placeholder, or 0.
size_t placeholder_end(std::string_view text, size_t begin) {
  size_t end = begin + 1;
  while (end < text.size() && end - begin < kPlaceholderMax && is_name_char(text[end])) ++end;
  if (end >= text.size() || text[end] != '>') return 0;
  return is_mask_placeholder(text.substr(begin, end + 1 - begin)) ? end + 1 : 0;
}

// A letter or digit of any script that writes spaces between words: what may not touch a value that is looked
// for as text.
bool is_word_char(std::string_view text, size_t position) {
  if (static_cast<unsigned char>(text[position]) < 0x80) return is_alnum(text[position]);
  const char folded = fold_char(utf8_next(text, position));
  return is_alnum(folded) || folded == kLetter;
}
bool word_before(std::string_view text, size_t position) {
  if (position == 0) return false;
  --position;
  while (position > 0 && utf8_continues(text[position])) --position;
  return is_word_char(text, position);
}
bool word_after(std::string_view text, size_t position) {
  return position < text.size() && is_word_char(text, position);
}

bool is_name(const PlaceholderTable::Entry& entry) {
  const std::string_view type = type_of(entry.placeholder);
  const std::string_view number = std::string_view(entry.placeholder).substr(type.size() + 2);
  return has_name_words(type) && number.find('_') == std::string_view::npos;
}

// Puts `range` where it belongs; not where one lies already.
template <typename Range>
void insert_free(std::vector<Range>& ranges, Range range) {
  const auto after = std::partition_point(ranges.begin(), ranges.end(),
                                          [&](const Range& r) { return r.end <= range.begin; });
  if (after == ranges.end() || after->begin >= range.end) ranges.insert(after, range);
}

}  // namespace

bool is_mask_placeholder(std::string_view text) {
  if (text.size() < 5 || text.size() > kPlaceholderMax || text.front() != '<' || text.back() != '>')
    return false;
  const std::string_view name = text.substr(1, text.size() - 2);
  const size_t line = name.rfind('_');
  if (line == std::string_view::npos || line == 0 || line + 1 == name.size()) return false;
  const std::string_view number = name.substr(line + 1);
  return is_upper(name[0]) && std::all_of(name.begin(), name.end(), is_name_char) &&
         std::all_of(number.begin(), number.end(), is_digit);
}

std::string_view type_of(std::string_view placeholder) {
  std::string_view name = placeholder.substr(1, placeholder.size() - 2);
  for (size_t line = name.rfind('_'); line != std::string_view::npos && is_digit(name.back());
       line = name.rfind('_'))
    name = name.substr(0, line);
  return name;
}

const std::string& PlaceholderTable::placeholder(std::string_view type, std::string_view value) {
  // One value of two types would be two placeholders for one thing.
  if (const auto found = by_value_.find(value); found != by_value_.end())
    return entries_[found->second].placeholder;
  std::string kind(type);
  if (const Entry* name = name_with(value)) kind = name->placeholder.substr(1, name->placeholder.size() - 2);
  size_t& number = numbers_[kind];
  std::string made;
  do {
    made = "<" + kind + "_" + std::to_string(++number) + ">";
  } while (by_placeholder_.find(made) != by_placeholder_.end());
  add_entry(std::move(made), value);
  return entries_.back().placeholder;
}

void PlaceholderTable::add_entry(std::string placeholder, std::string_view value) {
  const size_t index = entries_.size();
  by_placeholder_.emplace(placeholder, index);
  by_value_.emplace(std::string(value), index);
  entries_.push_back(Entry{std::move(placeholder), std::string(value)});
  if (!is_name(entries_.back())) return;
  const std::string_view type = type_of(entries_.back().placeholder);
  each_capital_word(value, [&](const Token& word) {
    if (!is_common_word(type, word)) by_word_.emplace(word.word, index);
  });
}

const PlaceholderTable::Entry* PlaceholderTable::name_with(uint32_t word) const {
  const auto found = by_word_.find(word);
  return found == by_word_.end() ? nullptr : &entries_[found->second];
}

const PlaceholderTable::Entry* PlaceholderTable::name_with(std::string_view text) const {
  Token word;
  size_t position = 0;
  const bool is_word = read_tokens(text, {}, position, {&word, 1}) == 1 && word.begin == 0 &&
                       word.end == text.size() && may_be_of_a_name(word);
  return is_word ? name_with(word.word) : nullptr;
}

const std::string* PlaceholderTable::value(std::string_view placeholder) const {
  const auto found = by_placeholder_.find(placeholder);
  return found == by_placeholder_.end() ? nullptr : &entries_[found->second].value;
}

const std::string* PlaceholderTable::known(std::string_view value) const {
  const auto found = by_value_.find(value);
  return found == by_value_.end() ? nullptr : &entries_[found->second].placeholder;
}

Status PlaceholderTable::add(std::string_view placeholder, std::string_view value) {
  if (!is_mask_placeholder(placeholder))
    return make_error(ErrorCode::kCorrupt, "expected placeholders such as <PERSON_1>, got something else");
  if (const std::string* there = this->value(placeholder); there != nullptr) {
    if (*there == value) return {};
    return make_error(ErrorCode::kCorrupt,
                      "expected one value for " + std::string(placeholder) + ", got two");
  }
  add_entry(std::string(placeholder), value);
  return {};
}

bool PlaceholderTable::any_begins(std::string_view text) const {
  const auto at = by_placeholder_.lower_bound(text);
  return at != by_placeholder_.end() && std::string_view(at->first).substr(0, text.size()) == text;
}

Masker::Masker(Scanner& scanner, PlaceholderTable& table, TypeSet types)
    : scanner_(&scanner), table_(&table), types_(types) {}

std::vector<Masker::Range> Masker::find(std::string_view text, size_t label, TypeSet types) {
  std::vector<Range> ranges;
  for (const Span& span : scanner_->scan(text)) {
    if (counts_behind(label, span, text, types))
      ranges.push_back(Range{std::max(span.begin, label) - label, span.end - label, span.type});
  }
  text.remove_prefix(label);
  for (size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1)) {
    if (const size_t end = placeholder_end(text, at); end != 0) ranges.push_back(Range{at, end, kTextType});
  }
  // What overlaps becomes one: a placeholder that is cut in two would not be found again.
  std::stable_sort(ranges.begin(), ranges.end(),
                   [](const Range& a, const Range& b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (kept > 0 && ranges[i].begin < ranges[kept - 1].end) {
      ranges[kept - 1].end = std::max(ranges[kept - 1].end, ranges[i].end);
    } else {
      ranges[kept++] = ranges[i];
    }
  }
  ranges.resize(kept);
  return ranges;
}

// A word of a name that is here gets its number when all is known and it is masked: in the order of the
// conversation, so that one that goes on has it as before.
void Masker::learn(std::string_view text, size_t label, TypeSet types) {
  for (const Range& range : find(text, label, types)) {
    const std::string_view value = text.substr(label + range.begin, range.end - range.begin);
    if (table_->name_with(value) == nullptr) table_->placeholder(range.type, value);
  }
}

void Masker::learn_json(std::string_view json) {
  // What a neighbour tells of a string or number: {"kind":"phone","value":"1234567"}.
  for (const Range& range : find(json, 0, types_ & ~kTaggedOnly)) {
    const std::string_view value = json.substr(range.begin, range.end - range.begin);
    if (value.find_first_of("\"\\") == std::string_view::npos) table_->placeholder(range.type, value);
  }
  each_member(json, json_, [this](const JsonPiece& piece, std::string_view text, size_t label) {
    learn(text, label, types_of(piece, text.substr(label), types_));
  });
}

// Values known from other texts, longest first, where no range lies yet.
void Masker::add_known(std::string_view text, std::vector<Range>& ranges) const {
  std::vector<const PlaceholderTable::Entry*> entries;
  for (const PlaceholderTable::Entry& entry : table_->entries()) {
    if (entry.value.size() <= text.size() && masked_everywhere(entry.value)) entries.push_back(&entry);
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto* a, const auto* b) { return a->value.size() > b->value.size(); });
  for (const PlaceholderTable::Entry* entry : entries) {
    const std::string_view value = entry->value;
    for (size_t at = text.find(value); at != std::string_view::npos; at = text.find(value, at + 1)) {
      const size_t end = at + value.size();
      if (word_before(text, at) || word_after(text, end)) continue;
      insert_free(ranges, Range{at, end, {}});
    }
  }
}

void Masker::add_name_words(std::string_view text, std::vector<Range>& ranges) const {
  each_capital_word(text, [&](const Token& word) {
    if (table_->name_with(word.word) != nullptr) insert_free(ranges, Range{word.begin, word.end, {}});
  });
}

std::string Masker::mask(std::string_view text, size_t label, TypeSet types) {
  std::vector<Range> ranges = find(text, label, types);
  text.remove_prefix(label);
  for (const Range& range : ranges)
    table_->placeholder(range.type, text.substr(range.begin, range.end - range.begin));
  add_known(text, ranges);
  add_name_words(text, ranges);
  std::string out;
  size_t at = 0;
  for (const Range& range : ranges) {
    out.append(text, at, range.begin - at);
    out += *used_.insert(table_->placeholder(range.type, text.substr(range.begin, range.end - range.begin)))
                .first;
    at = range.end;
  }
  out.append(text, at);
  return out;
}

std::string Masker::mask_json(std::string_view json) {
  return rewrite_members(json, json_, [this](const JsonPiece& piece, std::string_view text, size_t label) {
    // However short it is, a value that is the whole of a string stands there for itself.
    const std::string_view said = text.substr(label);
    const std::string* known = piece.kind == JsonPiece::Kind::kString ? table_->known(said) : nullptr;
    if (known != nullptr) return *used_.insert(*known).first;
    return mask(text, label, types_of(piece, said, types_));
  });
}

bool holds_value(std::string_view text, const PlaceholderTable& table) {
  for (const PlaceholderTable::Entry& entry : table.entries()) {
    // A text that looked like a placeholder may be one of ours by now.
    if (!masked_everywhere(entry.value) || is_mask_placeholder(entry.value)) continue;
    if (table.name_with(entry.value) != nullptr) continue;  // below
    for (size_t at = text.find(entry.value); at != std::string_view::npos;
         at = text.find(entry.value, at + 1)) {
      if (!word_before(text, at) && !word_after(text, at + entry.value.size())) return true;
    }
  }
  bool held = false;
  each_capital_word(text, [&](const Token& word) {
    held = held || (table.name_with(word.word) != nullptr && !is_english_word(word));
  });
  return held;
}

bool ends_inside_value(std::string_view text, const PlaceholderTable& table) {
  const auto ends_inside = [text](std::string_view value) {
    for (size_t size = std::min(text.size(), value.size() - 1); size >= kBeginningMin; --size) {
      if (text.ends_with(value.substr(0, size))) return true;
    }
    return false;
  };
  return std::any_of(table.entries().begin(), table.entries().end(), [&](const auto& entry) {
    bool inside = ends_inside(entry.value);
    each_capital_word(entry.value, [&](const Token& word) {
      if (table.name_with(word.word) != nullptr)
        inside =
            inside || ends_inside(std::string_view(entry.value).substr(word.begin, word.end - word.begin));
    });
    return inside;
  });
}

std::string Unmasker::push(std::string_view piece) {
  std::string out;
  while (!piece.empty()) {
    if (held_.empty()) {
      const size_t open = std::min(piece.find('<'), piece.size());
      out.append(piece, 0, open);
      piece.remove_prefix(open);
      if (piece.empty()) break;
    }
    // One byte more; what is held begins some placeholder or is let go but for its own last '<'.
    held_.push_back(piece.front());
    piece.remove_prefix(1);
    if (const std::string* value = held_.back() == '>' ? table_->value(held_) : nullptr) {
      escape_ == Escape::kJson ? append_json_escaped(out, *value) : void(out += *value);
      held_.clear();
    } else if (!table_->any_begins(held_)) {
      const bool opens = held_.size() > 1 && held_.back() == '<';
      out.append(held_, 0, held_.size() - (opens ? 1 : 0));
      held_ = opens && table_->any_begins("<") ? "<" : "";
      if (opens && held_.empty()) out.push_back('<');
    }
  }
  return out;
}

std::string Unmasker::finish() { return std::exchange(held_, {}); }

void Unmasker::drop_placeholder() {
  if (held_.size() > 1) held_.clear();
}

std::string unmask(std::string_view text, const PlaceholderTable& table, Escape escape) {
  Unmasker unmasker(table, escape);
  std::string out = unmasker.push(text);
  return out + unmasker.finish();
}

std::string unmask_json(std::string_view json, const PlaceholderTable& table) {
  if (!is_json_text(json)) return unmask(json, table, Escape::kJson);
  JsonWork work;
  return rewrite_members(json, work, [&](const JsonPiece&, std::string_view text, size_t label) {
    return unmask(text.substr(label), table);
  });
}

}  // namespace hedge::privacy
