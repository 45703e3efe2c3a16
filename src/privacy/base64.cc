#include "privacy/base64.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/utf8.h"
#include "privacy/fold.h"

namespace hedge::privacy {
namespace {

constexpr size_t kRunMin = 12;
constexpr size_t kPieceMin = 8;
constexpr size_t kLineMin = 60;  // encoders break lines at 64 or 76

constexpr int value_of(char c) {
  if (is_upper(c)) return c - 'A';
  if (is_lower(c)) return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

// A value for each byte, -1 for those that are no base64.
constexpr std::array<int8_t, 256> kValues = [] {
  std::array<int8_t, 256> values{};
  for (int c = 0; c < 256; ++c)
    values[static_cast<size_t>(c)] = static_cast<int8_t>(value_of(static_cast<char>(c)));
  return values;
}();
int value_at(std::string_view text, size_t i) { return kValues[static_cast<unsigned char>(text[i])]; }

using Each = std::function<void(std::string_view)>;

// Pieces of `bytes` between what no text holds: control characters and broken UTF-8. So the letters of an
// ordinary word, which decode to noise, are hardly ever a piece.
void give_pieces(std::string_view bytes, const Each& each) {
  size_t begin = 0;
  for (size_t at = 0; at <= bytes.size();) {
    size_t next = at;
    bool text = at < bytes.size();
    if (text) {
      const char c = bytes[at];
      const bool ascii = static_cast<unsigned char>(c) < 0x80;
      utf8_next(bytes, next);
      text = ascii ? c >= 0x20 || c == '\n' || c == '\t' || c == '\r' : next - at > 1;
    }
    if (!text) {
      if (at - begin >= kPieceMin) each(bytes.substr(begin, at - begin));
      begin = at == bytes.size() ? at : next;
    }
    at = std::max(next, at + 1);
  }
}

void decode(std::string_view run, std::string& bytes, const Each& each) {
  for (size_t offset = 0; offset < 4 && run.size() - offset >= kRunMin; ++offset) {
    bytes.clear();
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = offset; i < run.size(); ++i) {
      bits = bits << 6 | static_cast<uint32_t>(value_at(run, i));
      count += 6;
      if (count < 8) continue;
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xff));
    }
    give_pieces(bytes, each);
  }
}

}  // namespace

void decode_base64(std::string_view text, Base64Work& work, const Each& each) {
  for (size_t i = next_run(text, 0, kRunMin, kBase64Chars); i < text.size();
       i = next_run(text, i, kRunMin, kBase64Chars)) {
    // A run, with the breaks of long lines inside of it.
    size_t line = i;
    size_t end = i;
    bool broken = false;
    for (; end < text.size(); ++end) {
      if (value_at(text, end) >= 0) continue;
      const bool breaks = text[end] == '\n' && end - line >= kLineMin && end + 1 < text.size() &&
                          value_at(text, end + 1) >= 0;
      if (!breaks) break;
      line = end + 1;
      broken = true;
    }
    std::string_view run = text.substr(i, end - i);
    if (broken) {
      work.run.assign(run);
      std::erase(work.run, '\n');
      run = work.run;
    }
    if (run.size() >= kRunMin) decode(run, work.bytes, each);
    i = end + 1;
  }
}

}  // namespace hedge::privacy
