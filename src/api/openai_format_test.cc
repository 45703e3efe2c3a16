// Events to OpenAI's objects and chunks.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/dialect.h"

namespace hedge::api {
namespace {

using Json = nlohmann::json;
using chat::Delta;
using chat::Done;
using chat::FinishReason;
using chat::Started;
using chat::Switched;
using chat::TokenInfo;

const AnswerHead kHead{"hd-1", "smol", 1700000000};

Call call_for(const Dialect& dialect, const Json& extra) {
  Json body = &dialect == &kOpenAiChat ? Json::parse(R"({"messages":[{"role":"user","content":"Hi"}]})")
                                       : Json::parse(R"({"prompt":"Hi"})");
  body.update(extra);
  auto call = dialect.parse(body.dump());
  EXPECT_TRUE(call.ok()) << call.error().to_text();
  return std::move(call).value();
}

TokenInfo token(std::string bytes, float logprob, std::vector<chat::TokenLogprob> top = {}) {
  TokenInfo info;
  info.chosen = {1, std::move(bytes), logprob};
  info.top = std::move(top);
  return info;
}

Done done(FinishReason reason = FinishReason::kStop) {
  Done event;
  event.reason = reason;
  event.usage = {
      .prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 3, .prefill_ms = 2, .decode_ms = 5};
  auto trace = std::make_shared<chat::Trace>();
  trace->id = "hd-1";
  trace->session = "s";
  trace->route = "mixed";
  trace->reasons = {"confidence.mid"};
  trace->segments = {{"local", 3}, {"cloud", 2}};
  event.trace = trace;
  return event;
}

// The data objects of a stream, with the comments apart; "[DONE]" must be the last.
std::vector<Json> chunks(const std::string& stream, std::vector<std::string>* comments = nullptr) {
  std::vector<Json> out;
  bool ended = false;
  size_t position = 0;
  while (position < stream.size()) {
    const size_t end = stream.find("\n\n", position);
    EXPECT_NE(end, std::string::npos);
    const std::string event = stream.substr(position, end - position);
    position = end + 2;
    EXPECT_FALSE(ended) << event;
    if (event.starts_with(":")) {
      if (comments != nullptr) comments->push_back(event);
    } else if (event == "data: [DONE]") {
      ended = true;
    } else {
      EXPECT_TRUE(event.starts_with("data: ")) << event;
      out.push_back(Json::parse(event.substr(6)));
    }
  }
  EXPECT_TRUE(ended);
  return out;
}

TEST(OpenAiFormat, WholeChat) {
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, Json::object()), kHead);
  EXPECT_EQ(formatter->add(0, Started{"local", "smol", 10, 4}), "");
  EXPECT_EQ(formatter->add(0, Delta{"Hel\"", {}}), "");
  EXPECT_EQ(formatter->add(0, Delta{"lo", {}}), "");
  EXPECT_FALSE(formatter->complete());
  EXPECT_EQ(formatter->add(0, done(FinishReason::kLength)), "");
  ASSERT_TRUE(formatter->complete());
  const Json body = Json::parse(formatter->body());
  const Json expected = Json::parse(R"({"id":"chatcmpl-hd-1","object":"chat.completion","created":1700000000,
    "model":"smol","choices":[{"index":0,"message":{"role":"assistant","content":"Hel\"lo","refusal":null},
    "logprobs":null,"finish_reason":"length"}],
    "usage":{"prompt_tokens":10,"completion_tokens":3,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":4}},
    "timings":{"cache_n":4,"prompt_n":6,"prompt_ms":2.0,"prompt_per_second":3000.0,"predicted_n":3,
               "predicted_ms":5.0,"predicted_per_second":600.0},
    "hedge":{"id":"hd-1","session":"s","route":"mixed","reasons":["confidence.mid"],
             "segments":[{"backend":"local","bytes":3},{"backend":"cloud","bytes":2}]}})");
  EXPECT_EQ(body, expected);
}

TEST(OpenAiFormat, TimingsCountDrafts) {
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, Json::object()), kHead);
  formatter->add(0, Started{"local", "smol", 10, 4});
  Done end = done();
  end.usage.draft_tokens = 7;
  end.usage.draft_tokens_accepted = 2;
  formatter->add(0, end);
  const Json timings = Json::parse(formatter->body())["timings"];
  EXPECT_EQ(timings["draft_n"], 7);
  EXPECT_EQ(timings["draft_n_accepted"], 2);
}

TEST(OpenAiFormat, StreamedChat) {
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, {{"stream", true}}), kHead);
  std::string stream = formatter->add(0, Started{"local", "smol", 10, 4});
  EXPECT_EQ(formatter->add(0, Delta{"", {}}), "");
  stream += formatter->add(0, Delta{"a\n\xc3\xa9", {}});
  stream += formatter->add(0, Switched{"local", "cloud", "confidence.mid"});
  stream += formatter->add(0, Delta{"b", {}});
  stream += formatter->add(0, done());
  std::vector<std::string> comments;
  const auto objects = chunks(stream, &comments);
  ASSERT_EQ(objects.size(), 4u);
  for (const Json& object : objects) {
    EXPECT_EQ(object["object"], "chat.completion.chunk");
    EXPECT_EQ(object["id"], "chatcmpl-hd-1");
    EXPECT_EQ(object["created"], 1700000000);
    EXPECT_FALSE(object.contains("usage"));
    EXPECT_EQ(object.contains("hedge"), &object == &objects.back());
  }
  EXPECT_EQ(objects[0]["choices"][0]["delta"], Json::parse(R"({"role":"assistant","content":""})"));
  EXPECT_EQ(objects[1]["choices"][0]["delta"], Json::parse(R"({"content":"a\n\u00e9"})"));
  EXPECT_TRUE(objects[1]["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(objects[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(objects[3]["choices"][0]["delta"], Json::object());
  EXPECT_EQ(objects[3]["hedge"]["route"], "mixed");
  EXPECT_EQ(comments, (std::vector<std::string>{
                          R"(: hedge {"backend":"local"})",
                          R"(: hedge {"backend":"cloud","from":"local","reason":"confidence.mid"})"}));
}

TEST(OpenAiFormat, UsageChunkIsLastAndHasNoChoices) {
  const Json extra = Json::parse(R"({"stream":true,"stream_options":{"include_usage":true}})");
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, extra), kHead);
  std::string stream = formatter->add(0, Started{"local", "smol", 10, 4});
  stream += formatter->add(0, Delta{"x", {}});
  stream += formatter->add(0, done());
  const auto objects = chunks(stream);
  ASSERT_EQ(objects.size(), 4u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(objects[i].contains("usage") && objects[i]["usage"].is_null());
    EXPECT_FALSE(objects[i].contains("hedge"));
  }
  EXPECT_EQ(objects[3]["choices"], Json::array());
  EXPECT_EQ(objects[3]["usage"]["total_tokens"], 13);
  EXPECT_EQ(objects[3]["hedge"]["id"], "hd-1");
}

TEST(OpenAiFormat, ChoicesShareThePrompt) {
  for (const bool stream : {false, true}) {
    const Json extra{{"n", 2}, {"stream", stream}, {"stream_options", {{"include_usage", true}}}};
    auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, extra), kHead);
    std::string out;
    for (size_t i : {0u, 1u}) out += formatter->add(i, Started{"local", "smol", 10, 4});
    out += formatter->add(1, Delta{"one", {}});
    out += formatter->add(0, Delta{"zero", {}});
    out += formatter->add(1, done());
    EXPECT_FALSE(formatter->complete());
    out += formatter->add(0, done());
    const Json last = stream ? chunks(out).back() : Json::parse(formatter->body());
    EXPECT_EQ(last["usage"]["prompt_tokens"], 10);
    EXPECT_EQ(last["usage"]["completion_tokens"], 6);
    EXPECT_EQ(last["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    if (stream) {
      const auto objects = chunks(out);
      EXPECT_EQ(objects[2]["choices"][0]["index"], 1);
      EXPECT_EQ(objects[4]["choices"][0]["hedge"]["id"], "hd-1");
    } else {
      EXPECT_EQ(last["choices"][0]["message"]["content"], "zero");
      EXPECT_EQ(last["choices"][1]["message"]["content"], "one");
      EXPECT_TRUE(last["choices"][1].contains("hedge"));
    }
  }
}

TEST(OpenAiFormat, CountsSegmentsWithoutATrace) {
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, Json::object()), kHead);
  formatter->add(0, Started{"local", "smol", 1, 0});
  formatter->add(0, Delta{"\xc3\xa9", {}});
  formatter->add(0, Done{});
  const Json body = Json::parse(formatter->body());
  EXPECT_EQ(body["hedge"], Json::parse(R"({"id":"hd-1","session":"","route":"local","reasons":[],
                                           "segments":[{"backend":"local","bytes":2}]})"));
}

TEST(OpenAiFormat, ChatLogprobs) {
  const Json extra{{"logprobs", true}, {"top_logprobs", 1}};
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, extra), kHead);
  formatter->add(0, Started{"local", "smol", 1, 0});
  formatter->add(0, Delta{"", {token("\xc3", -0.5f)}});
  const float minus_infinity = -std::numeric_limits<float>::infinity();
  formatter->add(0, Delta{"\xc3\xa9", {token("\xa9", -1.0f, {{7, "A", -0.25f}, {8, "B", minus_infinity}})}});
  formatter->add(0, Delta{"!", {token("!", minus_infinity)}});
  formatter->add(0, Done{});
  const Json content = Json::parse(formatter->body())["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3u);
  EXPECT_EQ(content[0], Json::parse(R"({"token":"\ufffd","logprob":-0.5,"bytes":[195],"top_logprobs":[]})"));
  EXPECT_EQ(content[1]["bytes"], Json::parse("[169]"));
  EXPECT_EQ(content[1]["top_logprobs"], Json::parse(R"([{"token":"A","logprob":-0.25,"bytes":[65]}])"));
  EXPECT_EQ(content[2]["logprob"], -9999.0);
}

TEST(OpenAiFormat, LogprobsWaitForTheirTextAndDropWhatAStopCut) {
  const Json extra{{"logprobs", true}, {"stream", true}, {"stop", "<end>"}};
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, extra), kHead);
  std::string stream = formatter->add(0, Started{"local", "smol", 1, 0});
  stream += formatter->add(0, Delta{"a", {token("a", -1)}});
  stream += formatter->add(0, Delta{"", {token("<e", -1)}});
  stream += formatter->add(0, Delta{"<ex", {token("x", -1)}});  // No stop string after all.
  stream += formatter->add(0, Delta{"", {token("<e", -1)}});
  stream += formatter->add(0, Delta{"", {token("nd>", -1)}});
  stream += formatter->add(0, Done{});
  const auto objects = chunks(stream);
  std::string text;
  std::string tokens;
  for (const Json& object : objects) {
    const Json& choice = object["choices"][0];
    text += choice["delta"].value("content", "");
    if (choice["logprobs"].is_null()) continue;
    for (const Json& entry : choice["logprobs"]["content"]) tokens += entry["token"].get<std::string>();
  }
  EXPECT_EQ(text, "a<ex");
  EXPECT_EQ(tokens, "a<ex");
}

TEST(OpenAiFormat, LogprobsKeepInStepWithoutTheFirstSpace) {
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, {{"logprobs", true}}), kHead);
  formatter->add(0, Started{"local", "smol", 1, 0});
  formatter->add(0, Delta{"", {token(" ", -1)}});
  formatter->add(0, Delta{"Paris", {token("Paris", -1)}});
  formatter->add(0, Delta{".", {token(".", -1)}});
  formatter->add(0, Delta{"", {token("", -1)}});  // The end-of-turn token has no text.
  formatter->add(0, Done{});
  EXPECT_EQ(Json::parse(formatter->body())["choices"][0]["logprobs"]["content"].size(), 3u);
}

TEST(OpenAiFormat, WholeTextWithEchoAndLogprobs) {
  auto echo = kOpenAiText.make_formatter(call_for(kOpenAiText, {{"echo", true}}), kHead);
  echo->add(0, Started{"local", "smol", 1, 0});
  echo->add(0, Delta{" there", {}});
  echo->add(0, done());
  const Json body = Json::parse(echo->body());
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["id"], "cmpl-hd-1");
  EXPECT_EQ(body["choices"][0]["text"], "Hi there");
  EXPECT_EQ(body["hedge"]["segments"], Json::parse(R"([{"backend":"prompt","bytes":2},
              {"backend":"local","bytes":3},{"backend":"cloud","bytes":2}])"));

  auto formatter = kOpenAiText.make_formatter(call_for(kOpenAiText, {{"logprobs", 1}}), kHead);
  formatter->add(0, Started{"local", "smol", 1, 0});
  formatter->add(0, Delta{"\xc3\xa9", {token("\xc3\xa9", -0.5f, {{1, "\xc3\xa9", -0.5f}})}});
  formatter->add(0, Delta{"b", {token("b", -1.0f, {{1, "b", -1.0f}})}});
  formatter->add(0, done());
  EXPECT_EQ(Json::parse(formatter->body())["choices"][0]["logprobs"],
            Json::parse(R"({"tokens":["\u00e9","b"],"token_logprobs":[-0.5,-1.0],
                            "top_logprobs":[{"\u00e9":-0.5},{"b":-1.0}],"text_offset":[0,1]})"));
}

// Each token's offset is that of the character it begins in: never behind the text.
TEST(OpenAiFormat, TextOffsetsLieInTheText) {
  struct Case {
    const char* name;
    std::vector<std::string> tokens;
    std::vector<std::string> texts;  // as the engine sends them with each token
    std::vector<size_t> offsets;
  };
  const std::vector<Case> cases = {
      {"a character in four tokens",
       {"a", "\xf0", "\x9f", "\x98", "\x80", "b"},
       {"a", "", "", "", "\xf0\x9f\x98\x80", "b"},
       {0, 1, 1, 1, 1, 2}},
      {"a token that ends one and begins the next",
       {"\xc3", "\xa9\xc3", "\xa8"},
       {"", "\xc3\xa9", "\xc3\xa8"},
       {0, 0, 1}},
      {"a character that is never whole",
       {"a", "\xf0\x9f", "b", "\xf0", "\x9f"},
       {"a", "",
        "\xef\xbf\xbd"
        "b",
        "", "\xef\xbf\xbd"},
       {0, 1, 2, 3, 3}},
      {"bytes that begin nothing", {"\x80", "\x80", "a"}, {"\xef\xbf\xbd", "\xef\xbf\xbd", "a"}, {0, 1, 2}},
      {"a first space that the text has not", {" ", "Paris", "."}, {"", "Paris", "."}, {0, 0, 5}},
      {"an end that has no text", {"a", "\xf0", "\x9f"}, {"a", "", ""}, {0}},
  };
  for (const Case& c : cases) {
    for (const bool stream : {false, true}) {
      auto formatter =
          kOpenAiText.make_formatter(call_for(kOpenAiText, {{"logprobs", 0}, {"stream", stream}}), kHead);
      std::string sent = formatter->add(0, Started{"local", "smol", 1, 0});
      for (size_t i = 0; i < c.tokens.size(); ++i)
        sent += formatter->add(0, Delta{c.texts[i], {token(c.tokens[i], -1)}});
      sent += formatter->add(0, Done{});
      std::vector<size_t> offsets;
      const auto collect = [&offsets](const Json& choice) {
        if (choice["logprobs"].is_null()) return;
        for (const Json& offset : choice["logprobs"]["text_offset"]) offsets.push_back(offset);
      };
      if (stream) {
        for (const Json& object : chunks(sent)) collect(object["choices"][0]);
      } else {
        collect(Json::parse(formatter->body())["choices"][0]);
      }
      EXPECT_EQ(offsets, c.offsets) << c.name << ", stream " << stream;
    }
  }
}

TEST(OpenAiFormat, StreamedTextWithEcho) {
  auto formatter =
      kOpenAiText.make_formatter(call_for(kOpenAiText, {{"echo", true}, {"stream", true}}), kHead);
  std::string stream = formatter->add(0, Started{"local", "smol", 1, 0});
  stream += formatter->add(0, Delta{" there", {}});
  stream += formatter->add(0, done());
  std::vector<std::string> comments;
  const auto objects = chunks(stream, &comments);
  ASSERT_EQ(objects.size(), 3u);
  EXPECT_EQ(comments,
            (std::vector<std::string>{R"(: hedge {"backend":"prompt"})", R"(: hedge {"backend":"local"})"}));
  EXPECT_EQ(objects[2]["hedge"]["segments"][0], Json::parse(R"({"backend":"prompt","bytes":2})"));
  EXPECT_EQ(objects[0]["choices"][0]["text"], "Hi");
  EXPECT_EQ(objects[1]["choices"][0]["text"], " there");
  EXPECT_EQ(objects[2]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(objects[2]["choices"][0]["text"], "");
}

TEST(OpenAiFormat, SegmentsAddUpToTheEchoedText) {
  for (const bool stream : {false, true}) {
    Call call = call_for(kOpenAiText, {{"prompt", {"", "\u00e9"}}, {"echo", true}, {"stream", stream}});
    call.echo_texts[1] = "\xc3\xa9\xff";  // Of token ids: half a character at the end.
    auto formatter = kOpenAiText.make_formatter(call, kHead);
    std::string out;
    for (size_t i : {0u, 1u}) {
      out += formatter->add(i, Started{"local", "smol", 1, 0});
      out += formatter->add(i, Delta{"abc", {}});
      out += formatter->add(i, Done{});
    }
    std::vector<std::string> texts(2);
    std::vector<Json> segments(2);
    for (const Json& object : stream ? chunks(out) : std::vector<Json>{Json::parse(formatter->body())}) {
      for (const Json& choice : object["choices"]) {
        const auto index = choice["index"].get<size_t>();
        texts[index] += choice["text"].get<std::string>();
        if (choice.contains("hedge")) segments[index] = choice["hedge"]["segments"];
      }
    }
    EXPECT_EQ(texts[0], "abc");
    EXPECT_EQ(segments[0], Json::parse(R"([{"backend":"local","bytes":3}])"));
    EXPECT_EQ(texts[1],
              "\xc3\xa9\xef\xbf\xbd"
              "abc");
    EXPECT_EQ(segments[1], Json::parse(R"([{"backend":"prompt","bytes":5},{"backend":"local","bytes":3}])"));
  }
}

TEST(OpenAiFormat, StreamErrorIsAnObjectAndAnEnd) {
  auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, {{"stream", true}}), kHead);
  const auto objects =
      chunks(formatter->stream_error(to_api_error(make_error(ErrorCode::kUnavailable, "upstream is down"))));
  ASSERT_EQ(objects.size(), 1u);
  EXPECT_EQ(objects[0]["error"]["message"], "upstream is down");
  EXPECT_EQ(objects[0]["error"]["type"], "server_error");
}

TEST(OpenAiFormat, BrokenUtf8NeverBreaksTheJson) {
  for (const bool stream : {false, true}) {
    auto formatter = kOpenAiChat.make_formatter(call_for(kOpenAiChat, {{"stream", stream}}), kHead);
    std::string out = formatter->add(0, Started{"local", "smol", 1, 0});
    out += formatter->add(0, Delta{"\xff\x01\x7f", {}});
    out += formatter->add(0, Done{});
    const Json choice = stream ? chunks(out)[1]["choices"][0]["delta"]
                               : Json::parse(formatter->body())["choices"][0]["message"];
    EXPECT_EQ(choice["content"], "\xef\xbf\xbd\x01\x7f");
  }
}

}  // namespace
}  // namespace hedge::api
