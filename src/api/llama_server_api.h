// llama-server's small endpoints: /tokenize, /detokenize, /apply-template. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"

namespace hedge::api {

struct TokenizeCall {
  std::string content;
  bool add_special = false;
  bool parse_special = true;
  bool with_pieces = false;
};
struct Piece {
  int32_t id = 0;
  std::string bytes;
};

Result<TokenizeCall> parse_tokenize(std::string_view body);
// {"tokens":[1,2]}, or with pieces {"tokens":[{"id","piece"}]}; a piece that is not UTF-8 is an array of its
// bytes.
std::string tokenize_body(const std::vector<Piece>& tokens, bool with_pieces);

Result<std::vector<int32_t>> parse_detokenize(std::string_view body);
std::string detokenize_body(std::string_view text);

// The conversation of {"messages":[...]}, by the rules of /v1/chat/completions.
Result<chat::Request> parse_apply_template(std::string_view body);
std::string apply_template_body(std::string_view prompt);

}  // namespace hedge::api
