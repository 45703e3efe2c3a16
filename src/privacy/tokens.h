// Text as the tagger sees it: words, numbers and marks with what their letters look like. Hashes stand in
// place of strings, so that nothing is allocated per token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace hedge::privacy {

// A window of the tagger. Longer texts are cut into windows at the end of a line or sentence.
inline constexpr size_t kWindowTokens = 256;

enum class TokenKind : uint8_t {
  kWord,    // letters, marks on them, and signs of scripts without case
  kNumber,  // decimal digits
  kMark,    // one other character
  kFound,   // a whole span of a pattern detector
};

struct Token {
  uint32_t begin = 0;  // byte offsets in the text
  uint32_t end = 0;
  uint32_t word = 0;  // hash of the lower-case characters without accents
  uint32_t prefix2 = 0;
  uint32_t prefix3 = 0;
  uint32_t suffix2 = 0;
  uint32_t suffix3 = 0;
  uint32_t suffix4 = 0;
  uint32_t value = 0;  // of a number with at most 8 digits
  TokenKind kind = TokenKind::kMark;
  uint8_t chars = 0;  // at most 255
  uint8_t found = 0;  // 1 + index of the detector of a kFound
  uint8_t lists = 0;  // kinds of word lists that hold the word (WordList), set by the tagger
  char shape = 0;     // 'a' lower, 'A' upper, 'C' capital first, 'M' mixed, 'U' one capital letter,
                      // 'n' no case, 'd' digits, 'f' found, or the mark itself ('~': not ASCII)
  bool space_before = false;
  bool line_before = false;   // first of its line, or of the text
  bool blank_before = false;  // an empty line stands before it
};

// A span that is one token, whatever it holds. Sorted, not overlapping, byte offsets.
struct FoundSpan {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint8_t found = 0;  // 1 + index of its type
};

// Reads tokens from `position` on until `out` is full or the text ends, and returns how many. Where more
// follow, the last line or sentence end in the second half of `out` is the cut. Advances `position` past what
// was read.
size_t read_tokens(std::string_view text, std::span<const FoundSpan> found, size_t& position,
                   std::span<Token> out);

// Hash of a word as Token::word has it.
uint32_t word_hash(std::string_view word);

// Mixes two values; the finalizer of MurmurHash3 (Appleby, public domain).
inline uint32_t mix(uint32_t a, uint32_t b) {
  uint32_t h = a * 0x9e3779b1u ^ (b + 0x7f4a7c15u + (a << 6) + (a >> 2));
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16);
}

}  // namespace hedge::privacy
