#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "upstream/dialects/dialect.h"

namespace hedge::upstream {
namespace {

using Json = nlohmann::json;
using chat::Role;

const Dialect& openai() { return *find_dialect("openai"); }

chat::Request france() {
  chat::Request request;
  request.messages = {{Role::kSystem, "Be brief.", ""},
                      {Role::kUser, "What is the capital of France?", "ann"}};
  return request;
}

Json encoded(const chat::Request& request, const WireOptions& options = {},
             const char* path = "/v1/chat/completions") {
  const auto http = openai().encode(request, "m", options);
  EXPECT_TRUE(http.ok());
  if (!http.ok()) return {};
  EXPECT_EQ(http->path, path);
  return Json::parse(http->body);
}

TEST(OpenAi, OnlyWhatIsSetIsSent) {
  EXPECT_EQ(encoded(france()),
            Json::parse(R"({"model":"m","stream":true,"stream_options":{"include_usage":true},
    "messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is the capital of France?","name":"ann"}]})"));
}

TEST(OpenAi, SamplingIsSentAsSet) {
  chat::Request request = france();
  request.sampling.temperature = 0;
  request.sampling.temperature_set = true;
  request.sampling.top_p = 0.5f;
  request.sampling.top_p_set = true;
  request.sampling.presence_penalty = 0.25f;
  request.sampling.frequency_penalty = -0.5f;
  request.sampling.seed = 18446744073709551615u;
  request.sampling.top_k = 3;  // no field of this wire
  request.max_tokens = 7;
  request.stop = {"a", "b", "c", "d", "e"};
  request.ignore_eos = true;
  request.top_logprobs = 99;
  Json expected = encoded(france());
  expected.update(
      Json::parse(R"({"temperature":0.0,"top_p":0.5,"presence_penalty":0.25,"frequency_penalty":-0.5,
    "seed":18446744073709551615,"max_tokens":7,"max_completion_tokens":7,"stop":["a","b","c","d"],"ignore_eos":true,
    "logprobs":true,"top_logprobs":20})"));
  EXPECT_EQ(encoded(request), expected);
}

TEST(OpenAi, TokenLimitForms) {
  chat::Request request = france();
  request.max_tokens = 7;
  const Json old_form = encoded(request, {.token_limit = TokenLimit::kMaxTokens});
  EXPECT_EQ(old_form["max_tokens"], 7);
  EXPECT_FALSE(old_form.contains("max_completion_tokens"));
  const Json new_form = encoded(request, {.token_limit = TokenLimit::kMaxCompletionTokens});
  EXPECT_EQ(new_form["max_completion_tokens"], 7);
  EXPECT_FALSE(new_form.contains("max_tokens"));
}

TEST(OpenAi, TheStartIsATrailingAssistantMessage) {
  chat::Request request = france();
  request.assistant_prefix = "The capital of ";
  const Json body = encoded(request);
  EXPECT_EQ(body["messages"].size(), 3u);
  EXPECT_EQ(body["messages"][2],
            Json::parse(R"({"role":"assistant","content":"The capital of"})"));  // align.h: sent_part
  EXPECT_EQ(body["continue_final_message"], true);
  EXPECT_EQ(body["add_generation_prompt"], false);
  const Json plain = encoded(request, {.continue_flags = false});
  EXPECT_EQ(plain["messages"], body["messages"]);
  EXPECT_FALSE(plain.contains("continue_final_message"));
  EXPECT_FALSE(plain.contains("add_generation_prompt"));

  request.assistant_prefix = " \n";  // nothing of it is sent, so there is nothing to continue
  EXPECT_EQ(encoded(request), encoded(france()));
}

TEST(OpenAi, TwoAssistantMessagesInARowBecomeOne) {
  chat::Request request = france();
  request.messages.push_back({Role::kAssistant, "The capital", ""});
  EXPECT_EQ(encoded(request)["messages"].size(), 3u);
  request.assistant_prefix = " of France";
  const Json body = encoded(request);
  EXPECT_EQ(body["messages"].size(), 3u);
  EXPECT_EQ(body["messages"][2]["content"], "The capital of France");
  EXPECT_EQ(turn_start(request), "The capital of France");
}

TEST(OpenAi, RawPrompts) {
  chat::Request request;
  request.raw = true;
  request.prompt = "Once upon";
  request.assistant_prefix = " a time";
  request.max_tokens = 5;
  EXPECT_EQ(
      encoded(request, {}, "/v1/completions"),
      Json::parse(
          R"({"model":"m","stream":true,"stream_options":{"include_usage":true},"prompt":"Once upon a time","max_tokens":5})"));
  request.prompt.clear();
  request.prompt_tokens = {1, 2};
  const auto http = openai().encode(request, "m", {});
  ASSERT_FALSE(http.ok());
  EXPECT_EQ(http.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(http.error().field, "prompt");
}

TEST(OpenAi, NoMessagesIsAnError) {
  const auto http = openai().encode(chat::Request{}, "m", {});
  ASSERT_FALSE(http.ok());
  EXPECT_EQ(http.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(http.error().field, "messages");
}

TEST(OpenAi, BrokenUtf8InARequestIsReplaced) {
  chat::Request request = france();
  request.messages[1].content = "a\xff";
  EXPECT_EQ(encoded(request)["messages"][1]["content"], "a\xef\xbf\xbd");
}

std::optional<WireOptions> after(int status, const std::string& body, const WireOptions& sent = {}) {
  return openai().plainer(sent, HttpReply{status, {}, body});
}

TEST(OpenAi, RefusalsSayWhatToLeaveOut) {
  const WireOptions all;
  EXPECT_EQ(after(400, R"({"error":{"message":"Unknown parameter: 'continue_final_message'."}})"),
            (WireOptions{.continue_flags = false}));
  EXPECT_EQ(
      after(422, R"({"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted"}]})"),
      (WireOptions{.stream_usage = false}));
  EXPECT_EQ(
      after(
          400,
          R"({"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."}})"),
      (WireOptions{.token_limit = TokenLimit::kMaxCompletionTokens}));
  EXPECT_EQ(after(422, R"({"message":"extra inputs are not permitted: max_completion_tokens"})"),
            (WireOptions{.token_limit = TokenLimit::kMaxTokens}));
  // Nothing is named: the plainest form, once.
  const WireOptions plainest{
      .continue_flags = false, .stream_usage = false, .token_limit = TokenLimit::kMaxTokens};
  EXPECT_EQ(after(400, "Bad Request"), plainest);
  EXPECT_EQ(after(400, "Bad Request", plainest), std::nullopt);
  // About the request, or about something else.
  EXPECT_EQ(after(400, R"({"error":{"type":"exceed_context_size_error","n_prompt_tokens":5,"n_ctx":4}})"),
            std::nullopt);
  for (const int status : {200, 401, 404, 429, 500, 503})
    EXPECT_EQ(after(status, "continue_final_message"), std::nullopt);
}

TEST(OpenAi, HostileNumbersAndDepth) {
  const auto decode = [](const std::string& data) { return openai().decode_event({"", data}); };
  const auto huge = decode(
      R"({"choices":[],"usage":{"prompt_tokens":1e300,"completion_tokens":-5,"prompt_tokens_details":7}})");
  ASSERT_TRUE(huge.ok());
  EXPECT_EQ(huge->usage->prompt_tokens, 0);
  EXPECT_EQ(huge->usage->completion_tokens, 0);
  const auto large = decode(R"({"choices":[],"usage":{"prompt_tokens":18446744073709551615}})");
  ASSERT_TRUE(large.ok());
  EXPECT_EQ(large->usage->prompt_tokens, 1 << 30);
  const auto deep = decode(std::string(200'000, '['));
  ASSERT_FALSE(deep.ok());
  EXPECT_EQ(deep.error().code, ErrorCode::kCorrupt);
  const auto deep_whole = decode("{\"x\":" + std::string(200'000, '[') + std::string(200'000, ']') + "}");
  EXPECT_TRUE(deep_whole.ok());
  for (const char* odd : {R"({"choices":5})", R"({"choices":[5]})", R"({"choices":[{"delta":5}]})",
                          R"({"choices":[{"delta":{},"finish_reason":5}]})"}) {
    const auto out = decode(odd);
    ASSERT_FALSE(out.ok()) << odd;
    EXPECT_EQ(out.error().code, ErrorCode::kCorrupt) << odd;
  }
  for (const char* fine : {"{}", R"({"choices":null})", R"({"choices":[{}]})",
                           R"({"choices":[{"delta":null,"finish_reason":null}]})",
                           R"({"choices":[{"logprobs":{"content":[5,{"bytes":["x",300]}]},"delta":{}}]})"}) {
    EXPECT_TRUE(decode(fine).ok()) << fine;
  }
}

TEST(OpenAi, RetryAfterIsBounded) {
  const auto wait = [](const char* name, const char* value) {
    return retry_after_ms(HttpReply{429, {{name, value}}, ""});
  };
  EXPECT_EQ(wait("retry-after", "2"), 2000);
  EXPECT_EQ(wait("retry-after", "0.25"), 250);
  EXPECT_EQ(wait("retry-after-ms", "250"), 250);
  EXPECT_EQ(wait("retry-after", "99999999999"), 3'600'000);
  for (const char* none : {"", "-1", "nan", "inf seconds", "Wed, 21 Oct 2026 07:28:00 GMT"})
    EXPECT_EQ(wait("retry-after", none), 0) << none;
}

TEST(OpenAi, OnlyNamesArePassedOn) {
  EXPECT_EQ(safe_identifier("rate_limit_exceeded"), "rate_limit_exceeded");
  EXPECT_EQ(safe_identifier("messages[0].role"), "messages[0].role");
  for (const std::string& text :
       {std::string("two words"), std::string("a\nb"), std::string(65, 'x'), std::string("\xc3\xa9")}) {
    EXPECT_EQ(safe_identifier(text), "");
  }
}

}  // namespace
}  // namespace hedge::upstream
