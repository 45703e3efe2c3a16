#include "session/capsule.h"

#include <nlohmann/json.hpp>

#include "session/history.h"
#include "session/test_util.h"

namespace hedge::session {
namespace {

Capsule capsule_of_a_tool_loop() {
  Capsule capsule;
  Session& session = capsule.session;
  session.head = {"s-1", "office", true, 1'790'000'000'000, 3, {120, 450}};
  session.model = "smol";
  session.tags = "draft,code";
  Turn question;
  question.message = user("Grüezi \"you\"\n\u0001");
  Turn call;
  call.message = assistant("Let me see.");
  call.message.tool_calls = {{"call_1", "weather", R"({"city":"Bern"})", R"({"signature":"x"})"}};
  call.segments = {{"local", 4}, {"cloud", 7}};
  call.writer = "cloud";
  call.decision_id = "hd-1";
  call.created_ms = 5;
  Turn result;
  result.message = {chat::Role::kTool, "sunny", "weather"};
  result.message.tool_call_id = "call_1";
  session.turns = {question, call, result};
  capsule.kv = KvReference{"smol", "0123", "4567", 40};
  return capsule;
}

nlohmann::json json_of(const Capsule& capsule) { return nlohmann::json::parse(encode_capsule(capsule)); }

// With the checksum that belongs to it, as another program would write it.
std::string sealed(nlohmann::json json) {
  json.erase("sha256");
  json["sha256"] = hex_of(sha256(json.dump()));
  return json.dump();
}

TEST(CapsuleForm, ComesBackAsItWas) {
  const Capsule capsule = capsule_of_a_tool_loop();
  const auto read = decode_capsule(encode_capsule(capsule));
  ASSERT_OK(read);
  EXPECT_EQ(read->session.head, capsule.session.head);
  EXPECT_EQ(read->session.turns, capsule.session.turns);
  EXPECT_EQ(read->session.model, "smol");
  EXPECT_EQ(read->session.tags, "draft,code");
  EXPECT_EQ(read->kv, capsule.kv);
  EXPECT_EQ(encode_capsule(*read), encode_capsule(capsule));
}

TEST(CapsuleForm, SaysWhoseToolLoopItIs) {
  Capsule capsule = capsule_of_a_tool_loop();
  EXPECT_EQ(json_of(capsule)["bound"], (nlohmann::json{{"backend", "cloud"}, {"by", "tool_loop"}}));
  Turn answer;
  answer.message = assistant("Sunny.");
  answer.segments = {{"cloud", 6}};
  answer.writer = "cloud";
  capsule.session.turns.push_back(answer);
  EXPECT_EQ(json_of(capsule)["bound"], (nlohmann::json{{"backend", "cloud"}, {"by", "provider_state"}}));
  capsule.session.turns[1].message.tool_calls[0].extra.clear();
  EXPECT_TRUE(json_of(capsule)["bound"].is_null());
}

TEST(CapsuleForm, AnAlteredOneIsRefused) {
  const std::string whole = encode_capsule(capsule_of_a_tool_loop());
  for (size_t at = 0; at + 1 < whole.size(); at += 7) {
    std::string altered = whole;
    altered[at] = altered[at] == '1' ? '2' : '1';
    if (altered == whole) continue;
    EXPECT_FALSE(decode_capsule(altered).ok()) << "byte " << at;
    EXPECT_FALSE(decode_capsule(whole.substr(0, at)).ok()) << "cut at " << at;
  }
  std::string not_private = whole;
  not_private.replace(not_private.find("\"private\":true"), 14, "\"private\":false");
  EXPECT_EQ(decode_capsule(not_private).error().code, ErrorCode::kCorrupt);
}

TEST(CapsuleForm, WhatIsUnknownIsRefused) {
  const nlohmann::json good = json_of(capsule_of_a_tool_loop());
  ASSERT_OK(decode_capsule(sealed(good)));
  const auto code = [&](const nlohmann::json& patch) {
    nlohmann::json json = good;
    json.merge_patch(patch);
    const auto read = decode_capsule(sealed(json));
    return read.ok() ? std::string("ok") : std::string(to_string(read.error().code));
  };
  EXPECT_EQ(code({{"capsule", 2}}), "unsupported");
  EXPECT_EQ(code({{"capsule", "1"}}), "invalid_argument");
  EXPECT_EQ(code({{"secrecy", "high"}}), "invalid_argument");
  EXPECT_EQ(code({{"id", "a b"}}), "invalid_argument");
  EXPECT_EQ(code({{"private", nullptr}}), "invalid_argument") << "absent: nobody knows whether it is private";
  EXPECT_EQ(code({{"used", {{"upstream_tokens", -1}}}}), "invalid_argument");
  EXPECT_EQ(code({{"bound", nullptr}}), "invalid_argument") << "a loop that is denied";
  nlohmann::json json = good;
  json["turns"][1]["segments"][0]["bytes"] = 99;
  EXPECT_FALSE(decode_capsule(sealed(json)).ok());
  json = good;
  json["turns"][0]["role"] = "robot";
  EXPECT_FALSE(decode_capsule(sealed(json)).ok());
  json = good;
  json["turns"][2]["hidden"] = true;
  EXPECT_FALSE(decode_capsule(sealed(json)).ok());
}

TEST(CapsuleForm, HasLimits) {
  EXPECT_FALSE(decode_capsule("").ok());
  EXPECT_FALSE(decode_capsule("[]").ok());
  EXPECT_FALSE(decode_capsule("{}").ok());
  EXPECT_FALSE(decode_capsule(std::string(1'000'000, '[')).ok());
  EXPECT_FALSE(decode_capsule(std::string(kCapsuleBytesMax + 1, ' ')).ok());
}

TEST(CapsuleForm, IsSmall) {
  // 6 bytes per token and 4 KiB, of a conversation of English; a token is some 4.4 bytes of it.
  Capsule capsule;
  capsule.session.head.id = "s-0123456789abcdef";
  size_t bytes = 0;
  for (int i = 0; i < 40; ++i) {
    Turn turn;
    turn.message = i % 2 ? assistant("") : user("");
    while (turn.message.content.size() < 1000) turn.message.content += "words that somebody said once, ";
    if (i % 2) {
      turn.segments = {{"local", turn.message.content.size()}};
      turn.writer = "local";
      turn.decision_id = "hd-0123456789abcdef";
    }
    turn.created_ms = 1'790'000'000'000;
    bytes += turn.message.content.size();
    capsule.session.turns.push_back(turn);
  }
  const double tokens = static_cast<double>(bytes) / 4.4;
  EXPECT_LE(static_cast<double>(encode_capsule(capsule).size()), 6 * tokens + 4096);
}

TEST(ToolLoops, BindToTheLastAnswerInALoop) {
  chat::Message calls = assistant("");
  calls.tool_calls = {{"1", "f", "{}"}};
  const chat::Message result{chat::Role::kTool, "r", ""};
  const auto bound = [](const std::vector<chat::Message>& messages) -> int {
    const Binding binding = binding_of(messages);
    return binding.message == nullptr ? -1 : static_cast<int>(binding.message - messages.data());
  };
  EXPECT_EQ(bound({user("q")}), -1);
  EXPECT_EQ(bound({user("q"), assistant("a"), user("q")}), -1);
  EXPECT_EQ(bound({user("q"), calls, result}), 1);
  EXPECT_EQ(bound({user("q"), calls, result, calls, result}), 3);
  EXPECT_EQ(bound({user("q"), calls, user("never mind")}), 1) << "the call is open";
  EXPECT_EQ(bound({user("q"), assistant("call f"), result}), 1) << "a call in words";
  EXPECT_EQ(bound({user("q"), calls, result, assistant("done"), user("next")}), -1);
  EXPECT_EQ(bound({result}), -1);
  calls.tool_calls[0].extra = "{}";
  EXPECT_EQ(bound({user("q"), calls, result, assistant("done"), user("next")}), 1) << "its state";
}

}  // namespace
}  // namespace hedge::session
