#include "base/utf8.h"

#include <cstdint>
#include <cstring>

namespace hedge {
namespace {

constexpr char32_t kReplacement = 0xfffd;

// Bytes that a lead byte announces, or 0 for a byte that cannot lead.
size_t announced_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

// Whether `byte` may stand at `index` (1-based continuation) after `lead` (Unicode 15, table 3-7).
bool continuation_ok(uint8_t lead, size_t index, uint8_t byte) {
  if (index == 1) {
    switch (lead) {
      case 0xe0:
        return byte >= 0xa0 && byte <= 0xbf;
      case 0xed:
        return byte >= 0x80 && byte <= 0x9f;
      case 0xf0:
        return byte >= 0x90 && byte <= 0xbf;
      case 0xf4:
        return byte >= 0x80 && byte <= 0x8f;
      default:
        break;
    }
  }
  return (byte & 0xc0) == 0x80;
}

// Length of the valid character at `position`, or 0; `matched` is the number of bytes that could belong to
// one.
size_t valid_length(std::string_view bytes, size_t position, size_t& matched) {
  const uint8_t lead = static_cast<uint8_t>(bytes[position]);
  const size_t length = announced_length(lead);
  matched = 1;
  if (length == 0) return 0;
  while (matched < length && matched < bytes.size() - position &&
         continuation_ok(lead, matched, static_cast<uint8_t>(bytes[position + matched]))) {
    ++matched;
  }
  return matched == length ? length : 0;
}

}  // namespace

size_t utf8_complete_prefix(std::string_view bytes) {
  const size_t tail_max = bytes.size() < 3 ? bytes.size() : 3;
  for (size_t back = 1; back <= tail_max; ++back) {
    const size_t position = bytes.size() - back;
    const uint8_t lead = static_cast<uint8_t>(bytes[position]);
    if (utf8_continues(bytes[position])) continue;
    size_t matched = 0;
    const bool whole = valid_length(bytes, position, matched) > 0;
    const bool may_grow = !whole && announced_length(lead) > back && matched == back;
    return may_grow ? position : bytes.size();
  }
  return bytes.size();
}

bool utf8_valid(std::string_view bytes) {
  for (size_t position = 0; position < bytes.size();) {
    uint64_t word = 0;  // eight bytes of ASCII at a time
    if (bytes.size() - position >= sizeof word) {
      std::memcpy(&word, bytes.data() + position, sizeof word);
      if ((word & 0x8080808080808080u) == 0) {
        position += sizeof word;
        continue;
      }
    }
    size_t matched = 0;
    const size_t length = valid_length(bytes, position, matched);
    if (length == 0) return false;
    position += length;
  }
  return true;
}

std::string utf8_sanitize(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t position = 0; position < bytes.size();) {
    size_t matched = 0;
    const size_t length = valid_length(bytes, position, matched);
    if (length == 0) {
      utf8_append(out, kReplacement);
      position += matched;
    } else {
      out.append(bytes.substr(position, length));
      position += length;
    }
  }
  return out;
}

char32_t utf8_next(std::string_view bytes, size_t& position) {
  size_t matched = 0;
  const size_t length = valid_length(bytes, position, matched);
  if (length == 0) {
    ++position;
    return kReplacement;
  }
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[position + i]); };
  char32_t code = byte(0);
  if (length == 2) code = (byte(0) & 0x1fu);
  if (length == 3) code = (byte(0) & 0x0fu);
  if (length == 4) code = (byte(0) & 0x07u);
  for (size_t i = 1; i < length; ++i) code = (code << 6) | (byte(i) & 0x3fu);
  position += length;
  return code;
}

void utf8_append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xc0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xe0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xf0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3f)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

}  // namespace hedge
