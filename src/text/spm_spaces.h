// SentencePiece writes a space as U+2581 (the mark), in vocabularies and in the text that is looked up in
// them. Pure functions; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hedge::text {

inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

// Appends `text` with every space as the mark.
inline void append_marked_spaces(std::string& out, std::string_view text) {
  out.reserve(out.size() + text.size() + text.size() / 2);
  for (size_t begin = 0;;) {
    const size_t end = text.find(' ', begin);
    out += text.substr(begin, end == std::string_view::npos ? end : end - begin);
    if (end == std::string_view::npos) return;
    out += kSpaceMark;
    begin = end + 1;
  }
}

// Appends `text` with every mark as a space.
inline void append_plain_spaces(std::string& out, std::string_view text) {
  for (size_t begin = 0;;) {
    const size_t end = text.find(kSpaceMark, begin);
    out += text.substr(begin, end == std::string_view::npos ? end : end - begin);
    if (end == std::string_view::npos) return;
    out += ' ';
    begin = end + kSpaceMark.size();
  }
}

// Bytes of the character that begins with `lead`, by its high bits alone; 1 for a byte that begins none.
inline size_t utf8_length_of_lead(char lead) {
  const uint8_t byte = static_cast<uint8_t>(lead);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

}  // namespace hedge::text
