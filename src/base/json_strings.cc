#include "base/json_strings.h"

#include <cstdint>
#include <optional>

#include "base/utf8.h"

namespace hedge {
namespace {

constexpr char32_t kReplacement = 0xfffd;

// The four hexadecimal digits at `at`.
std::optional<char32_t> hex4(std::string_view json, size_t at) {
  if (json.size() < at + 4) return std::nullopt;
  char32_t value = 0;
  for (const char c : json.substr(at, 4)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + static_cast<char32_t>(digit);
  }
  return value;
}

bool is_high(char32_t c) { return c >= 0xd800 && c < 0xdc00; }
bool is_low(char32_t c) { return c >= 0xdc00 && c < 0xe000; }

// Appends what the escape at `at` (after the backslash) stands for; returns the place after it.
size_t unescape(std::string_view json, size_t at, std::string& out) {
  switch (json[at]) {
    case 'n':
      out += '\n';
      return at + 1;
    case 't':
      out += '\t';
      return at + 1;
    case 'r':
      out += '\r';
      return at + 1;
    case 'b':
      out += '\b';
      return at + 1;
    case 'f':
      out += '\f';
      return at + 1;
    case 'u':
      break;
    default:
      out += json[at];
      return at + 1;
  }
  const std::optional<char32_t> first = hex4(json, at + 1);
  if (!first) {
    out += 'u';
    return at + 1;
  }
  if (is_high(*first) && json.substr(at + 5, 2) == "\\u") {
    if (const std::optional<char32_t> second = hex4(json, at + 7); second && is_low(*second)) {
      utf8_append(out, 0x10000 + ((*first - 0xd800) << 10) + (*second - 0xdc00));
      return at + 11;
    }
  }
  utf8_append(out, is_high(*first) || is_low(*first) ? kReplacement : *first);
  return at + 5;
}

}  // namespace

std::vector<std::string> json_strings(std::string_view json) {
  std::vector<std::string> out;
  for (size_t at = json.find('"'); at < json.size(); at = json.find('"', at)) {
    std::string text;
    for (++at; at < json.size() && json[at] != '"';) {
      if (json[at] == '\\' && at + 1 < json.size()) {
        at = unescape(json, at + 1, text);
      } else {
        text += json[at++];
      }
    }
    ++at;
    out.push_back(std::move(text));
  }
  return out;
}

}  // namespace hedge
