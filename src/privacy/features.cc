#include "privacy/features.h"

#include <algorithm>

namespace hedge::privacy {
namespace {

constexpr size_t kLabelReach = 12;  // tokens after a "Name:" that it may speak of
constexpr size_t kBagReach = 6;

// Lists without the one of English words, and whether that holds it: for a word that is both, the first tells
// more with the second than alone.
uint32_t lists_of(const Token& t) { return t.lists; }

// Length, value range and neighbourhood of digits.
uint32_t number_class(const Token& t) {
  if (t.kind != TokenKind::kNumber) return 0;
  uint32_t c = std::min<uint32_t>(t.chars, 12) * 16;
  if (t.chars == 4 && t.value >= 1800 && t.value < 2100) c += 1;
  if (t.chars <= 2) c += t.value == 0 ? 2 : t.value <= 12 ? 3 : t.value <= 31 ? 4 : 5;
  if (t.chars == 3) c += t.value <= 120 ? 6 : 7;
  return c + 1;
}

class Collector {
 public:
  Collector(std::span<const Token> tokens, size_t i, std::span<uint32_t, kFeaturesMax> out)
      : tokens_(tokens), i_(i), out_(out) {}

  void add(uint32_t kind, uint32_t value) {
    if (count_ == out_.size()) return;
    const uint32_t h = mix(kind, value);
    out_[count_++] = h == 0 ? 1 : h;
  }
  void add(uint32_t kind, uint32_t a, uint32_t b) { add(kind, mix(a, b)); }
  void add(uint32_t kind, uint32_t a, uint32_t b, uint32_t c) { add(kind, mix(mix(a, b), c)); }

  const Token* at(int offset) const {
    const auto index = static_cast<int64_t>(i_) + offset;
    if (index < 0 || index >= static_cast<int64_t>(tokens_.size())) return nullptr;
    return &tokens_[static_cast<size_t>(index)];
  }
  uint32_t word(int offset) const {
    const Token* t = at(offset);
    if (t == nullptr) return offset < 0 ? 11 : 12;
    return t->kind == TokenKind::kNumber ? 1000 + number_class(*t) : t->word;
  }
  // How it looks: kind of its letters, length class.
  uint32_t shape(int offset) const {
    const Token* t = at(offset);
    if (t == nullptr) return offset < 0 ? 1 : 2;
    if (t->kind == TokenKind::kNumber) return 256 + std::min<uint32_t>(t->chars, 12);
    return static_cast<unsigned char>(t->shape);
  }
  // With the break before it.
  uint32_t gap(int offset) const {
    const Token* t = at(offset);
    if (t == nullptr) return 3;
    return t->blank_before ? 4 : t->line_before ? 2 : t->space_before ? 1 : 0;
  }
  uint32_t lists(int offset) const {
    const Token* t = at(offset);
    return t == nullptr ? 0 : lists_of(*t);
  }
  size_t count() const { return count_; }

 private:
  std::span<const Token> tokens_;
  size_t i_;
  std::span<uint32_t, kFeaturesMax> out_;
  size_t count_ = 0;
};

}  // namespace

void find_facts(std::span<const Token> tokens, WindowFacts& facts) {
  facts.any_upper = false;
  uint32_t label = 0;
  size_t label_at = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& t = tokens[i];
    facts.any_upper = facts.any_upper || t.shape == 'A' || t.shape == 'C' || t.shape == 'M' || t.shape == 'U';
    if (t.shape == ':' && i > 0 && tokens[i - 1].kind == TokenKind::kWord) {
      label = tokens[i - 1].word;
      label_at = i;
    }
    if (t.blank_before && i > label_at + 1) label = 0;
    facts.label_word[i] = i > label_at && i - label_at <= kLabelReach ? label : 0;
  }
  for (size_t begin = 0; begin < tokens.size();) {
    size_t end = begin;
    size_t upper = 0, other = 0;
    do {
      if (tokens[end].shape == 'A') ++upper;
      if (tokens[end].shape == 'a' || tokens[end].shape == 'C' || tokens[end].shape == 'M') ++other;
      ++end;
    } while (end < tokens.size() && !tokens[end].line_before);
    const bool all = upper > 0 && other == 0;
    std::fill(facts.upper_line.begin() + static_cast<ptrdiff_t>(begin),
              facts.upper_line.begin() + static_cast<ptrdiff_t>(end), all);
    begin = end;
  }
}

size_t extract_features(std::span<const Token> tokens, const WindowFacts& facts, size_t i,
                        std::span<uint32_t, kFeaturesMax> out) {
  Collector c(tokens, i, out);
  const Token& t = tokens[i];
  const uint32_t shape = c.shape(0);
  const uint32_t lists = c.lists(0);
  c.add(1, 0);
  c.add(2, c.word(0));
  c.add(3, c.word(-1));
  c.add(4, c.word(1));
  c.add(5, c.word(-2));
  c.add(6, c.word(2));
  c.add(7, c.word(-1), c.word(0));
  c.add(8, c.word(0), c.word(1));
  c.add(9, c.word(-2), c.word(-1));
  c.add(10, c.word(1), c.word(2));
  c.add(11, c.word(-1), c.word(1));
  c.add(12, shape, facts.any_upper ? 1 : 0);
  c.add(13, shape, c.gap(0));
  c.add(14, c.shape(-1), shape, c.gap(0));
  c.add(15, shape, c.shape(1), c.gap(1));
  c.add(16, mix(c.shape(-1), shape), c.shape(1), mix(c.gap(0), c.gap(1)));
  c.add(17, mix(c.shape(-2), c.shape(-1)), shape);
  c.add(18, shape, mix(c.shape(1), c.shape(2)));
  c.add(19, mix(c.shape(-2), c.shape(-1)), mix(shape, c.shape(1)), c.shape(2));
  c.add(20, shape, c.word(-1));
  c.add(21, shape, c.word(1));
  c.add(22, shape, c.word(-2), c.word(-1));
  c.add(23, lists, shape);
  c.add(24, lists, c.lists(1));
  c.add(25, c.lists(-1), lists);
  c.add(26, lists, c.word(-1));
  c.add(27, lists, c.word(1));
  c.add(28, c.lists(-1), lists, c.lists(1));
  c.add(29, lists, c.shape(1), c.shape(-1));
  for (uint32_t bit = 0; bit < 8; ++bit) {
    if ((lists >> bit & 1) != 0) c.add(30, bit);
    if ((c.lists(-1) >> bit & 1) != 0) c.add(31, bit, c.gap(0));
    if ((c.lists(1) >> bit & 1) != 0) c.add(32, bit, c.gap(1));
  }
  if (t.kind == TokenKind::kWord) {
    c.add(33, t.prefix2);
    c.add(34, t.prefix3);
    c.add(35, t.suffix2);
    c.add(36, t.suffix3);
    c.add(37, t.suffix4);
    c.add(38, t.suffix3, shape);
    c.add(39, std::min<uint32_t>(t.chars, 16), shape);
    c.add(40, facts.upper_line[i] ? 1 : 0, shape);
  }
  if (t.kind == TokenKind::kNumber) {
    c.add(41, number_class(t));
    c.add(42, number_class(t), c.word(-1));
    c.add(43, number_class(t), c.word(1));
    c.add(44, number_class(t), c.shape(-1), c.shape(1));
    c.add(45, number_class(t), mix(c.gap(0), c.gap(1)));
  }
  if (const Token* next = c.at(1); next != nullptr && next->kind == TokenKind::kWord)
    c.add(46, next->suffix3);
  if (const Token* last = c.at(-1); last != nullptr && last->kind == TokenKind::kWord)
    c.add(47, last->suffix3);
  if (facts.label_word[i] != 0) {
    c.add(48, facts.label_word[i]);
    c.add(49, facts.label_word[i], shape);
  }
  c.add(50, c.word(-3));
  c.add(51, c.word(3));
  c.add(52, c.gap(0), c.gap(1), shape);
  // Words around, whatever their distance: they say what the text is about.
  for (int offset = 1; offset <= static_cast<int>(kBagReach); ++offset) {
    const Token* before = c.at(-offset);
    const Token* after = c.at(offset);
    if (before != nullptr && before->kind == TokenKind::kWord) c.add(53, before->word, shape);
    if (after != nullptr && after->kind == TokenKind::kWord) c.add(54, after->word, shape);
  }
  return c.count();
}

}  // namespace hedge::privacy
