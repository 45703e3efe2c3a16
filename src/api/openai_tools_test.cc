#include "api/openai_tools.h"

#include <gtest/gtest.h>

#include "api/dialect.h"

namespace hedge::api {
namespace {

constexpr const char* kConversation = R"({
  "messages": [{"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": null, "tool_calls": [
      {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"},
       "extra_content": {"signature": "x"}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}],
  "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
  "tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": false})";

TEST(OpenAiTools, AConversationWithCallsIsReadWhole) {
  const auto call = kOpenAiChat.parse(kConversation);
  ASSERT_TRUE(call.ok()) << call.error().to_text();
  const chat::Request& request = call->requests.front();
  ASSERT_EQ(request.messages.size(), 3u);
  const chat::ToolCall expected{"call_1", "weather", R"({"city":"Bern"})",
                                R"({"extra_content":{"signature":"x"}})"};
  EXPECT_EQ(request.messages[1].tool_calls, std::vector<chat::ToolCall>{expected});
  EXPECT_EQ(request.messages[1].content, "");
  EXPECT_EQ(request.messages[2].tool_call_id, "call_1");
  EXPECT_EQ(Json::parse(request.tools), Json::parse(kConversation)["tools"]);
  EXPECT_EQ(Json::parse(request.tool_choice), Json::parse(kConversation)["tool_choice"]);
  EXPECT_EQ(request.parallel_tool_calls, false);
  EXPECT_EQ(request.assistant_prefix, "");
}

TEST(OpenAiTools, CallsAreWrittenInBothForms) {
  for (const bool stream : {false, true}) {
    Json body = Json::parse(kConversation);
    body["stream"] = stream;
    const auto call = kOpenAiChat.parse(body.dump());
    ASSERT_TRUE(call.ok());
    const auto formatter = kOpenAiChat.make_formatter(*call, {"hd-1", "m", 0});
    std::string out = formatter->add(0, chat::Started{"cloud", "m", 1, 0});
    chat::Done done;
    done.reason = chat::FinishReason::kToolCalls;
    done.tool_calls = {{"a", "f", "{}"}, {"b", "g", "", R"({"extra_content":{"s":1},"id":"no"})"}};
    out += formatter->add(0, chat::Event(done));
    if (!stream) {
      const Json whole = Json::parse(formatter->body());
      const Json& choice = whole["choices"][0];
      EXPECT_EQ(choice["finish_reason"], "tool_calls");
      EXPECT_TRUE(choice["message"]["content"].is_null());
      EXPECT_EQ(choice["message"]["tool_calls"], Json::parse(R"([
        {"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},
        {"id":"b","type":"function","function":{"name":"g","arguments":""},"extra_content":{"s":1}}])"));
    } else {
      EXPECT_NE(out.find(R"("tool_calls":[{"index":0,"id":"a","type":"function")"), std::string::npos) << out;
      EXPECT_NE(out.find(R"("index":1)"), std::string::npos);
      EXPECT_NE(out.find(R"("finish_reason":"tool_calls")"), std::string::npos);
    }
  }
}

TEST(OpenAiTools, HaveALimit) {
  Json body = Json::parse(kConversation);
  body["tools"] = Json(std::vector<Json>(kToolsMax + 1, body["tools"][0]));
  EXPECT_EQ(kOpenAiChat.parse(body.dump()).error().field, "tools");
}

}  // namespace
}  // namespace hedge::api
