// A view of text on which the detectors work: one byte per character, look-alikes folded to ASCII, invisible
// characters gone. So a detector is a plain byte scanner and still sees full-width digits, typographic dashes
// and hidden breaks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ascii.h"

namespace hedge::privacy {

// What a character beyond ASCII becomes when it has no ASCII look-alike.
inline constexpr char kLetter =
    static_cast<char>(0x80);  // letter of a script that writes spaces between words
inline constexpr char kIdeograph =
    static_cast<char>(0x81);  // letter of a script without spaces: a word may end anywhere
inline constexpr char kOther = static_cast<char>(0x82);  // symbol, mark or broken byte

// The ASCII look-alike or class of a character beyond ASCII, or '\0' for one that is invisible.
char fold_char(char32_t c);

// Borrows `text`, which must outlive it and be shorter than 4 GiB. ASCII text is used in place; the buffers
// for others are kept from one text to the next.
class Folded {
 public:
  Folded() = default;
  explicit Folded(std::string_view text) { assign(text); }
  void assign(std::string_view text);
  Folded(const Folded&) = delete;
  Folded& operator=(const Folded&) = delete;

  std::string_view chars() const { return chars_; }
  std::string_view original() const { return original_; }
  // Byte offsets in the original of the range [begin, end) of chars(); REQUIRES begin < end <=
  // chars().size().
  size_t byte_begin(size_t begin) const { return ascii_ ? begin : size_t{offsets_[begin]}; }
  size_t byte_end(size_t end) const;

 private:
  std::string_view original_;
  std::string_view chars_;
  std::string storage_;
  std::vector<uint32_t> offsets_;  // [chars] first byte of each character in the original
  bool ascii_ = true;
};

// Part of a word: what may not touch a number or a key from outside.
constexpr bool is_word(char c) { return is_alnum(c) || c == '_' || c == kLetter; }
constexpr char to_lower(char c) { return is_upper(c) ? static_cast<char>(c + ('a' - 'A')) : c; }
constexpr char to_upper(char c) { return is_lower(c) ? static_cast<char>(c - ('a' - 'A')) : c; }

// The character before or after a position, or '\n' beyond the ends.
inline char char_before(std::string_view s, size_t position) {
  return position == 0 ? '\n' : s[position - 1];
}
inline char char_at(std::string_view s, size_t position) { return position < s.size() ? s[position] : '\n'; }

// A set of bytes, for skipping over text in which nothing can begin.
struct ByteSet {
  std::array<bool, 256> holds{};
  constexpr explicit ByteSet(std::string_view bytes) {
    for (const char c : bytes) holds[static_cast<unsigned char>(c)] = true;
  }
  bool has(char c) const { return holds[static_cast<unsigned char>(c)]; }
  // The first of them from `from` on; s.size() when there is none.
  size_t next(std::string_view s, size_t from) const {
    while (from < s.size() && !has(s[from])) ++from;
    return from;
  }
};
inline constexpr ByteSet kBase64Chars("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-");

// The first digit from `from` on; s.size() when there is none. Eight bytes at a time.
size_t next_digit(std::string_view s, size_t from);
// The first place from `from` on where at least `length` bytes of the set stand in a row; s.size() when there
// is none. Looks at every `length`th byte where nothing is.
size_t next_run(std::string_view s, size_t from, size_t length, const ByteSet& set);

// Whether `lower` (lower-case ASCII) stands at `position`, in any case.
bool matches_at(std::string_view s, size_t position, std::string_view lower);

}  // namespace hedge::privacy
