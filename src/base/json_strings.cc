#include "base/json_strings.h"

#include <algorithm>
#include <utility>

#include "base/ascii.h"
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

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kSigns = " \t\r\n{}[],:";
constexpr std::string_view kEnds = " \t\r\n{}[],:\"";

bool is_number(std::string_view word) {
  return (is_digit(word[0]) || word[0] == '-') &&
         word.find_first_not_of("0123456789+-.eE") == std::string_view::npos;
}

// Where the string ends that begins at `at`, behind its quotation mark: at its other one, or at the text's
// end.
size_t string_end(std::string_view json, size_t at) {
  while (at < json.size() && json[at] != '"') at += json[at] == '\\' ? 2 : 1;
  return std::min(at, json.size());
}

}  // namespace

std::optional<JsonPiece> next_json_piece(std::string_view json, size_t& at) {
  using Kind = JsonPiece::Kind;
  at = std::min(json.find_first_not_of(kSigns, at), json.size());
  if (at == json.size()) return std::nullopt;
  if (json[at] != '"') {
    const size_t end = std::min(json.find_first_of(kEnds, at), json.size());
    const std::string_view word = json.substr(at, end - at);
    const bool literal = word == "true" || word == "false" || word == "null";
    if (!literal && !is_number(word)) return std::nullopt;
    return JsonPiece{literal ? Kind::kLiteral : Kind::kNumber, std::exchange(at, end), end};
  }
  const size_t end = string_end(json, at + 1);
  if (end == json.size()) return std::nullopt;
  const size_t begin = std::exchange(at, end + 1) + 1;
  const size_t next = json.find_first_not_of(kSpace, at);
  const bool is_name = next != std::string_view::npos && json[next] == ':';
  return JsonPiece{is_name ? Kind::kName : Kind::kString, begin, end};
}

bool is_json_text(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos || (text[first] != '{' && text[first] != '[')) return false;
  const char last = text[text.find_last_not_of(kSpace)];
  if (last != '}' && last != ']') return false;
  size_t at = first;
  while (next_json_piece(text, at)) {
  }
  return at == text.size();
}

void append_json_unescaped(std::string& out, std::string_view inside) {
  for (size_t at = 0; at < inside.size();) {
    if (inside[at] == '\\' && at + 1 < inside.size()) {
      at = unescape(inside, at + 1, out);
    } else {
      out += inside[at++];
    }
  }
}

void append_json_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          out += "\\u00";
          out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
          out.push_back(kHex[static_cast<unsigned char>(c) & 15]);
        } else {
          out.push_back(c);
        }
    }
  }
}

std::vector<std::string> json_strings(std::string_view json) {
  std::vector<std::string> out;
  for (size_t at = json.find('"'); at < json.size(); at = json.find('"', at)) {
    const size_t end = string_end(json, ++at);
    append_json_unescaped(out.emplace_back(), json.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

}  // namespace hedge
