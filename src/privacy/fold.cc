#include "privacy/fold.h"

#include <algorithm>
#include <cstring>

#include "base/utf8.h"

namespace hedge::privacy {
namespace {

constexpr char kInvisible = 0;

// Base letters of U+00C0..U+00FF and U+0100..U+017F (Unicode decompositions, ligatures by their first
// letter); '*' marks the two signs in between.
constexpr std::string_view kLatin1 = "AAAAAAACEEEEIIIIDNOOOOO*OUUUUYTsaaaaaaaceeeeiiiidnooooo*ouuuuyty";
constexpr std::string_view kLatinA =
    "AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIiIiJjKkkLlLlLlLlLlNnNnNnnNnOoOoOoOoRrRrRrSsSsSsSsTtTtTt"
    "UuUuUuUuUuUu"
    "WwYyYZzZzZzs";
static_assert(kLatin1.size() == 0x40);
static_assert(kLatinA.size() == 0x80);

struct Range {
  char32_t first;
  char32_t last;
};

bool in_ranges(char32_t c, const Range* begin, const Range* end) {
  return std::any_of(begin, end, [c](const Range& range) { return c >= range.first && c <= range.last; });
}

// Blocks of decimal digits 0..9 (general category Nd) that input methods and copied text bring in; the last
// entry holds five sets of mathematical digits.
constexpr char32_t kDigitZeros[] = {0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6,
                                    0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0e50, 0x0ed0,
                                    0x0f20, 0x1040, 0x17e0, 0x1810, 0xff10};

// Scripts without spaces between words, and Hangul, whose particles are attached.
constexpr Range kIdeographs[] = {{0x0e00, 0x0eff}, {0x1000, 0x109f},  {0x1780, 0x17ff}, {0x3005, 0x3007},
                                 {0x3040, 0x31ff}, {0x3400, 0x4dbf},  {0x4e00, 0x9fff}, {0xac00, 0xd7a3},
                                 {0xf900, 0xfaff}, {0x20000, 0x3ffff}};
// Symbols below U+2000; all else there is a letter or a mark on one.
constexpr Range kLowSymbols[] = {{0x80, 0xa9}, {0xab, 0xb4}, {0xb6, 0xb9},
                                 {0xbb, 0xbf}, {0xd7, 0xd7}, {0xf7, 0xf7}};
// Letters above U+2000 outside the spaceless scripts.
constexpr Range kHighLetters[] = {{0x2c00, 0x2dff}, {0xa640, 0xabff}, {0xfb00, 0xfb06},
                                  {0xfb13, 0xfdff}, {0xfe70, 0xfefc}, {0x10280, 0x10fff}};
constexpr Range kInvisibles[] = {{0xad, 0xad},     {0x034f, 0x034f}, {0x061c, 0x061c},  {0x180e, 0x180e},
                                 {0x200b, 0x200f}, {0x202a, 0x202e}, {0x2060, 0x2064},  {0x2066, 0x206f},
                                 {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xe0000, 0xe01ef}};

}  // namespace

char fold_char(char32_t c) {
  if (in_ranges(c, std::begin(kInvisibles), std::end(kInvisibles))) return kInvisible;
  if (c >= 0xc0 && c <= 0xff) return kLatin1[c - 0xc0] == '*' ? kOther : kLatin1[c - 0xc0];
  if (c >= 0x100 && c <= 0x17f) return kLatinA[c - 0x100];
  if (c >= 0xff01 && c <= 0xff5e) return static_cast<char>(c - 0xff01 + '!');
  if (c >= 0x1d7ce && c <= 0x1d7ff) return static_cast<char>('0' + (c - 0x1d7ce) % 10);
  for (const char32_t zero : kDigitZeros) {
    if (c >= zero && c <= zero + 9) return static_cast<char>('0' + (c - zero));
  }
  if (c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x202f || c == 0x205f || c == 0x3000)
    return ' ';
  if (c == 0x2028 || c == 0x2029 || c == 0x85) return '\n';
  if ((c >= 0x2010 && c <= 0x2015) || c == 0x2212 || c == 0xfe58 || c == 0xfe63) return '-';
  if (c == 0x2018 || c == 0x2019) return '\'';
  if (c == 0x201c || c == 0x201d) return '"';
  if (c == 0x2024 || c == 0x3002 || c == 0xff61) return '.';
  if (c == 0xfe6b) return '@';
  if (in_ranges(c, std::begin(kIdeographs), std::end(kIdeographs))) return kIdeograph;
  if (c < 0x2000) return in_ranges(c, std::begin(kLowSymbols), std::end(kLowSymbols)) ? kOther : kLetter;
  return in_ranges(c, std::begin(kHighLetters), std::end(kHighLetters)) ? kLetter : kOther;
}

namespace {

// First byte beyond ASCII from `from` on, eight at a time; text.size() when there is none.
size_t next_beyond(std::string_view text, size_t from) {
  constexpr uint64_t kHigh = 0x8080808080808080u;
  uint64_t word = 0;
  for (; text.size() - from >= sizeof word; from += sizeof word) {
    std::memcpy(&word, text.data() + from, sizeof word);
    if ((word & kHigh) != 0) break;
  }
  while (from < text.size() && static_cast<unsigned char>(text[from]) < 0x80) ++from;
  return from;
}

}  // namespace

void Folded::assign(std::string_view text) {
  original_ = chars_ = text;
  size_t beyond = next_beyond(text, 0);
  ascii_ = beyond == text.size();
  if (ascii_) return;
  storage_.resize(text.size());
  offsets_.resize(text.size());
  size_t count = 0;
  const auto copy = [&](size_t begin, size_t end) {
    std::memcpy(storage_.data() + count, text.data() + begin, end - begin);
    for (size_t i = begin; i < end; ++i) offsets_[count++] = static_cast<uint32_t>(i);
  };
  copy(0, beyond);
  while (beyond < text.size()) {
    size_t position = beyond;
    const char folded = fold_char(utf8_next(text, position));
    if (folded != kInvisible) {
      storage_[count] = folded;
      offsets_[count++] = static_cast<uint32_t>(beyond);
    }
    beyond = next_beyond(text, position);
    copy(position, beyond);
  }
  chars_ = std::string_view(storage_).substr(0, count);
}

size_t next_digit(std::string_view s, size_t from) {
  // A byte is a digit when, with the bits of '0' taken off, it is below 10 (Bit Twiddling Hacks, "hasless"; a
  // byte after a digit may show falsely, which the last loop sorts out).
  constexpr uint64_t kOnes = 0x0101010101010101u;
  uint64_t word = 0;
  for (; s.size() - from >= sizeof word && from < s.size(); from += sizeof word) {
    std::memcpy(&word, s.data() + from, sizeof word);
    word ^= kOnes * '0';
    if (((word - kOnes * 10) & ~word & kOnes * 0x80) != 0) break;
  }
  while (from < s.size() && !is_digit(s[from])) ++from;
  return from;
}

size_t next_run(std::string_view s, size_t from, size_t length, const ByteSet& set) {
  while (from < s.size() && s.size() - from >= length) {
    // Backwards from where a run that begins here would have its last byte.
    size_t at = from + length;
    while (at > from && set.has(s[at - 1])) --at;
    if (at == from) return from;
    from = at;  // after the last byte that is none of them
  }
  return s.size();
}

size_t Folded::byte_end(size_t end) const {
  if (ascii_) return end;
  size_t position = offsets_[end - 1];
  utf8_next(original_, position);
  return position;
}

bool matches_at(std::string_view s, size_t position, std::string_view lower) {
  if (position > s.size() || s.size() - position < lower.size()) return false;
  for (size_t i = 0; i < lower.size(); ++i) {
    if (to_lower(s[position + i]) != lower[i]) return false;
  }
  return true;
}

}  // namespace hedge::privacy
