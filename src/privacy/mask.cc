#include "privacy/mask.h"

#include <algorithm>

#include "base/utf8.h"
#include "privacy/fold.h"

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

void append_escaped(std::string& out, std::string_view value, Escape escape) {
  if (escape == Escape::kNone) {
    out += value;
    return;
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : value) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
          out.push_back(kHex[static_cast<unsigned char>(c) & 15]);
        } else {
          out.push_back(c);
        }
    }
  }
}

// A letter or digit of any script: what may not touch a value that is looked for as text.
bool word_before(std::string_view text, size_t position) {
  if (position == 0) return false;
  const char c = text[position - 1];
  return is_alnum(c) || static_cast<unsigned char>(c) >= 0x80;
}
bool word_after(std::string_view text, size_t position) {
  if (position >= text.size()) return false;
  const char c = text[position];
  return is_alnum(c) || static_cast<unsigned char>(c) >= 0x80;
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

const std::string& PlaceholderTable::placeholder(std::string_view type, std::string_view value) {
  // One value of two types would be two placeholders for one thing.
  if (const auto found = by_value_.find(value); found != by_value_.end())
    return entries_[found->second].placeholder;
  const auto number = numbers_.emplace(std::string(type), 0).first;
  std::string made;
  do {
    made = "<" + std::string(type) + "_" + std::to_string(++number->second) + ">";
  } while (by_placeholder_.find(made) != by_placeholder_.end());
  by_placeholder_.emplace(made, entries_.size());
  by_value_.emplace(std::string(value), entries_.size());
  entries_.push_back(Entry{std::move(made), std::string(value)});
  return entries_.back().placeholder;
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
  by_placeholder_.emplace(std::string(placeholder), entries_.size());
  by_value_.emplace(std::string(value), entries_.size());
  entries_.push_back(Entry{std::string(placeholder), std::string(value)});
  return {};
}

bool PlaceholderTable::any_begins(std::string_view text) const {
  const auto at = by_placeholder_.lower_bound(text);
  return at != by_placeholder_.end() && std::string_view(at->first).substr(0, text.size()) == text;
}

Masker::Masker(Scanner& scanner, PlaceholderTable& table, TypeSet types)
    : scanner_(&scanner), table_(&table), types_(types) {}

std::vector<Masker::Range> Masker::find(std::string_view text) {
  std::vector<Range> ranges;
  for (const Span& span : scanner_->scan(text)) {
    if ((types_ & set_of(span.type)) != 0) ranges.push_back(Range{span.begin, span.end, span.type});
  }
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

void Masker::learn(std::string_view text) {
  for (const Range& range : find(text))
    table_->placeholder(range.type, text.substr(range.begin, range.end - range.begin));
}

// Values known from other texts, longest first, where no range lies yet.
void Masker::add_known(std::string_view text, std::vector<Range>& ranges) const {
  std::vector<const PlaceholderTable::Entry*> entries;
  for (const PlaceholderTable::Entry& entry : table_->entries()) {
    if (masked_everywhere(entry.value)) entries.push_back(&entry);
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto* a, const auto* b) { return a->value.size() > b->value.size(); });
  for (const PlaceholderTable::Entry* entry : entries) {
    const std::string_view value = entry->value;
    for (size_t at = text.find(value); at != std::string_view::npos; at = text.find(value, at + 1)) {
      const size_t end = at + value.size();
      if (word_before(text, at) || word_after(text, end)) continue;
      const auto after =
          std::partition_point(ranges.begin(), ranges.end(), [at](const Range& r) { return r.end <= at; });
      if (after != ranges.end() && after->begin < end) continue;
      ranges.insert(after, Range{at, end, {}});
    }
  }
}

std::string Masker::mask(std::string_view text) {
  std::vector<Range> ranges = find(text);
  for (const Range& range : ranges)
    table_->placeholder(range.type, text.substr(range.begin, range.end - range.begin));
  add_known(text, ranges);
  std::string out;
  size_t at = 0;
  for (const Range& range : ranges) {
    out.append(text, at, range.begin - at);
    out += table_->placeholder(range.type, text.substr(range.begin, range.end - range.begin));
    at = range.end;
  }
  out.append(text, at);
  return out;
}

bool holds_value(std::string_view text, const PlaceholderTable& table) {
  for (const PlaceholderTable::Entry& entry : table.entries()) {
    // A text that looked like a placeholder may be one of ours by now.
    if (!masked_everywhere(entry.value) || is_mask_placeholder(entry.value)) continue;
    for (size_t at = text.find(entry.value); at != std::string_view::npos;
         at = text.find(entry.value, at + 1)) {
      if (!word_before(text, at) && !word_after(text, at + entry.value.size())) return true;
    }
  }
  return false;
}

bool ends_inside_value(std::string_view text, const PlaceholderTable& table) {
  return std::any_of(table.entries().begin(), table.entries().end(), [text](const auto& entry) {
    const std::string_view value = entry.value;
    for (size_t size = std::min(text.size(), value.size() - 1); size >= kBeginningMin; --size) {
      if (text.ends_with(value.substr(0, size))) return true;
    }
    return false;
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
      append_escaped(out, *value, escape_);
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

}  // namespace hedge::privacy
