// UTF-8 at the byte level: what is whole, what is broken, and clean text from any bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hedge {

// A byte inside of a character: neither ASCII nor the first of several.
constexpr bool utf8_continues(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// Length of the longest prefix that ends on a character boundary. Only an incomplete sequence at the very end
// (at most 3 bytes that could still become a character) is left out; broken bytes elsewhere count as
// characters.
size_t utf8_complete_prefix(std::string_view bytes);

// True when all of it is valid UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool utf8_valid(std::string_view bytes);

// Every maximal broken piece becomes U+FFFD, as the WHATWG decoder does.
std::string utf8_sanitize(std::string_view bytes);

// Decodes the character at `position` (REQUIRES: position < bytes.size()) and advances past it. A broken byte
// gives U+FFFD and advances by one.
char32_t utf8_next(std::string_view bytes, size_t& position);

void utf8_append(std::string& out, char32_t code_point);

}  // namespace hedge
