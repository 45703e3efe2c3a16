#include "text/bpe_bytes.h"

#include <array>

#include "base/utf8.h"

namespace hedge::text {
namespace {

constexpr bool is_kept(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

constexpr int kMappedEnd = 0x144;  // 0x100 and the 68 bytes that are not kept

struct Maps {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kMappedEnd> byte{};
};

constexpr Maps kMaps = [] {
  Maps maps;
  for (int16_t& byte : maps.byte) byte = -1;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const int character = is_kept(byte) ? byte : next++;
    maps.character[byte] = static_cast<uint16_t>(character);
    maps.byte[character] = static_cast<int16_t>(byte);
  }
  return maps;
}();
static_assert(kMaps.character[' '] == 0x120 && kMaps.character[0xad] == kMappedEnd - 1);

}  // namespace

void append_byte_level(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    const uint16_t character = kMaps.character[static_cast<uint8_t>(c)];
    if (character < 0x80) {
      out += static_cast<char>(character);
    } else {
      out += static_cast<char>(0xc0 | character >> 6);
      out += static_cast<char>(0x80 | (character & 0x3f));
    }
  }
}

void append_bytes_of(std::string& out, std::string_view characters) {
  for (size_t i = 0; i < characters.size();) {
    const size_t begin = i;
    const char32_t character = utf8_next(characters, i);
    if (character < static_cast<char32_t>(kMappedEnd) && kMaps.byte[character] >= 0) {
      out += static_cast<char>(kMaps.byte[character]);
    } else {
      out += characters.substr(begin, i - begin);
    }
  }
}

}  // namespace hedge::text
