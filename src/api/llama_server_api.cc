#include "api/llama_server_api.h"

#include "api/json_text.h"
#include "api/openai_params.h"
#include "base/utf8.h"

namespace hedge::api {

Result<TokenizeCall> parse_tokenize(std::string_view body) {
  HEDGE_TRY_SET(const Json json, parse_object(body));
  Reader reader(json);
  TokenizeCall call;
  const bool present = reader.string("content", call.content);
  reader.boolean("add_special", call.add_special);
  reader.boolean("parse_special", call.parse_special);
  reader.boolean("with_pieces", call.with_pieces);
  HEDGE_TRY(reader.status());
  if (!present) return make_error(ErrorCode::kInvalidArgument, "content: required", "content");
  return call;
}

std::string tokenize_body(const std::vector<Piece>& tokens, bool with_pieces) {
  OrderedJson list = OrderedJson::array();
  for (const Piece& token : tokens) {
    if (!with_pieces) {
      list.push_back(token.id);
      continue;
    }
    OrderedJson piece;
    if (utf8_valid(token.bytes)) {
      piece = token.bytes;
    } else {
      for (const char c : token.bytes) piece.push_back(static_cast<unsigned char>(c));
    }
    list.push_back({{"id", token.id}, {"piece", std::move(piece)}});
  }
  return dump({{"tokens", std::move(list)}});
}

Result<std::vector<int32_t>> parse_detokenize(std::string_view body) {
  HEDGE_TRY_SET(const Json json, parse_object(body));
  Reader reader(json);
  std::vector<int32_t> tokens;
  const bool present = reader.tokens("tokens", tokens, kJsonValuesMax);
  HEDGE_TRY(reader.status());
  if (!present) return make_error(ErrorCode::kInvalidArgument, "tokens: required", "tokens");
  return tokens;
}

std::string detokenize_body(std::string_view text) {
  std::string out = "{\"content\":";
  append_json_string(out, text);
  return out + "}";
}

Result<chat::Request> parse_apply_template(std::string_view body) {
  HEDGE_TRY_SET(const Json json, parse_object(body));
  Reader reader(json);
  chat::Request request;
  read_conversation(json, reader, request);
  HEDGE_TRY(reader.status());
  return request;
}

std::string apply_template_body(std::string_view prompt) {
  std::string out = "{\"prompt\":";
  append_json_string(out, prompt);
  return out + "}";
}

}  // namespace hedge::api
