#include "text/vocab_split.h"

#include <algorithm>
#include <queue>

#include "base/utf8.h"

namespace hedge::text {
namespace {

bool is_special(TokenType type) {
  switch (type) {
    case TokenType::kControl:
    case TokenType::kUserDefined:
    case TokenType::kUnknown:
      return true;
    case TokenType::kUndefined:
    case TokenType::kNormal:
    case TokenType::kUnused:
    case TokenType::kByte:
      return false;
  }
  return false;
}

bool contains(const std::vector<TokenId>& ids, TokenId id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// isspace() of the C locale, whatever the process has set.
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

SpecialSplitter::SpecialSplitter(const Vocab& vocab, const StripRules& rules) : pairs_(65536 / 64, 0) {
  for (TokenId id = 0; id < vocab.size(); ++id) {
    const TokenType type = vocab.type(id);
    if (!is_special(type) || vocab.name(id).empty()) continue;
    entries_.push_back({vocab.name(id), id, type == TokenType::kUserDefined, contains(rules.left, id),
                        rules.right_all && !contains(rules.right_never, id)});
    const std::string_view name = vocab.name(id);
    const uint32_t first = static_cast<uint8_t>(name[0]) << 8;
    const auto mark = [&](uint32_t pair) { pairs_[pair >> 6] |= uint64_t{1} << (pair & 63); };
    if (name.size() > 1) {
      mark(first | static_cast<uint8_t>(name[1]));
    } else {
      for (uint32_t second = 0; second < 256; ++second) mark(first | second);
    }
  }
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
}

const SpecialSplitter::Entry* SpecialSplitter::longest_at(std::string_view text, size_t position,
                                                          size_t limit, bool parse_special) const {
  // [low, high) is the run of entries that begin with the `depth` bytes read so far; one that ends here comes
  // first.
  const Entry* longest = nullptr;
  size_t low = 0, high = entries_.size();
  limit = std::min(limit, text.size() - position);
  for (size_t depth = 0;; ++depth) {
    if (low < high && entries_[low].name.size() == depth) {
      if (parse_special || entries_[low].always) longest = &entries_[low];
      ++low;
    }
    if (low >= high || depth == limit) return longest;
    const uint8_t byte = static_cast<uint8_t>(text[position + depth]);
    const auto before = [&](const Entry& e) { return static_cast<uint8_t>(e.name[depth]) < byte; };
    const auto not_after = [&](const Entry& e) { return static_cast<uint8_t>(e.name[depth]) <= byte; };
    const auto base = entries_.begin();
    low = std::partition_point(base + low, base + high, before) - base;
    high = std::partition_point(base + low, base + high, not_after) - base;
  }
}

// Which occurrences are taken. The longest token is served first over the whole text, then the next one: so
// among all occurrences those of greater length win, and of equal length the lower id, then the earlier
// place. A text of n bytes has at most n places, and each is looked at again only when what stood there was
// partly taken.
std::vector<SpecialSplitter::Match> SpecialSplitter::resolve(std::string_view text,
                                                             bool parse_special) const {
  const auto later = [&](const Match& a, const Match& b) {
    if (a.size != b.size) return a.size < b.size;
    if (a.entry != b.entry) return entries_[a.entry].id > entries_[b.entry].id;
    return a.begin > b.begin;
  };
  std::priority_queue<Match, std::vector<Match>, decltype(later)> queue(later);
  const auto offer = [&](size_t position, size_t limit) {
    const Entry* entry = longest_at(text, position, limit, parse_special);
    if (entry == nullptr) return;
    queue.push({static_cast<uint32_t>(entry - entries_.data()), static_cast<uint32_t>(entry->name.size()),
                position});
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t second = i + 1 < text.size() ? static_cast<uint8_t>(text[i + 1]) : 0;
    if (may_begin(static_cast<uint8_t>(text[i]), second)) offer(i, text.size());
  }
  std::vector<Match> taken;
  if (queue.empty()) return taken;

  std::vector<bool> used(text.size(), false);
  while (!queue.empty()) {
    const Match match = queue.top();
    queue.pop();
    // What is taken already is at least as long, so an overlap shows at one of the two ends.
    if (used[match.begin]) continue;
    if (used[match.begin + match.size - 1]) {
      size_t limit = match.size - 1;
      while (used[match.begin + limit - 1]) --limit;  // Ends: the first byte is free.
      offer(match.begin, limit);
      continue;
    }
    taken.push_back(match);
    size_t begin = match.begin, end = match.begin + match.size;
    if (entries_[match.entry].strips_left) {
      while (begin > 0 && !used[begin - 1] && is_space(text[begin - 1])) --begin;
    }
    if (entries_[match.entry].strips_right) {
      while (end < text.size() && !used[end] && is_space(text[end])) ++end;
    }
    std::fill(used.begin() + begin, used.begin() + end, true);
  }
  std::sort(taken.begin(), taken.end(), [](const Match& a, const Match& b) { return a.begin < b.begin; });

  // Stripped white space is part of no fragment: widen each match by what it swallowed.
  for (size_t i = 0; i < taken.size(); ++i) {
    Match& match = taken[i];
    const size_t previous_end = i == 0 ? 0 : taken[i - 1].begin + taken[i - 1].size;
    size_t end = match.begin + match.size;
    const size_t next_begin = i + 1 < taken.size() ? taken[i + 1].begin : text.size();
    while (match.begin > previous_end && used[match.begin - 1]) --match.begin;
    while (end < next_begin && used[end]) ++end;
    match.size = static_cast<uint32_t>(end - match.begin);
  }
  return taken;
}

std::vector<SpecialSplitter::Fragment> SpecialSplitter::split(std::string_view text,
                                                              bool parse_special) const {
  std::vector<Fragment> fragments;
  size_t end = 0;
  for (const Match& match : resolve(text, parse_special)) {
    if (match.begin > end) fragments.push_back({-1, text.substr(end, match.begin - end)});
    fragments.push_back({entries_[match.entry].id, {}});
    end = match.begin + match.size;
  }
  if (end < text.size()) fragments.push_back({-1, text.substr(end)});
  return fragments;
}

std::string SpecialSplitter::with_controls_marked(std::string_view text, std::string_view mark) const {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    out.push_back(text[i]);
    const uint8_t second = i + 1 < text.size() ? static_cast<uint8_t>(text[i + 1]) : 0;
    if (!may_begin(static_cast<uint8_t>(text[i]), second)) continue;
    const Entry* entry = longest_at(text, i, text.size(), /*parse_special=*/true);
    if (entry == nullptr || entry->always) continue;
    // Not inside of a character.
    while (i + 1 < text.size() && utf8_continues(text[i + 1])) out.push_back(text[++i]);
    out.append(mark);
  }
  return out;
}

}  // namespace hedge::text
