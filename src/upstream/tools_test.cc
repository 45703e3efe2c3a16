// Tools on the wire: what goes out with a conversation, and calls that come back in pieces.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "upstream/reply.h"

namespace hedge::upstream {
namespace {

using Json = nlohmann::json;

chat::Request conversation() {
  chat::Request request;
  request.messages = {{chat::Role::kUser, "Weather?", ""},
                      {chat::Role::kAssistant, "", ""},
                      {chat::Role::kTool, "sunny", ""}};
  request.messages[1].tool_calls = {
      {"call_1", "weather", R"({"city":"Bern"})", R"({"extra":{"s":1},"id":"no"})"}};
  request.messages[2].tool_call_id = "call_1";
  request.tools = R"([{"type":"function","function":{"name":"weather"}}])";
  request.tool_choice = R"("auto")";
  request.parallel_tool_calls = false;
  return request;
}

TEST(Tools, GoOutAsTheyCameIn) {
  const auto http = find_dialect("openai")->encode(conversation(), "m", {});
  ASSERT_TRUE(http.ok());
  const Json body = Json::parse(http->body);
  EXPECT_EQ(body["messages"][1]["tool_calls"], Json::parse(R"([{"id":"call_1","type":"function",
    "function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"},"extra":{"s":1}}])"));
  EXPECT_EQ(body["messages"][2]["tool_call_id"], "call_1");
  EXPECT_EQ(body["tools"], Json::parse(conversation().tools));
  EXPECT_EQ(body["tool_choice"], "auto");
  EXPECT_EQ(body["parallel_tool_calls"], false);
  chat::Request simple;
  simple.messages = {{chat::Role::kUser, "x", ""}};
  const auto plain = find_dialect("openai")->encode(simple, "m", {});
  EXPECT_FALSE(Json::parse(plain->body).contains("tools"));
}

chat::Done done_of(std::string_view body, const char* type) {
  ReplyReader::Options options;
  options.backend = "up";
  ReplyReader reader(*find_dialect("openai"), options);
  reader.on_head(200, {{"content-type", type}});
  std::vector<chat::Event> events;
  EXPECT_TRUE(reader.on_body(body, events).ok());
  EXPECT_TRUE(reader.on_end(events).ok());
  if (events.empty() || !std::holds_alternative<chat::Done>(events.back())) return {};
  return std::get<chat::Done>(events.back());
}

TEST(Tools, CallsAreJoinedFromTheirPieces) {
  const chat::Done done = done_of(
      R"(data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}},{"index":1,"id":"b","function":{"name":"g","arguments":"{}"},"extra_content":{"s":1}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: [DONE]

)",
      "text/event-stream");
  EXPECT_EQ(done.reason, chat::FinishReason::kToolCalls);
  const std::vector<chat::ToolCall> expected = {{"a", "f", R"({"x":1})"},
                                                {"b", "g", "{}", R"({"extra_content":{"s":1}})"}};
  EXPECT_EQ(done.tool_calls, expected);
}

TEST(Tools, AWholeAnswerMayCallThemAndSayStop) {
  const chat::Done done = done_of(
      R"({"choices":[{"index":0,"finish_reason":"stop","message":{"content":null,"tool_calls":[
        {"id":"a","function":{"name":"f","arguments":{"x":1}}},{"id":"b","function":{}}]}}]})",
      "application/json");
  EXPECT_EQ(done.reason, chat::FinishReason::kToolCalls);
  EXPECT_EQ(done.tool_calls, (std::vector<chat::ToolCall>{{"a", "f", R"({"x":1})"}})) << "one has no name";
}

TEST(Tools, TooManyCallsAreAnError) {
  ReplyReader::Options options;
  options.backend = "up";
  ReplyReader reader(*find_dialect("openai"), options);
  reader.on_head(200, {{"content-type", "text/event-stream"}});
  std::vector<chat::Event> events;
  const Status status = reader.on_body(
      R"(data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1000000000,"id":"a","function":{"name":"f"}}]}}]}

)",
      events);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace hedge::upstream
