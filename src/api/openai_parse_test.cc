// Bodies of the OpenAI forms: what is read, and what every wrong field is told.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/dialect.h"
#include "api/session_id.h"

namespace hedge::api {
namespace {

using Json = nlohmann::json;

Json chat_body() { return Json::parse(R"({"messages":[{"role":"user","content":"Hi"}]})"); }
Json text_body() { return Json::parse(R"({"prompt":"Hi"})"); }

Call parse_ok(const Dialect& dialect, const Json& body) {
  auto call = dialect.parse(body.dump());
  EXPECT_TRUE(call.ok()) << body.dump() << " -> " << call.error().to_text();
  if (call.ok()) return std::move(call).value();
  Call empty;
  empty.requests.resize(1);
  return empty;
}

Error parse_error(const Dialect& dialect, const std::string& body) {
  const auto call = dialect.parse(body);
  EXPECT_FALSE(call.ok()) << body;
  return call.ok() ? Error{} : call.error();
}

TEST(OpenAiParse, ListsBothForms) {
  ASSERT_EQ(dialects().size(), 2u);
  EXPECT_EQ(dialects()[0]->path, "/v1/chat/completions");
  EXPECT_EQ(dialects()[1]->path, "/v1/completions");
}

TEST(OpenAiParse, ReadsEveryChatField) {
  const Json body = Json::parse(R"({
    "model":"m","messages":[{"role":"developer","content":"D"},{"role":"user","content":[{"type":"text","text":"A"},
      {"type":"text","text":"B"}],"name":"bob"},{"role":"assistant","content":null,"refusal":null,"tool_calls":null},
      {"role":"tool","content":"T","tool_call_id":"x"},{"role":"user","content":"Q"}],
    "max_tokens":5,"max_completion_tokens":7,"temperature":0,"top_p":0.5,"top_k":3,"min_p":0.1,"repeat_penalty":1.1,
    "presence_penalty":-1,"frequency_penalty":2,"seed":42,"stop":["a","","b"],"n":2,"stream":true,
    "stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":4,"ignore_eos":true,
    "hedge":{"route":"upstream","session":"s:1","private":true,"escalate_after":0}})");
  const Call call = parse_ok(kOpenAiChat, body);
  ASSERT_EQ(call.requests.size(), 2u);
  const chat::Request& request = call.requests[0];
  EXPECT_EQ(request.model, "m");
  ASSERT_EQ(request.messages.size(), 5u);
  EXPECT_EQ(request.messages[0], (chat::Message{chat::Role::kSystem, "D", ""}));
  EXPECT_EQ(request.messages[1], (chat::Message{chat::Role::kUser, "A\nB", "bob"}));
  EXPECT_EQ(request.messages[2], (chat::Message{chat::Role::kAssistant, "", ""}));
  EXPECT_EQ(request.messages[3], (chat::Message{chat::Role::kTool, "T", "", {}, "x"}));
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.sampling.temperature, 0.0f);
  EXPECT_TRUE(request.sampling.temperature_set);
  EXPECT_TRUE(request.sampling.top_p_set);
  EXPECT_EQ(request.sampling.top_p, 0.5f);
  EXPECT_EQ(request.sampling.top_k, 3);
  EXPECT_EQ(request.sampling.min_p, 0.1f);
  EXPECT_EQ(request.sampling.repeat_penalty, 1.1f);
  EXPECT_EQ(request.sampling.presence_penalty, -1.0f);
  EXPECT_EQ(request.sampling.frequency_penalty, 2.0f);
  EXPECT_EQ(request.sampling.seed, 42u);
  EXPECT_EQ(call.requests[1].sampling.seed, 43u);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.top_logprobs, 4);
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_EQ(request.routing.route, chat::Route::kUpstream);
  EXPECT_EQ(request.routing.session, "s:1");
  EXPECT_TRUE(request.routing.private_session);
  EXPECT_EQ(request.routing.escalate_after, 0);
  EXPECT_TRUE(call.stream);
  EXPECT_TRUE(call.include_usage);
  EXPECT_FALSE(request.raw);
}

TEST(OpenAiParse, DefaultsAreThoseOfTheRequest) {
  const Call call = parse_ok(kOpenAiChat, chat_body());
  const chat::Request& request = call.requests.at(0);
  const chat::Request fresh;
  EXPECT_EQ(request.sampling.temperature, fresh.sampling.temperature);
  EXPECT_FALSE(request.sampling.temperature_set);
  EXPECT_FALSE(request.sampling.top_p_set);
  EXPECT_FALSE(request.sampling.seed.has_value());
  EXPECT_EQ(request.max_tokens, -1);
  EXPECT_EQ(request.top_logprobs, -1);
  EXPECT_FALSE(request.routing.escalate_after.has_value());
  EXPECT_FALSE(call.stream);
}

TEST(OpenAiParse, TagsAreNames) {
  Json body = chat_body();
  body["hedge"] = Json::parse(R"({"tags":["draft","team.blue:1"]})");
  EXPECT_EQ(parse_ok(kOpenAiChat, body).requests.at(0).routing.tags,
            (std::vector<std::string>{"draft", "team.blue:1"}));
  EXPECT_EQ(parse_ok(kOpenAiChat, body).requests.at(0).routing.tenant, "");
  for (const char* wrong :
       {R"({"tags":"draft"})", R"({"tags":["a b"]})", R"({"tags":[""]})", R"({"tags":[1]})",
        R"({"tags":["a,b"]})", R"({"tags":[["a"]]})", R"({"tenant":"office"})"}) {
    body["hedge"] = Json::parse(wrong);
    EXPECT_EQ(parse_error(kOpenAiChat, body.dump()).field.rfind("hedge.", 0), 0u) << wrong;
  }
  body["hedge"] = {{"tags", std::vector<std::string>(kTagsMax + 1, "a")}};
  EXPECT_EQ(parse_error(kOpenAiChat, body.dump()).field, "hedge.tags");
  EXPECT_NE(parse_error(kOpenAiChat, body.dump()).detail.find("at most 16 names, got 17"), std::string::npos);
  body["hedge"] = {{"tags", {std::string(kTagBytesMax + 1, 'a')}}};
  EXPECT_EQ(parse_error(kOpenAiChat, body.dump()).field, "hedge.tags");
}

TEST(OpenAiParse, NullIsAbsent) {
  for (const char* field : {"model",
                            "max_tokens",
                            "temperature",
                            "top_p",
                            "top_k",
                            "seed",
                            "stop",
                            "n",
                            "stream",
                            "stream_options",
                            "logprobs",
                            "top_logprobs",
                            "tools",
                            "tool_choice",
                            "response_format",
                            "logit_bias",
                            "hedge",
                            "user",
                            "audio",
                            "metadata",
                            "store",
                            "service_tier",
                            "parallel_tool_calls",
                            "prediction",
                            "modalities",
                            "functions"}) {
    Json body = chat_body();
    body[field] = nullptr;
    parse_ok(kOpenAiChat, body);
  }
}

TEST(OpenAiParse, IgnoresWhatChangesNothing) {
  Json body = chat_body();
  body.update(Json::parse(R"({"user":"u","store":false,"metadata":{"a":"b"},"parallel_tool_calls":false,
    "service_tier":"auto","reasoning_effort":"low","logit_bias":{},"response_format":{"type":"text"},"tools":[],
    "tool_choice":"none","modalities":["text"],"cache_prompt":true,"some_future_field":{"x":[1]}})"));
  parse_ok(kOpenAiChat, body);
}

TEST(OpenAiParse, RejectsWhatWouldChangeTheAnswer) {
  const std::pair<const char*, const char*> cases[] = {
      {"functions", R"([{"name":"f"}])"},
      {"response_format", R"({"type":"json_object"})"},
      {"response_format", R"({"type":"json_schema","json_schema":{}})"},
      {"logit_bias", R"({"5":-100})"},
      {"modalities", R"(["text","audio"])"},
      {"audio", R"({"voice":"alloy"})"},
      {"grammar", R"("root ::= x")"},
      {"chat_template_kwargs", R"({"enable_thinking":false})"},
      {"best_of", "4"},
      {"suffix", R"("tail")"},
  };
  for (const auto& [field, value] : cases) {
    Json body = chat_body();
    body[field] = Json::parse(value);
    const Error error = parse_error(kOpenAiChat, body.dump());
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << field;
    EXPECT_EQ(error.field, field);
    EXPECT_EQ(http_status(error.code), 400);
  }
}

TEST(OpenAiParse, SaysWhatIsSupportedInstead) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("tools":[{"type":"function"}])",
       R"(tools[0]: expected {"type":"function","function":{"name":...}})"},
      {R"("tool_choice":"required")", "tool_choice: expected tools to choose from, got none"},
      {R"("response_format":{"type":"json_object"})",
       R"(response_format: not supported, except {"type":"text"})"},
      {R"("audio":{"voice":"alloy"})", "audio: not supported"},
      {R"("tool_choice":1)", "tool_choice: expected a string or an object, got an integer"},
  };
  for (const auto& [field, text] : cases) {
    const std::string body = R"({"messages":[{"role":"user","content":"x"}],)" + std::string(field) + "}";
    EXPECT_EQ(parse_error(kOpenAiChat, body).detail, text);
  }
}

// Every field times every JSON type that it does not take: a 400 that names the field and both types.
struct TypeCase {
  const char* field;
  const char* accepts;  // letters of the types that are right: s(tring) i(nteger) f(raction) b(oolean)
                        // a(rray) o(bject)
};
constexpr TypeCase kCommonTypes[] = {
    {"model", "s"},
    {"max_tokens", "i"},
    {"max_completion_tokens", "i"},
    {"temperature", "if"},
    {"top_p", "if"},
    {"top_k", "i"},
    {"min_p", "if"},
    {"repeat_penalty", "if"},
    {"repetition_penalty", "if"},
    {"repeat_last_n", "i"},
    {"presence_penalty", "if"},
    {"frequency_penalty", "if"},
    {"seed", "i"},
    {"stop", "sa"},
    {"n", "i"},
    {"stream", "b"},
    {"stream_options", "o"},
    {"ignore_eos", "b"},
    {"hedge", "o"},
    // What is not read.
    {"user", "s"},
    {"safety_identifier", "s"},
    {"metadata", "o"},
    {"store", "b"},
    {"service_tier", "s"},
    {"prompt_cache_key", "s"},
    {"prompt_cache_retention", "s"},
    {"parallel_tool_calls", "b"},
    {"prediction", "o"},
    {"reasoning_effort", "s"},
    {"verbosity", "s"},
    // What is not supported.
    {"tools", "a"},
    {"tool_choice", "so"},
    {"functions", "a"},
    {"function_call", "so"},
    {"response_format", "o"},
    {"logit_bias", "oa"},
    {"modalities", "a"},
    {"audio", "o"},
    {"web_search_options", "o"},
    {"suffix", "s"},
    {"best_of", "if"},
    {"grammar", "s"},
    {"json_schema", "o"},
    {"use_beam_search", "b"},
    {"typical_p", "if"},
};
constexpr TypeCase kChatTypes[] = {{"messages", "a"},
                                   {"logprobs", "b"},
                                   {"top_logprobs", "i"},
                                   {"continue_final_message", "b"},
                                   {"add_generation_prompt", "b"}};
constexpr TypeCase kTextTypes[] = {{"prompt", "sa"}, {"logprobs", "i"}, {"echo", "b"}};

const std::pair<char, const char*> kTypes[] = {{'s', R"("x")"}, {'i', "1"},  {'f', "1.5"},
                                               {'b', "true"},   {'a', "[]"}, {'o', "{}"}};
const std::map<char, std::string> kTypeNames = {{'s', "a string"},  {'i', "an integer"},
                                                {'b', "a boolean"}, {'f', "a number with a fraction"},
                                                {'a', "an array"},  {'o', "an object"}};

void expect_type_errors(const Dialect& dialect, const Json& valid, std::span<const TypeCase> cases) {
  for (const TypeCase& wrong : cases) {
    for (const auto& [letter, value] : kTypes) {
      if (std::string_view(wrong.accepts).find(letter) != std::string_view::npos) continue;
      Json body = valid;
      body[wrong.field] = Json::parse(value);
      const Error error = parse_error(dialect, body.dump());
      EXPECT_EQ(error.code, ErrorCode::kInvalidArgument) << body.dump();
      EXPECT_EQ(error.field, wrong.field) << body.dump();
      EXPECT_NE(error.detail.find("expected"), std::string::npos) << error.detail;
      EXPECT_NE(error.detail.find("got " + kTypeNames.at(letter)), std::string::npos) << error.detail;
    }
  }
}

TEST(OpenAiParse, WrongTypesNameTheField) {
  expect_type_errors(kOpenAiChat, chat_body(), kCommonTypes);
  expect_type_errors(kOpenAiChat, chat_body(), kChatTypes);
  expect_type_errors(kOpenAiText, text_body(), kCommonTypes);
  expect_type_errors(kOpenAiText, text_body(), kTextTypes);
}

struct FieldCase {
  const char* body;
  const char* field;
};

TEST(OpenAiParse, BadChatBodies) {
  const FieldCase cases[] = {
      {"", ""},
      {"{", ""},
      {"[]", ""},
      {"null", ""},
      {"\"x\"", ""},
      {"{\"messages\":None}", ""},
      {"{\"messages\":NaN}", "messages"},
      {"{\"temperature\":NaN}", "temperature"},
      {"{\"logit_bias\":{\"5\":[1, -Infinity]}}", "logit_bias.5[1]"},
      {"NaN", ""},
      {"1e999", ""},
      {"{\"messages\":[],}", ""},
      {"{\"temperature\":1e999}", "temperature"},
      {"{\"temperature\":-1e999}", "temperature"},
      {"{\"x\":[{},{\"y\":1e999}]}", "x[1].y"},
      {"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}", ""},
      {R"({"messages":[{"role":"user","content":"\ud800"}]})", ""},
      {"{}", "messages"},
      {R"({"messages":[]})", "messages"},
      {R"({"messages":[1]})", "messages[0]"},
      {R"({"messages":[{}]})", "messages[0].role"},
      {R"({"messages":[{"role":1,"content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"function","content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":null}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":5}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":{}}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":["x"]}]})", "messages[0].content[0]"},
      {R"({"messages":[{"role":"user","content":[{"text":"x"}]}]})", "messages[0].content[0].type"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "messages[0].content[0].text"},
      {R"({"messages":[{"role":"user","content":[{"type":"text","text":[]}]}]})",
       "messages[0].content[0].text"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})",
       "messages[0].content[0].type"},
      {R"({"messages":[{"role":"user","content":"x","name":5}]})", "messages[0].name"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"id":"1"}]}]})",
       "messages[0].tool_calls[0].function"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}]})",
       "messages[0].tool_calls[0].id"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"custom","function":{"name":"f"}}]}]})",
       "messages[0].tool_calls[0].type"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":{}}}]}]})",
       "messages[0].tool_calls[0].function.arguments"},
      {R"({"messages":[{"role":"user","content":"x","tool_calls":[{"id":"1","function":{"name":"f"}}]}]})",
       "messages[0].tool_calls"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f"}}]}]})",
       "messages"},
      {R"({"messages":[{"role":"user","content":"x"}],"tools":[{}],"tool_choice":"auto"})", "tools[0]"},
      {R"({"messages":[{"role":"user","content":"x"}],"max_tokens":0})", "max_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"max_tokens":-2})", "max_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"max_tokens":99999999999})", "max_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"max_tokens":18446744073709551615})", "max_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"max_tokens":1.5})", "max_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"max_tokens":1e30})", "max_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"max_tokens":0.0})", "max_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"seed":0.5})", "seed"},
      {R"({"messages":[{"role":"user","content":"x"}],"seed":9223372036854775808.0})", "seed"},
      {R"({"messages":[{"role":"user","content":"x"}],"seed":-1e19})", "seed"},
      {R"({"messages":[{"role":"user","content":"x"}],"seed":18446744073709551615})", "seed"},
      {R"({"messages":[{"role":"user","content":"x"}],"seed":123456789012345678901234567890})", "seed"},
      {R"({"messages":[{"role":"user","content":"x"}],"temperature":-0.1})", "temperature"},
      {R"({"messages":[{"role":"user","content":"x"}],"temperature":1e300})", "temperature"},
      {R"({"messages":[{"role":"user","content":"x"}],"top_p":1.01})", "top_p"},
      {R"({"messages":[{"role":"user","content":"x"}],"n":0})", "n"},
      {R"({"messages":[{"role":"user","content":"x"}],"n":17})", "n"},
      {R"({"messages":[{"role":"user","content":"x"}],"presence_penalty":3})", "presence_penalty"},
      {R"({"messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":21})", "top_logprobs"},
      {R"({"messages":[{"role":"user","content":"x"}],"top_logprobs":2})", "top_logprobs"},
      {R"({"messages":[{"role":"user","content":"x"}],"stop":["a",1]})", "stop[1]"},
      {R"({"messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":1}})",
       "stream_options.include_usage"},
      {R"({"messages":[{"role":"user","content":"x"}],"stream_options":{"include_obfuscation":"no"}})",
       "stream_options.include_obfuscation"},
      {R"({"messages":[{"role":"assistant","refusal":5},{"role":"user","content":"x"}]})",
       "messages[0].refusal"},
      {R"({"messages":[{"role":"assistant","tool_calls":{}},{"role":"user","content":"x"}]})",
       "messages[0].tool_calls"},
      {R"({"messages":[{"role":"assistant","audio":[]},{"role":"user","content":"x"}]})",
       "messages[0].audio"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"route":"cloud"}})", "hedge.route"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"route":1}})", "hedge.route"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"private":"yes"}})", "hedge.private"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"privat":true}})", "hedge.privat"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"session":7}})", "hedge.session"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"session":"a\nb"}})", "hedge.session"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"escalate_after":-1}})",
       "hedge.escalate_after"},
      {R"({"messages":[{"role":"user","content":"x"}],"continue_final_message":true})",
       "continue_final_message"},
      {R"({"messages":[{"role":"user","content":"x"}],"add_generation_prompt":false})",
       "add_generation_prompt"},
  };
  for (const FieldCase& bad : cases) {
    const Error error = parse_error(kOpenAiChat, bad.body);
    EXPECT_EQ(error.field, bad.field) << bad.body << " -> " << error.to_text();
    EXPECT_EQ(http_status(error.code), 400) << bad.body;
    EXPECT_FALSE(error.detail.empty());
  }
}

TEST(OpenAiParse, IntegersInAnyWayOfWriting) {
  Json body = chat_body();
  body.update(
      Json::parse(R"({"max_tokens":1e3,"n":1.0,"top_k":40.0,"seed":-9223372036854775808.0,"logprobs":true,
                              "top_logprobs":2.0,"hedge":{"escalate_after":-0.0}})"));
  const Call call = parse_ok(kOpenAiChat, body);
  ASSERT_EQ(call.requests.size(), 1u);
  EXPECT_EQ(call.requests[0].max_tokens, 1000);
  EXPECT_EQ(call.requests[0].sampling.top_k, 40);
  EXPECT_EQ(call.requests[0].sampling.seed, uint64_t{1} << 63);
  EXPECT_EQ(call.requests[0].top_logprobs, 2);
  EXPECT_EQ(call.requests[0].routing.escalate_after, 0);
  EXPECT_EQ(parse_ok(kOpenAiText, Json::parse(R"({"prompt":[1.0,2]})")).requests[0].prompt_tokens,
            (std::vector<int32_t>{1, 2}));
}

TEST(OpenAiParse, NumbersThatDoNotFitAreCalledWhatTheyAre) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("max_tokens":123456789012345678901234567890)",
       "max_tokens: expected an integer from -1 to 16777216, got 1.2345678901234568e+29"},
      {R"("seed":18446744073709551616)", "seed: expected an integer of 64 bits, got 1.8446744073709552e+19"},
      {R"("seed":2.5)", "seed: expected an integer, got a number with a fraction"},
      {R"("model":18446744073709551616)", "model: expected a string, got a number"},
      {R"("temperature":1e999)", "temperature: expected a number, got one that is out of range"},
      {R"("temperature":NaN)", "temperature: expected a value, got NaN, which JSON does not have"},
      {R"("top_p":-Infinity)", "top_p: expected a value, got Infinity, which JSON does not have"},
      {R"("max_tokens":0)", "max_tokens: expected at least 1 (or -1 for no limit), got 0"},
  };
  for (const auto& [field, text] : cases) {
    const std::string body = R"({"messages":[{"role":"user","content":"x"}],)" + std::string(field) + "}";
    EXPECT_EQ(parse_error(kOpenAiChat, body).detail, text);
  }
}

TEST(OpenAiParse, AnEmptyBodyIsCalledEmpty) {
  EXPECT_EQ(parse_error(kOpenAiChat, "").detail, "request body: expected a JSON object, got nothing");
}

TEST(OpenAiParse, BrokenJsonSaysWhere) {
  EXPECT_EQ(parse_error(kOpenAiChat, "{").detail,
            "request body is not valid JSON: it ends too early, after 1 bytes");
  EXPECT_EQ(parse_error(kOpenAiChat, R"({"a":1)").detail,
            "request body is not valid JSON: it ends too early, after 6 bytes");
  EXPECT_EQ(parse_error(kOpenAiChat, R"({"a":})").detail, "request body is not valid JSON: at byte 6 of 6");
  EXPECT_EQ(parse_error(kOpenAiChat, "{}x").detail, "request body is not valid JSON: at byte 3 of 3");
}

// What llama-server makes of them.
TEST(OpenAiParse, TextPartsAreLines) {
  const std::pair<const char*, const char*> cases[] = {
      {R"(["a","b"])", "a\nb"}, {R"(["a","","c"])", "a\n\nc"}, {R"(["","b"])", "b"}, {R"([])", ""}};
  for (const auto& [texts, joined] : cases) {
    Json parts = Json::array();
    for (const Json& text : Json::parse(texts)) parts.push_back({{"type", "text"}, {"text", text}});
    Json body = chat_body();
    body["messages"][0]["content"] = parts;
    EXPECT_EQ(parse_ok(kOpenAiChat, body).requests[0].messages[0].content, joined) << texts;
  }
}

TEST(OpenAiParse, HostileShapes) {
  const std::string deep = R"({"messages":)" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_NE(parse_error(kOpenAiChat, deep).detail.find("deeper than 64"), std::string::npos);
  std::string wide = R"({"x":[0)";
  for (size_t i = 0; i < kJsonValuesMax; ++i) wide += ",0";
  wide += "]}";
  EXPECT_NE(parse_error(kOpenAiChat, wide).detail.find("values, at most"), std::string::npos);
  // Brackets in strings count for nothing.
  Json body = chat_body();
  body["messages"][0]["content"] = std::string(200, '[') + "\\\"" + std::string(200, '{');
  parse_ok(kOpenAiChat, body);
  std::string stops = R"({"messages":[{"role":"user","content":"x"}],"stop":["0")";
  for (size_t i = 0; i < kStopsMax; ++i) stops += ",\"a\"";
  EXPECT_EQ(parse_error(kOpenAiChat, stops + "]}").field, "stop");
}

TEST(OpenAiParse, EqualKeysAreRefused) {
  const FieldCase cases[] = {
      {R"({"n":99,"messages":[{"role":"user","content":"x"}],"n":1})", "n"},
      {R"({"n":1,"messages":[{"role":"user","content":"x"}],"n":1})", "n"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"private":true,"private":false}})",
       "hedge.private"},
      {R"({"messages":[{"role":"user","content":"x"}],"hedge":{"private":true,"priv\u0061te":false}})",
       "hedge.private"},
      {R"({"hedge":{"private":true},"messages":[{"role":"user","content":"x"}],"hedge":{}})", "hedge"},
      {R"({"messages":[{"role":"user","content":"x"},{"role":"user","content":"x","role":"system"}]})",
       "messages[1].role"},
      {R"({"messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]})",
       "messages[0].content[0].text"},
      {R"({"messages":[{"role":"user","content":"x"}],"future":[[],{"":null,"":null}]})", "future[1]."},
  };
  for (const FieldCase& bad : cases) {
    const Error error = parse_error(kOpenAiChat, bad.body);
    EXPECT_EQ(error.field, bad.field) << bad.body << " -> " << error.to_text();
    EXPECT_EQ(error.detail, std::string(bad.field) + ": the field is given more than once");
    EXPECT_EQ(http_status(error.code), 400) << bad.body;
  }
  // Equal keys of different objects are no matter.
  parse_ok(kOpenAiChat, Json::parse(R"({"x":{"x":{"x":1}},"y":{"x":2},
                                        "messages":[{"role":"user","content":"x"},{"role":"user","content":"x"}]})"));
  const std::string key(100000, 'k');
  const Error longest = parse_error(kOpenAiChat, "{\"" + key + "\":1,\"" + key + "\":2}");
  EXPECT_EQ(longest.field, std::string(64, 'k') + "...");
}

TEST(OpenAiParse, ErrorsRepeatNoContent) {
  const Error error =
      parse_error(kOpenAiChat, R"({"messages":[{"role":"sesame","content":"x"}],"stop":[1]})");
  EXPECT_EQ(error.detail.find("sesame"), std::string::npos);
}

TEST(OpenAiParse, TrailingAssistantIsContinued) {
  Json body = chat_body();
  body["messages"].push_back({{"role", "assistant"}, {"content", "The capital of "}});
  for (const Json& flags : {Json::object(), Json{{"continue_final_message", true}},
                            Json{{"continue_final_message", true}, {"add_generation_prompt", false}},
                            Json{{"add_generation_prompt", false}}}) {
    Json flagged = body;
    flagged.update(flags);
    const Call call = parse_ok(kOpenAiChat, flagged);
    EXPECT_EQ(call.requests[0].assistant_prefix, "The capital of ") << flags.dump();
    EXPECT_EQ(call.requests[0].messages.size(), 1u);
  }
  Json fresh = body;
  fresh["continue_final_message"] = false;
  const Call call = parse_ok(kOpenAiChat, fresh);
  EXPECT_EQ(call.requests[0].assistant_prefix, "");
  EXPECT_EQ(call.requests[0].messages.size(), 2u);
  Json both = body;
  both["continue_final_message"] = true;
  both["add_generation_prompt"] = true;
  EXPECT_EQ(parse_error(kOpenAiChat, both.dump()).field, "continue_final_message");
  Json alone = body;
  alone["messages"].erase(0);
  const Call lonely = parse_ok(kOpenAiChat, alone);
  EXPECT_EQ(lonely.requests[0].assistant_prefix, "The capital of ");
  EXPECT_TRUE(lonely.requests[0].messages.empty());
}

TEST(OpenAiParse, PromptForms) {
  EXPECT_EQ(parse_ok(kOpenAiText, text_body()).requests[0].prompt, "Hi");
  EXPECT_TRUE(parse_ok(kOpenAiText, text_body()).requests[0].raw);
  const Call ids = parse_ok(kOpenAiText, Json{{"prompt", {5, 6, 7}}});
  ASSERT_EQ(ids.requests.size(), 1u);
  EXPECT_EQ(ids.requests[0].prompt_tokens, (std::vector<int32_t>{5, 6, 7}));
  const Call many = parse_ok(kOpenAiText, Json{{"prompt", {"a", "b"}}, {"n", 2}, {"echo", true}});
  ASSERT_EQ(many.requests.size(), 4u);
  EXPECT_EQ(many.requests[1].prompt, "a");
  EXPECT_EQ(many.requests[2].prompt, "b");
  EXPECT_EQ(many.echo_texts, (std::vector<std::string>{"a", "a", "b", "b"}));
  const Call lists = parse_ok(kOpenAiText, Json::parse(R"({"prompt":[[1],[2,3]]})"));
  EXPECT_EQ(lists.requests[1].prompt_tokens, (std::vector<int32_t>{2, 3}));
}

TEST(OpenAiParse, BadTextBodies) {
  const FieldCase cases[] = {
      {"{}", "prompt"},
      {R"({"prompt":null})", "prompt"},
      {R"({"prompt":[]})", "prompt"},
      {R"({"prompt":[1,"a"]})", "prompt[1]"},
      {R"({"prompt":["a",1]})", "prompt[1]"},
      {R"({"prompt":[1.5]})", "prompt[0]"},
      {R"({"prompt":[-1]})", "prompt[0]"},
      {R"({"prompt":[4294967296]})", "prompt[0]"},
      {R"({"prompt":[[1],[true]]})", "prompt[1][0]"},
      {R"({"prompt":[{}]})", "prompt[0]"},
      {R"({"prompt":["","","","","","","","","","","","","","","","",""]})", "prompt"},
      {R"({"prompt":["a","b","c"],"n":16})", "n"},
      {R"({"prompt":"x","suffix":"tail"})", "suffix"},
      {R"({"prompt":"x","best_of":2})", "best_of"},
      {R"({"prompt":"x","logprobs":21})", "logprobs"},
      {R"({"prompt":"x","logprobs":1,"echo":true})", "echo"},
  };
  for (const FieldCase& bad : cases) {
    const Error error = parse_error(kOpenAiText, bad.body);
    EXPECT_EQ(error.field, bad.field) << bad.body << " -> " << error.to_text();
    EXPECT_EQ(http_status(error.code), 400) << bad.body;
  }
}

TEST(SessionHeader, NamesTheSessionWhereTheBodyDoesNot) {
  Call call = parse_ok(kOpenAiChat, chat_body());
  ASSERT_TRUE(apply_session_header(call, "from-header").ok());
  EXPECT_EQ(call.requests[0].routing.session, "from-header");
  ASSERT_TRUE(apply_session_header(call, "").ok());
  ASSERT_TRUE(apply_session_header(call, "from-header").ok());
  EXPECT_EQ(call.requests[0].routing.session, "from-header");
  EXPECT_EQ(apply_session_header(call, "other").error().field, "x-hedge-session");
  EXPECT_EQ(apply_session_header(call, std::string(129, 'x')).error().field, "x-hedge-session");
  for (const char* bad : {"\xff", "a b", "a/b", "a\n"})
    EXPECT_FALSE(apply_session_header(call, bad).ok()) << bad;
}

}  // namespace
}  // namespace hedge::api
