#include "privacy/base64.h"

#include <cstdint>

#include "base/utf8.h"
#include "privacy/fold.h"

namespace hedge::privacy {
namespace {

constexpr size_t kRunMin = 12;
constexpr size_t kPieceMin = 8;
constexpr size_t kLineMin = 60;  // encoders break lines at 64 or 76

int value_of(char c) {
  if (is_upper(c)) return c - 'A';
  if (is_lower(c)) return c - 'a' + 26;
  if (is_digit(c)) return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

bool printable_byte(char c) {
  return static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t' || c == '\r';
}

// Pieces of `bytes` between what no text holds.
void add_pieces(std::string_view bytes, std::vector<std::string>& out) {
  for (size_t begin = 0; begin < bytes.size();) {
    size_t end = begin;
    while (end < bytes.size() && printable_byte(bytes[end])) ++end;
    if (end - begin >= kPieceMin) out.push_back(utf8_sanitize(bytes.substr(begin, end - begin)));
    begin = end + 1;
  }
}

void decode(std::string_view run, std::vector<std::string>& out) {
  for (size_t offset = 0; offset < 4 && run.size() - offset >= kRunMin; ++offset) {
    std::string bytes;
    uint32_t bits = 0;
    int count = 0;
    for (const char c : run.substr(offset)) {
      bits = bits << 6 | static_cast<uint32_t>(value_of(c));
      count += 6;
      if (count < 8) continue;
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xff));
    }
    add_pieces(bytes, out);
  }
}

}  // namespace

std::vector<std::string> decoded_base64(std::string_view text) {
  std::vector<std::string> out;
  std::string run;
  size_t line = 0;  // characters since the last line break inside of the run
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && value_of(text[i]) >= 0) {
      run.push_back(text[i]);
      ++line;
      continue;
    }
    const bool breaks =
        i + 1 < text.size() && text[i] == '\n' && line >= kLineMin && value_of(text[i + 1]) >= 0;
    if (breaks) {
      line = 0;
      continue;
    }
    if (run.size() >= kRunMin) decode(run, out);
    run.clear();
    line = 0;
  }
  return out;
}

}  // namespace hedge::privacy
