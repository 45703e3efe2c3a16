// GPT-2's reversible map between bytes and printable characters, in which byte-level BPE vocabularies are
// written: printable Latin-1 stays, the other 68 bytes become U+0100 onwards (so a space is U+0120). Pure
// functions; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hedge::text {

// Appends the characters for `bytes`.
void append_byte_level(std::string& out, std::string_view bytes);

// Appends the bytes for characters. A character that stands for no byte is appended as it is.
void append_bytes_of(std::string& out, std::string_view characters);

}  // namespace hedge::text
