// Template source to tokens, with the whitespace rules that chat templates are written for: trim_blocks and
// lstrip_blocks on, one trailing newline dropped, "\r\n" and "\r" read as "\n".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::text::jinja {

enum class TokenKind : uint8_t {
  kData,           // text between tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,  // text holds it: "==" and so on
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;  // data, name, decoded string or operator
  int64_t integer = 0;
  double real = 0;

  bool is_operator(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
};

// kInvalidArgument with the line. The last token is kEnd. REQUIRES: valid UTF-8.
Result<std::vector<Token>> tokenize(std::string_view source);

// How a message names a token: "'endif'", "end of template".
std::string describe(const Token& token);

// An error of the parse: "line N: what".
Error parse_error(int line, const std::string& what, ErrorCode code = ErrorCode::kInvalidArgument);

}  // namespace hedge::text::jinja
