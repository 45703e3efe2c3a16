// Text as pre-tokenizers see it. Every code point becomes one byte: ASCII stays, all others are replaced by
// the byte of their class. The regular expressions of the pre-tokenizers then run over bytes, where "\p{L}"
// is the set [A-Za-z\xD2]: no UTF-8 decoding and no property lookup inside the matcher, and the Unicode
// version (15.1, the one that llama.cpp's tables have) is ours and not that of the installed PCRE2, which
// would make token ids depend on the machine. Pure functions; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hedge::text {

// The bytes that stand for the classes. kSpace is an ASCII byte that \s matches.
enum ClassByte : uint8_t {
  kSpace = 0x0b,
  kOther = 0xd0,
  kNumber = 0xd1,       // general category N
  kLetter = 0xd2,       // L
  kPunctuation = 0xd3,  // P
  kMark = 0xd4,         // M
  kSymbol = 0xd5,       // S
};

// The byte for any code point; ASCII gives itself.
uint8_t class_byte(uint32_t code_point);

// A text made ready for pre-tokenizing.
struct ClassText {
  // The text with every broken byte replaced by U+FFFD and overlong forms shortened; the input itself when
  // nothing had to be replaced. Encoded surrogates stay.
  std::string_view utf8;
  // The same for a matcher that wants strict UTF-8: surrogates are U+FFFD too. As long as `utf8`.
  std::string_view strict_utf8;
  // One byte for each code point of `utf8`; equal to `utf8` when that is all ASCII.
  std::string_view classes;
  bool ascii() const { return classes.size() == utf8.size(); }

  // Storage behind the views where they are not the input. Not copyable: the views point into it.
  std::string utf8_storage, strict_storage, classes_storage;
  ClassText() = default;
  ClassText(const ClassText&) = delete;
  ClassText& operator=(const ClassText&) = delete;
};

// Fills `out`, whose views live as long as `text` and `out`.
void classify(std::string_view text, ClassText& out);

}  // namespace hedge::text
