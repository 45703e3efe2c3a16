// Errors, models, decisions, sessions and llama-server's small endpoints.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/error.h"
#include "api/hedge_api.h"
#include "api/llama_server_api.h"
#include "api/models_api.h"

namespace hedge::api {
namespace {

using Json = nlohmann::json;

TEST(ApiError, EveryCodeHasAStatusAndOpenAisObject) {
  const std::pair<ErrorCode, int> cases[] = {
      {ErrorCode::kInvalidArgument, 400},
      {ErrorCode::kContextExceeded, 400},
      {ErrorCode::kNotFound, 404},
      {ErrorCode::kCorrupt, 502},
      {ErrorCode::kUnsupported, 400},
      {ErrorCode::kPermission, 401},
      {ErrorCode::kExhausted, 429},
      {ErrorCode::kUnavailable, 503},
      {ErrorCode::kTimeout, 504},
      {ErrorCode::kCancelled, 503},
      {ErrorCode::kIo, 500},
      {ErrorCode::kInternal, 500},
  };
  for (const auto& [code, status] : cases) {
    EXPECT_EQ(http_status(code), status);
    const ApiError error = to_api_error(make_error(code, "what \"happened\"", "field[0]"));
    EXPECT_EQ(error.status, status);
    const Json body = Json::parse(error_body(error))["error"];
    EXPECT_EQ(body["message"], "field[0]: what \"happened\"");
    EXPECT_EQ(body["param"], "field[0]");
    EXPECT_EQ(body["type"].get<std::string>().empty(), false);
    EXPECT_EQ(body["code"].get<std::string>().empty(), false);
  }
  EXPECT_TRUE(
      Json::parse(error_body(to_api_error(make_error(ErrorCode::kIo, "x"))))["error"]["param"].is_null());
}

TEST(ApiError, RetryAfterIsWholeSecondsUpwards) {
  Error error = make_error(ErrorCode::kExhausted, "queue full");
  EXPECT_EQ(to_api_error(error).retry_after_s, 1);
  error.retry_after_ms = 1001;
  EXPECT_EQ(to_api_error(error).retry_after_s, 2);
  EXPECT_EQ(to_api_error(make_error(ErrorCode::kInternal, "x")).retry_after_s, 0);
}

TEST(Models, List) {
  const std::vector<Model> models = {{"smol", "hedge", 2048, 17}, {"big", "cloud", 0, 17}};
  EXPECT_EQ(Json::parse(models_body(models)), Json::parse(R"({"object":"list","data":[
              {"id":"smol","object":"model","created":17,"owned_by":"hedge","max_model_len":2048,"meta":{"n_ctx":2048}},
              {"id":"big","object":"model","created":17,"owned_by":"cloud"}]})"));
  EXPECT_EQ(Json::parse(model_body(models[1]))["id"], "big");
}

TEST(HedgeApi, DecisionAndSession) {
  chat::Trace trace;
  trace.id = "hd-1";
  trace.route = "upstream";
  trace.steps = {{12, "confidence.first", "median margin", 0.1, 0.15}};
  trace.total_ms = 80;
  const Json decision = Json::parse(decision_body(trace));
  EXPECT_EQ(decision["steps"], Json::parse(R"([{"at_ms":12,"what":"confidence.first","detail":"median margin",
                                               "value":0.1,"threshold":0.15}])"));
  EXPECT_EQ(decision["segments"], Json::array());
  EXPECT_EQ(decision["route"], "upstream");

  const std::vector<SessionTurn> turns = {{{chat::Role::kUser, "Q", ""}, {}, "", 5},
                                          {{chat::Role::kAssistant, "A", ""}, {{"local", 1}}, "hd-1", 6}};
  EXPECT_EQ(Json::parse(session_body("s", true, turns)),
            Json::parse(R"({"id":"s","private":true,"turns":[{"role":"user","content":"Q","created_ms":5},
              {"role":"assistant","content":"A","segments":[{"backend":"local","bytes":1}],"decision":"hd-1",
               "created_ms":6}]})"));
}

TEST(LlamaServerApi, Tokenize) {
  const auto call =
      parse_tokenize(R"({"content":"x","add_special":true,"parse_special":false,"with_pieces":true})");
  ASSERT_TRUE(call.ok());
  EXPECT_TRUE(call->add_special && !call->parse_special && call->with_pieces);
  EXPECT_EQ(parse_tokenize("{}").error().field, "content");
  EXPECT_EQ(parse_tokenize(R"({"content":1})").error().field, "content");
  EXPECT_EQ(parse_tokenize(R"({"content":"","add_special":1})").error().field, "add_special");
  EXPECT_EQ(Json::parse(tokenize_body({{1, "a"}, {2, "\xff"}}, false)), Json::parse(R"({"tokens":[1,2]})"));
  EXPECT_EQ(Json::parse(tokenize_body({{1, "a"}, {2, "\xff"}}, true)),
            Json::parse(R"({"tokens":[{"id":1,"piece":"a"},{"id":2,"piece":[255]}]})"));
  EXPECT_EQ(tokenize_body({}, false), R"({"tokens":[]})");
}

TEST(LlamaServerApi, Detokenize) {
  EXPECT_EQ(parse_detokenize(R"({"tokens":[1,2]})").value(), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(parse_detokenize(R"({"tokens":"1"})").error().field, "tokens");
  EXPECT_EQ(parse_detokenize(R"({"tokens":[1,"2"]})").error().field, "tokens[1]");
  EXPECT_EQ(parse_detokenize("{}").error().field, "tokens");
  EXPECT_EQ(detokenize_body("a\"b"), R"({"content":"a\"b"})");
}

TEST(LlamaServerApi, ApplyTemplate) {
  const auto request = parse_apply_template(
      R"({"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]})");
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->assistant_prefix, "A");
  EXPECT_EQ(parse_apply_template(R"({"messages":5})").error().field, "messages");
  EXPECT_EQ(apply_template_body("p"), R"({"prompt":"p"})");
}

}  // namespace
}  // namespace hedge::api
