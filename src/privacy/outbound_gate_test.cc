#include "privacy/outbound_gate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/rng.h"
#include "privacy/unmask_stream.h"

namespace hedge::privacy {
namespace {

chat::Request user_says(std::string text) {
  chat::Request request;
  request.messages = {{chat::Role::kUser, std::move(text), ""}};
  return request;
}

Finding judge(const chat::Request& request) { return OutboundGate().judge(request); }
Finding judge(std::string text) { return judge(user_says(std::move(text))); }

TEST(OutboundGate, LooksAtEveryTextThatCouldLeave) {
  EXPECT_EQ(judge(user_says("What is the capital of France?")).outcome, Outcome::kClean);
  const std::string secret = "jane@example.com";
  chat::Request request = user_says("hello");
  request.messages.insert(request.messages.begin(), {chat::Role::kSystem, "You help " + secret, ""});
  EXPECT_EQ(judge(request).outcome, Outcome::kFound);
  EXPECT_EQ(judge(request).detail, "EMAIL_ADDRESS");
  request = user_says("hello");
  request.messages[0].name = secret;
  EXPECT_EQ(judge(request).outcome, Outcome::kFound);
  request = user_says("hello");
  request.messages.push_back({chat::Role::kTool, "call 415-555-2671", ""});
  EXPECT_EQ(judge(request).detail, "PHONE_NUMBER");
  request = user_says("hello");
  request.assistant_prefix = "Write to " + secret;
  EXPECT_EQ(judge(request).outcome, Outcome::kFound);
  request = user_says("hello");
  request.stop = {"\n", secret};
  EXPECT_EQ(judge(request).outcome, Outcome::kFound);
  for (const char* json : {R"({"to":"jane\u0040example.com"})", R"({"card":4111111111111111})"}) {
    request = user_says("hello");
    request.messages.push_back({chat::Role::kAssistant, "", ""});
    request.messages.back().tool_calls = {{"call_1", "f", json}};
    EXPECT_EQ(judge(request).outcome, Outcome::kFound) << json;
    request.messages.back().tool_calls = {{"call_1", "f", "{}", json}};
    EXPECT_EQ(judge(request).outcome, Outcome::kFound) << json;
    request = user_says("hello");
    request.tools = json;
    EXPECT_EQ(judge(request).outcome, Outcome::kFound) << json;
  }
  request = user_says("hello");
  request.messages[0].tool_call_id = secret;
  EXPECT_EQ(judge(request).outcome, Outcome::kFound);
  request = {};
  request.raw = true;
  request.prompt = "From: " + secret;
  EXPECT_EQ(judge(request).outcome, Outcome::kFound);
}

TEST(OutboundGate, SeesANumberThatComesInPieces) {
  const auto detail = [](std::string first, std::string second, std::string third) {
    chat::Request request = user_says(std::move(first));
    request.messages.push_back({chat::Role::kAssistant, std::move(second), ""});
    request.messages.push_back({chat::Role::kUser, std::move(third), ""});
    return judge(request).detail;
  };
  EXPECT_EQ(detail("My card is 4111 1111", "Go on.", "1111 1111, valid to May"), "CREDIT_CARD");
  EXPECT_EQ(detail("My card is 4111 1111 11", "Go on.", "11 1111"), "CREDIT_CARD") << "within a group";
  EXPECT_EQ(detail("é IBAN DE89 3704 0044", "Ja?", "0532 0130 00 é"), "PHONE_NUMBER, IBAN_CODE");
  EXPECT_EQ(detail("My card is 4111 1111", "1111 1111", "yes"), "") << "two speakers";
  EXPECT_EQ(detail("I have 4 apples, then 12", "Go on.", "13 of them rot"), "");
  EXPECT_EQ(detail("A first question?", "", "A second one."), "");
}

TEST(OutboundGate, SeesAnAddressThatComesInPieces) {
  // Over two messages of one speaker.
  for (const auto& [first, second] : {std::pair("write to john@exa", "mple.com please"),
                                      std::pair("write to john.doe", "@example.com please"),
                                      std::pair("write to john@exa\n", " mple.com")}) {
    chat::Request request = user_says(first);
    request.messages.push_back({chat::Role::kUser, second, ""});
    EXPECT_EQ(judge(request).detail, "EMAIL_ADDRESS") << first;
  }
  // Over the parts of one message, as they are joined.
  EXPECT_EQ(judge("write to john@exa\n\nmple.com please").detail, "EMAIL_ADDRESS");
  EXPECT_EQ(judge("write to john.doe\n\n@example.com please").detail, "EMAIL_ADDRESS");
  EXPECT_EQ(judge("write to john@exa\nmple.com please").detail, "EMAIL_ADDRESS");
  EXPECT_EQ(judge("my card: 4111 1111 11\n\n11 1111").detail, "CREDIT_CARD");
  EXPECT_EQ(judge("4111\n\n1111\n\n1111\n\n1111").detail, "CREDIT_CARD");
  // Paragraphs that make up nothing.
  EXPECT_EQ(judge("return x\n\n@app.route('/')\n\n@pytest.fixture\ndef f(): pass").detail, "");
  EXPECT_EQ(judge("In 2019\n\n1. First 4111\n\n2. Second 555-2671").detail, "");
  EXPECT_EQ(judge("a@b\n\nThe end. Or not.").detail, "");
}

// What the joined lines cost: texts of many lines in which nothing is to be found.
TEST(OutboundGate, CleanPromptsAreLeftAlone) {
  const char* shared = std::getenv("HEDGE_SHARED_DATA");
  std::ifstream file(std::string(shared ? shared : "") + "/tasks/humaneval.jsonl");
  if (shared == nullptr || !file) GTEST_SKIP() << "tasks/humaneval.jsonl of the shared data is absent";
  int prompts = 0;
  for (std::string line; std::getline(file, line); ++prompts) {
    const nlohmann::json item = nlohmann::json::parse(line);
    for (const char* field : {"prompt", "canonical_solution", "test"}) {
      EXPECT_EQ(judge(item[field].get<std::string>()).detail, "") << item[field];
    }
  }
  EXPECT_EQ(prompts, 164);
}

TEST(OutboundGate, WhatItCannotJudgeCountsAsFound) {
  const auto kBytesMax = static_cast<size_t>(Policy().scan_bytes_max);
  Policy patient;  // a sanitizer takes its time over a MiB
  patient.scan_ms_max = 600000;
  EXPECT_EQ(OutboundGate(patient).judge(user_says(std::string(kBytesMax, 'a'))).outcome, Outcome::kClean);
  EXPECT_EQ(judge(user_says(std::string(kBytesMax + 1, 'a'))).outcome, Outcome::kUnjudged);
  EXPECT_EQ(judge(user_says("caf\xe9")).outcome, Outcome::kUnjudged);
  chat::Request tokens;
  tokens.raw = true;
  tokens.prompt_tokens = {1, 2, 3};
  EXPECT_EQ(judge(tokens).outcome, Outcome::kUnjudged);
}

// ---- Policy

Policy with(std::initializer_list<std::pair<const char*, const char*>> classes) {
  Policy policy;
  for (const auto& [type, word] : classes) policy.classes.types[type_index(type)] = word;
  return policy;
}
void set_field(Classes& classes, Field field, const char* word) {
  classes.fields[static_cast<size_t>(field)] = word;
}

constexpr const char* kLetter = "My name is Jane Roe, write to jane@example.com.";

TEST(Policy, ClassesOfTypesDecide) {
  EXPECT_EQ(OutboundGate().judge(user_says(kLetter)).detail, "EMAIL_ADDRESS");
  EXPECT_EQ(OutboundGate(with({{"EMAIL_ADDRESS", "allow"}})).judge(user_says(kLetter)).outcome,
            Outcome::kClean);
  const Finding masked = OutboundGate(with({{"EMAIL_ADDRESS", "mask"}})).judge(user_says(kLetter));
  EXPECT_EQ(masked.outcome, Outcome::kMasked);
  EXPECT_EQ(masked.detail, "EMAIL_ADDRESS");
  const Finding both =
      OutboundGate(with({{"EMAIL_ADDRESS", "mask"}, {"PERSON", "local"}})).judge(user_says(kLetter));
  EXPECT_EQ(both.outcome, Outcome::kFound);
  EXPECT_EQ(both.detail, "PERSON") << "what may leave masked is not why it stays";
  EXPECT_EQ(OutboundGate(with({{"EMAIL_ADDRESS", "loca"}})).judge(user_says(kLetter)).outcome,
            Outcome::kFound)
      << "an unknown word counts as local";
}

TEST(Policy, FieldsDecide) {
  chat::Request request = user_says("Hello there");
  request.messages.insert(request.messages.begin(), {chat::Role::kSystem, "The secret plan.", ""});
  Policy policy;
  EXPECT_EQ(OutboundGate(policy).judge(request).outcome, Outcome::kClean);
  set_field(policy.classes, Field::kSystem, "local");
  EXPECT_EQ(OutboundGate(policy).judge(request).detail, "text in system");
  request.messages[0].content.clear();
  EXPECT_EQ(OutboundGate(policy).judge(request).outcome, Outcome::kClean) << "no text";
  // Every type, where the field says so, and only there.
  policy = with({{"EMAIL_ADDRESS", "allow"}});
  set_field(policy.classes, Field::kTool, "mask");
  EXPECT_EQ(OutboundGate(policy).judge(user_says(kLetter)).outcome, Outcome::kClean);
  request = user_says("Hello there");
  request.messages.push_back({chat::Role::kTool, kLetter, ""});
  EXPECT_EQ(OutboundGate(policy).judge(request).outcome, Outcome::kMasked);
}

TEST(Policy, TenantsTightenAndLoosenOnlyWhereTheyMay) {
  OutboundGate::Tenants tenants;
  tenants["strict"].types[type_index("DOMAIN_NAME")] = "local";
  tenants["loose"].types[type_index("EMAIL_ADDRESS")] = "allow";
  set_field(tenants["loose"], Field::kUser, "types");
  const auto judged = [&](const Policy& policy, const char* tenant, const char* text) {
    chat::Request request = user_says(text);
    request.routing.tenant = tenant;
    return OutboundGate(policy, tenants).judge(request).outcome;
  };
  Policy policy;
  constexpr const char* kUrl = "Look at https://www.example.se/ now";
  EXPECT_EQ(judged(policy, "", kUrl), Outcome::kClean);
  EXPECT_EQ(judged(policy, "strict", kUrl), Outcome::kFound);
  EXPECT_EQ(judged(policy, "strict", kLetter), Outcome::kFound);
  EXPECT_EQ(judged(policy, "loose", kLetter), Outcome::kFound);
  policy.tenants_may_loosen = true;
  EXPECT_EQ(judged(policy, "loose", kLetter), Outcome::kClean);
  EXPECT_EQ(judged(policy, "", kLetter), Outcome::kFound) << "the device's own";
  EXPECT_EQ(judged(policy, "nobody", kLetter), Outcome::kFound);
}

// ---- Fails closed

Status broken_scan() { return make_error(ErrorCode::kInternal, "broken"); }
Status out_of_memory() { throw std::bad_alloc(); }
SteadyClock::time_point jumping_clock() {
  thread_local SteadyClock::time_point now;
  return now += Milliseconds(600);
}

TEST(OutboundGate, FailsClosed) {
  const chat::Request request = user_says("What is the capital of France?");
  ScanHooks broken, throwing, slow;
  broken.before_scan = broken_scan;
  throwing.before_scan = out_of_memory;
  slow.now = jumping_clock;
  for (const ScanHooks& hooks : {broken, throwing, slow}) {
    const OutboundGate gate({}, {}, hooks);
    EXPECT_EQ(gate.judge(request).outcome, Outcome::kUnjudged);
    const Passage passage = gate.pass(request);
    EXPECT_EQ(passage.outbound, nullptr);
    EXPECT_EQ(passage.finding.outcome, Outcome::kUnjudged);
  }
  EXPECT_EQ(OutboundGate({}, {}, slow).judge(request).detail,
            "expected a scan within 1000 ms, it took longer");
  Policy patient;
  patient.scan_ms_max = 600000;
  EXPECT_EQ(OutboundGate(patient, {}, slow).judge(request).outcome, Outcome::kClean);
  Policy small;
  small.scan_bytes_max = 20;
  EXPECT_EQ(OutboundGate(small).judge(request).outcome, Outcome::kUnjudged);
}

// What fails only while it is masked: the second scan of all texts.
TEST(OutboundGate, FailsClosedWhileMasking) {
  static int left = 0;
  ScanHooks hooks;
  hooks.before_scan = [] { return --left < 0 ? broken_scan() : Status(); };
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}}), {}, hooks);
  bool passed = false;
  for (int scans = 0; scans < 10 && !passed; ++scans) {
    left = scans;
    passed = gate.pass(user_says(kLetter)).outbound != nullptr;
    EXPECT_EQ(passed, left >= 0) << scans;
  }
  EXPECT_TRUE(passed);
}

TEST(OutboundGate, PrivateSessionsStay) {
  chat::Request request = user_says("Hello");
  request.routing.private_session = true;
  EXPECT_EQ(OutboundGate().pass(request).outbound, nullptr);
  Policy open;
  open.private_sessions_stay_local = false;
  EXPECT_NE(OutboundGate(open).pass(request).outbound, nullptr);
}

TEST(OutboundGate, WhatIsNoTextIsJudgedToo) {
  chat::Request request = user_says("Hello");
  request.sampling.seed = 4111111111111111;
  EXPECT_EQ(judge(request).detail, "CREDIT_CARD") << "a seed";
  request = user_says("Hello");
  request.way.path = "fog,4111111111111111";
  EXPECT_EQ(judge(request).detail, "CREDIT_CARD") << "a header";
  EXPECT_EQ(OutboundGate(with({{"CREDIT_CARD", "mask"}})).judge(request).outcome, Outcome::kFound)
      << "cannot be masked";
}

TEST(OutboundGate, TheLocalModelsTextIsJudgedBeforeItGoesAlong) {
  const OutboundGate gate;
  const auto request = std::make_shared<const chat::Request>(user_says("Whom do I ask?"));
  const Judged judged = gate.judge(request);
  EXPECT_NE(gate.pass(judged, {"Ask the", {}, -1}).outbound, nullptr);
  EXPECT_EQ(gate.pass(judged, {"Ask jane@example.com,", {}, -1}).outbound, nullptr);
  const std::vector<int32_t> tokens = {1, 2};
  const Passage passage = gate.pass(judged, {"Ask the", tokens, 7});
  EXPECT_EQ(passage.outbound->request().assistant_prefix, "Ask the");
  EXPECT_EQ(passage.outbound->request().assistant_prefix_tokens, tokens);
  EXPECT_EQ(passage.outbound->request().max_tokens, 7);
}

// ---- Masking

chat::Request conversation() {
  chat::Request request;
  using chat::Role;
  request.messages = {{Role::kSystem, "You help Jane Roe (jane@example.com).", ""},
                      {Role::kUser, "Write to bob@example.org that I am away.", "jane@example.com"},
                      {Role::kAssistant, "To bob@example.org: Jane is away.", ""},
                      {Role::kTool, R"({"mail": "jane@example.com", "card": "4111 1111 1111 1111"})", ""},
                      {Role::kUser, "Thanks. Now to jane@example.com", ""}};
  request.stop = {"END", "bob@example.org"};
  return request;
}

bool holds_any(const chat::Request& request, std::initializer_list<std::string_view> values) {
  std::string all = request.prompt + request.assistant_prefix;
  for (const chat::Message& message : request.messages) all += message.content + "\n" + message.name + "\n";
  for (const std::string& stop : request.stop) all += stop + "\n";
  return std::any_of(values.begin(), values.end(),
                     [&](std::string_view value) { return all.find(value) != std::string::npos; });
}

TEST(Mask, AllTextsAreMaskedWithTheSamePlaceholders) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}, {"CREDIT_CARD", "mask"}}));
  const chat::Request request = conversation();
  const Passage passage = gate.pass(request);
  ASSERT_NE(passage.outbound, nullptr) << passage.finding.detail;
  EXPECT_EQ(passage.finding.outcome, Outcome::kMasked);
  EXPECT_EQ(passage.finding.detail, "CREDIT_CARD 1, EMAIL_ADDRESS 2");
  EXPECT_EQ(passage.values, 3);
  const chat::Request& sent = passage.outbound->request();
  EXPECT_FALSE(holds_any(sent, {"example.com", "example.org", "4111"}));
  EXPECT_EQ(sent.messages[1].name, "<EMAIL_ADDRESS_1>");
  EXPECT_EQ(sent.messages[1].content, "Write to <EMAIL_ADDRESS_2> that I am away.");
  EXPECT_EQ(sent.messages[2].content, "To <EMAIL_ADDRESS_2>: Jane is away.");
  EXPECT_EQ(sent.messages[3].content, R"({"mail": "<EMAIL_ADDRESS_1>", "card": "<CREDIT_CARD_1>"})");
  EXPECT_EQ(sent.stop[1], "<EMAIL_ADDRESS_2>");
  for (size_t i = 0; i < request.messages.size(); ++i)
    EXPECT_EQ(unmask(sent.messages[i].content, *passage.table), request.messages[i].content);
}

TEST(Mask, WhatToolsAreCalledWithIsMaskedAndPutBack) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}}));
  chat::Request request = user_says("Mail jane@example.com");
  request.messages.push_back({chat::Role::kAssistant, "", ""});
  request.messages[1].tool_calls = {{"call_1", "mail", R"({"to":"jane@example.com"})"}};
  const Passage passage = gate.pass(request);
  ASSERT_NE(passage.outbound, nullptr) << passage.finding.detail;
  const chat::ToolCall& sent = passage.outbound->request().messages[1].tool_calls[0];
  EXPECT_EQ(sent.arguments, R"({"to":"<EMAIL_ADDRESS_1>"})");
  EXPECT_EQ(sent.id, "call_1");

  class Answer final : public chat::Stream {
   public:
    Result<chat::Event> next(Deadline) override {
      chat::Done done;
      done.reason = chat::FinishReason::kToolCalls;
      done.tool_calls = {{"call_2", "mail", R"({"to":"<EMAIL_ADDRESS_1>"})"}};
      return chat::Event(std::move(done));
    }
    void cancel() override {}
  };
  const auto stream = unmasked(std::make_unique<Answer>(), passage.table);
  const auto event = stream->next(kNoDeadline);
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(std::get<chat::Done>(*event).tool_calls[0].arguments, R"({"to":"jane@example.com"})");

  // What hides behind escapes and is no JSON has no place for a placeholder.
  request.messages[1].tool_calls[0].arguments = R"({"to":"jane\u0040example.com")";
  EXPECT_EQ(gate.pass(request).outbound, nullptr);
  request.messages[1].tool_calls.clear();
  request.tools = R"([{"type":"function","function":{"name":"mail","description":"for jane@example.com"}}])";
  EXPECT_EQ(gate.pass(request).outbound, nullptr) << "definitions leave as they are or not at all";
}

TEST(Mask, NamesBehindEscapesOrInDefinitionsStay) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}, {"PERSON", "mask"}}));
  chat::Request request = user_says("Mail jane@example.com");
  request.messages.push_back({chat::Role::kAssistant, "", ""});
  request.messages[1].tool_calls = {{"call_1", "mail", R"({"text":"My name is Jane Roe.\nBye."})"}};
  const Passage plain = gate.pass(request);
  ASSERT_NE(plain.outbound, nullptr) << plain.finding.detail;
  EXPECT_EQ(plain.outbound->request().messages[1].tool_calls[0].arguments.find("Roe"), std::string::npos);
  // A value that is spelled in escapes is known, and in what is no JSON has no place for a placeholder.
  request.messages[1].tool_calls[0].arguments = R"(f({"text":"My name is J\u0061ne R\u006fe."}))";
  EXPECT_EQ(gate.pass(request).outbound, nullptr);
  // In definitions the tagger is not asked, but what is masked elsewhere may not stand there.
  request = user_says("My name is Jane Roe, jane@example.com.");
  request.tools = R"([{"type":"function","function":{"name":"f","description":"Calendar of Jane Roe"}}])";
  EXPECT_EQ(gate.pass(request).outbound, nullptr);
  request.tools = R"([{"type":"function","function":{"name":"f","description":"Calendar"}}])";
  EXPECT_NE(gate.pass(request).outbound, nullptr);
}

TEST(Mask, StopStringsThatMeetPlaceholdersAreLeftToTheRouter) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}}));
  chat::Request request = user_says("Mail jane@example.com");
  request.stop = {"1", ">", "ADDRESS", ": <", "> and", "END", "jane@example.com", "<b>"};
  const Passage passage = gate.pass(request);
  ASSERT_NE(passage.outbound, nullptr) << passage.finding.detail;
  EXPECT_EQ(passage.outbound->request().stop, (std::vector<std::string>{"END", "<EMAIL_ADDRESS_1>", "<b>"}));
}

TEST(Mask, ArgumentsOfToolsStayJson) {
  const OutboundGate gate(with({{"PERSON", "mask"}, {"PHONE_NUMBER", "mask"}, {"EMAIL_ADDRESS", "mask"}}));
  chat::Request request = user_says("Mail jane@example.com");
  request.messages.push_back({chat::Role::kAssistant, "", ""});
  for (const char* json : {"{}", "[]", R"({"ok":true})"}) {
    request.messages[1].tool_calls = {{"call_1", "f", json}};
    const Passage passage = gate.pass(request);
    ASSERT_NE(passage.outbound, nullptr) << json << ": " << passage.finding.detail;
    EXPECT_EQ(passage.outbound->request().messages[1].tool_calls[0].arguments, json);
  }
  request.messages[1].tool_calls = {{"call_1", "f", R"({"phone":12125550147})"}};
  EXPECT_EQ(gate.pass(request).outbound, nullptr);
  request.messages[1].tool_calls = {{"call_1", "f", R"({"phone":"212-555-0147"})"}};
  EXPECT_NE(gate.pass(request).outbound, nullptr);
}

TEST(Mask, AConversationThatGoesOnIsMaskedAsBefore) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}, {"CREDIT_CARD", "mask"}}));
  chat::Request request = conversation();
  const chat::Request before = gate.pass(request).outbound->request();
  request.messages.push_back({chat::Role::kAssistant, "Done, jane@example.com.", ""});
  request.messages.push_back({chat::Role::kUser, "And to new@example.net", ""});
  const OutboundGate restarted(with({{"EMAIL_ADDRESS", "mask"}, {"CREDIT_CARD", "mask"}}));
  const chat::Request after = restarted.pass(request).outbound->request();
  for (size_t i = 0; i < before.messages.size(); ++i) EXPECT_EQ(after.messages[i], before.messages[i]);
  EXPECT_EQ(after.messages.back().content, "And to <EMAIL_ADDRESS_3>");
}

TEST(Mask, AClientThatDropsTheBeginningKeepsItsNumbers) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}, {"CREDIT_CARD", "mask"}}));
  chat::Request request = conversation();
  const chat::Request before = gate.pass(request).outbound->request();
  const std::vector<chat::Message> said = request.messages;
  request.messages.erase(request.messages.begin());
  request.messages.push_back({chat::Role::kUser, "And to new@example.net", ""});
  EXPECT_NE(gate.pass(request).outbound->request().messages[1], before.messages[2]) << "of no session";
  request.routing.history = [&said]() -> Result<std::vector<chat::Message>> { return said; };
  const Passage passage = gate.pass(request);
  const chat::Request& sent = passage.outbound->request();
  for (size_t i = 1; i < before.messages.size(); ++i) EXPECT_EQ(sent.messages[i - 1], before.messages[i]);
  EXPECT_EQ(sent.messages.back().content, "And to <EMAIL_ADDRESS_3>");
  EXPECT_EQ(sent.routing.history, nullptr);
  // What was said earlier and is not sent is not counted.
  request.messages = {{chat::Role::kUser, "And to new@example.net", ""}};
  request.stop.clear();
  const Passage last = gate.pass(request);
  EXPECT_EQ(last.outbound->request().messages[0].content, "And to <EMAIL_ADDRESS_3>");
  EXPECT_EQ(last.finding.detail, "EMAIL_ADDRESS 1");
  EXPECT_EQ(last.values, 1);
  request.routing.history = []() -> Result<std::vector<chat::Message>> {
    return make_error(ErrorCode::kIo, "broken");
  };
  EXPECT_EQ(gate.pass(request).finding.outcome, Outcome::kUnjudged);
}

TEST(Mask, PartsOfANameAreMaskedWhereTheyStandAlone) {
  const OutboundGate gate(with({{"PERSON", "mask"}}));
  chat::Request request = user_says("My name is Jennifer Goodwin, please write to me.");
  using chat::Role;
  request.messages.push_back({Role::kAssistant, "Certainly, Jennifer.", ""});
  request.messages.push_back({Role::kTool, "the goodwins of GOODWIN\u2019s mill: \u201cGoodwin\u201d", ""});
  request.messages.push_back({Role::kUser, "What is Goodwin's first name? And Goodwinson's?", "Goodwin"});
  const Passage passage = gate.pass(request);
  ASSERT_NE(passage.outbound, nullptr) << passage.finding.detail;
  const std::vector<chat::Message>& sent = passage.outbound->request().messages;
  EXPECT_NE(sent[0].content.find("<PERSON_1>"), std::string::npos);
  EXPECT_FALSE(holds_any(passage.outbound->request(), {"Jennifer", "Goodwin'", "GOODWIN", "\x9cGoodwin"}));
  EXPECT_NE(sent[2].content.find("the goodwins of <PERSON_1_"), std::string::npos) << sent[2].content;
  EXPECT_EQ(sent[3].name.substr(0, 10), "<PERSON_1_");
  for (size_t i = 0; i < sent.size(); ++i)
    EXPECT_EQ(unmask(sent[i].content, *passage.table), request.messages[i].content);
  // The numbers stay when the conversation goes on.
  request.messages.push_back({Role::kUser, "And Jennifer? And JENNIFER GOODWIN?", ""});
  const Passage next = gate.pass(request);
  for (size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(next.outbound->request().messages[i], sent[i]) << i;
  EXPECT_FALSE(holds_any(next.outbound->request(), {"JENNIFER", "Jennifer"}));
  // Half of a part is no text to go on from.
  const Judged judged =
      gate.judge(std::make_shared<const chat::Request>(user_says(request.messages[0].content)));
  EXPECT_EQ(gate.pass(judged, {"Dear Mrs. Goodw", {}, -1}).outbound, nullptr);
  // Definitions of tools leave as they are or not at all; an English word in them is no name.
  request.tools = R"([{"type":"function","function":{"name":"f","description":"The Goodwin archive"}}])";
  EXPECT_EQ(gate.pass(request).outbound, nullptr);
  request = user_says("My name is Mark Goodwin, please write to me.");
  request.tools = R"([{"type":"function","function":{"name":"f","description":"Mark it as done"}}])";
  EXPECT_NE(gate.pass(request).outbound, nullptr);
}

chat::Request calls_with(std::string arguments, std::string said = "Please look it up.") {
  chat::Request request = user_says(std::move(said));
  request.messages.push_back({chat::Role::kAssistant, "", ""});
  request.messages[1].tool_calls = {{"call_1", "look_up", std::move(arguments)}};
  return request;
}

TEST(Mask, WhatStandsAloneInArgumentsIsMasked) {
  Policy policy = with({{"PERSON", "mask"}, {"EMAIL_ADDRESS", "mask"}, {"US_SSN", "mask"}});
  const OutboundGate gate(policy);
  for (const char* json :
       {R"({"name":"Jennifer Goodwin"})", R"({"customer":"Goodwin"})",
        R"({"customer_name" : "Jennifer Goodwin", "n": 3, "open": null})",
        R"({"patients":["Jennifer Goodwin","Karl Meier"]})", R"({"name":"Jos\u00e9 Garc\u00eda"})",
        R"({"ssn":"123-45-6789"})", R"({"to":"jane\u0040example.com"})",
        R"({"a":{"text":"My name is Jennifer Goodwin.\nBye\t\"x\"."}})"}) {
    for (const bool result : {false, true}) {
      chat::Request request = calls_with(result ? "{}" : json);
      if (result) request.messages.push_back({chat::Role::kTool, json, ""});
      const Passage passage = gate.pass(request);
      ASSERT_NE(passage.outbound, nullptr) << json << ": " << passage.finding.detail;
      ASSERT_NE(passage.table, nullptr) << json;
      const chat::Request& sent = passage.outbound->request();
      const std::string masked = result ? sent.messages[2].content : sent.messages[1].tool_calls[0].arguments;
      const nlohmann::json read = nlohmann::json::parse(masked, nullptr, false);
      ASSERT_FALSE(read.is_discarded()) << masked;
      for (const char* value : {"Jennifer", "Goodwin", "Karl", "Jos", "Garc", "6789", "jane", "u0040"})
        EXPECT_EQ(masked.find(value), std::string::npos) << masked;
      EXPECT_EQ(nlohmann::json::parse(unmask_json(masked, *passage.table)), nlohmann::json::parse(json));
    }
  }
}

// What is all of a string has to be like a name; and what is masked, comes back.
TEST(Mask, OrdinaryArgumentsAreLeftAlone) {
  const OutboundGate gate(with({{"PERSON", "mask"}, {"ORGANIZATION", "mask"}, {"TITLE", "mask"}}));
  for (const char* json : {R"({"name":null,"ok":true})", R"({"status":"Shipped","priority":"High"})",
                           R"({"path":"/src/Main.java","title":"Meeting","tool":"Search"})",
                           R"({"query":"Best restaurants in town","limit":10})", R"({"user":"admin"})",
                           R"({"command":"ls -la","cwd":"/home"})", R"({"name":"unknown"})"}) {
    const Passage passage = gate.pass(calls_with(json));
    ASSERT_NE(passage.outbound, nullptr) << json << ": " << passage.finding.detail;
    EXPECT_EQ(passage.outbound->request().messages[1].tool_calls[0].arguments, json);
  }
}

TEST(Mask, WhatIsMaskedElsewhereIsMaskedInArguments) {
  const OutboundGate gate(with({{"PERSON", "mask"}}));
  const std::string said = "My name is Jennifer Goodwin, please write to me.";
  for (const char* json : {R"({"q":"goodwin 7 Goodwin"})", R"({"Goodwin":{"x":[1]}})", R"(["Jennifer"])"}) {
    const Passage passage = gate.pass(calls_with(json, said));
    ASSERT_NE(passage.outbound, nullptr) << json << ": " << passage.finding.detail;
    const std::string& masked = passage.outbound->request().messages[1].tool_calls[0].arguments;
    EXPECT_EQ(masked.find("Goodwin"), std::string::npos) << masked;
    EXPECT_EQ(masked.find("Jennifer"), std::string::npos) << masked;
    EXPECT_EQ(unmask_json(masked, *passage.table), json);
  }
  // However short it is, as the whole of a string.
  PlaceholderTable table;
  table.placeholder("PERSON", "Li");
  Scanner scanner;
  Masker masker(scanner, table, 0);
  EXPECT_EQ(masker.mask_json(R"({"a":"Li","b":"Li Li"})"), R"({"a":"<PERSON_1>","b":"Li Li"})");
}

TEST(Mask, ThePrefixIsMaskedAndItsTokensAreDropped) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}}));
  const Judged judged = gate.judge(std::make_shared<const chat::Request>(user_says(kLetter)));
  const std::vector<int32_t> tokens = {1, 2, 3};
  const Passage passage = gate.pass(judged, {"I write to jane@example.com that", tokens, -1});
  ASSERT_NE(passage.outbound, nullptr);
  EXPECT_EQ(passage.outbound->request().assistant_prefix, "I write to <EMAIL_ADDRESS_1> that");
  EXPECT_TRUE(passage.outbound->request().assistant_prefix_tokens.empty());
  EXPECT_EQ(gate.pass(judged, {"I write", tokens, -1}).outbound->request().assistant_prefix_tokens, tokens);
  // Half of a value would be no find.
  EXPECT_EQ(gate.pass(judged, {"I write to jane@exa", {}, -1}).outbound, nullptr);
}

TEST(Mask, WhatCannotBeMaskedStays) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}, {"CREDIT_CARD", "mask"}, {"SECRET", "allow"}}));
  // In base64, over the parts of a message, over two messages.
  EXPECT_EQ(gate.pass(user_says("Decode bWFpbCBqYW5lQGV4YW1wbGUuY29tIHBsZWFzZQ==")).outbound, nullptr);
  EXPECT_EQ(gate.pass(user_says("4111\n\n1111\n\n1111\n\n1111")).outbound, nullptr);
  chat::Request request = user_says("My card is 4111 1111");
  request.messages.push_back({chat::Role::kUser, "1111 1111", ""});
  EXPECT_EQ(gate.pass(request).outbound, nullptr);
  request = user_says("I am jane@example.com. Decode bWFpbCBqYW5lQGV4YW1wbGUuY29tIHBsZWFzZQ==");
  EXPECT_EQ(gate.judge(request).outcome, Outcome::kMasked);
  EXPECT_EQ(gate.pass(request).finding.detail, "after masking: EMAIL_ADDRESS");
}

TEST(Mask, WhatLooksLikeAPlaceholderComesBackAsItWas) {
  const OutboundGate gate(with({{"EMAIL_ADDRESS", "mask"}}));
  const std::string text = "<EMAIL_ADDRESS_1> is not jane@example.com";
  const Passage passage = gate.pass(user_says(text));
  const std::string& sent = passage.outbound->request().messages[0].content;
  EXPECT_EQ(sent, "<TEXT_1> is not <EMAIL_ADDRESS_1>");
  EXPECT_EQ(unmask(sent, *passage.table), text);
}

// ---- What comes back

class Scripted final : public chat::Stream {
 public:
  explicit Scripted(std::vector<Result<chat::Event>> events) : events_(std::move(events)) {}
  Result<chat::Event> next(Deadline) override {
    if (at_ == events_.size()) return make_error(ErrorCode::kCancelled, "over");
    return events_[at_++];
  }
  void cancel() override {}

 private:
  std::vector<Result<chat::Event>> events_;
  size_t at_ = 0;
};

struct Heard {
  std::string text;
  bool done = false;
};

Heard hear(const std::vector<std::string>& pieces, std::shared_ptr<const PlaceholderTable> table,
           bool breaks = false) {
  std::vector<Result<chat::Event>> events = {chat::Event(chat::Started{})};
  for (const std::string& piece : pieces) {
    chat::Delta delta{piece, {}};
    delta.tokens.emplace_back().chosen.bytes = piece;
    events.emplace_back(chat::Event(std::move(delta)));
  }
  if (breaks) {
    events.emplace_back(make_error(ErrorCode::kUnavailable, "broken off"));
  } else {
    events.emplace_back(chat::Event(chat::Done{}));
  }
  const auto stream = unmasked(std::make_unique<Scripted>(std::move(events)), std::move(table));
  Heard out;
  while (true) {
    const Result<chat::Event> event = stream->next(kNoDeadline);
    if (!event.ok()) return out;
    if (const auto* delta = std::get_if<chat::Delta>(&event.value())) {
      EXPECT_FALSE(out.done) << "nothing comes after Done";
      EXPECT_TRUE(delta->tokens.empty()) << "tokens spell placeholders";
      out.text += delta->text;
    }
    out.done = out.done || std::holds_alternative<chat::Done>(event.value());
  }
}

TEST(Unmask, PlaceholdersThatAreCutAnywhereComeBackAsValues) {
  auto table = std::make_shared<PlaceholderTable>();
  table->placeholder("PERSON", "Jane Roe");
  table->placeholder("EMAIL_ADDRESS", "jane@example.com");
  const std::string masked = "Dear <PERSON_1>, a < b, <EMAIL_ADDRESS_1>! <PERSON_2> <";
  const std::string clear = "Dear Jane Roe, a < b, jane@example.com! <PERSON_2> <";
  Rng rng(7);
  for (int run = 0; run < 500; ++run) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < masked.size();) {
      const size_t size = 1 + rng.below(6);
      pieces.push_back(masked.substr(at, size));
      at += size;
    }
    const Heard heard = hear(pieces, table);
    EXPECT_EQ(heard.text, clear);
    EXPECT_TRUE(heard.done);
  }
}

TEST(Unmask, NothingOfAPlaceholderIsLeftWhereAnAnswerIsCut) {
  auto table = std::make_shared<PlaceholderTable>();
  table->placeholder("PERSON", "Jane Roe");
  const std::string placeholder = "<PERSON_1>";
  for (size_t cut = 2; cut < placeholder.size(); ++cut) {
    EXPECT_EQ(hear({"Dear ", placeholder.substr(0, cut)}, table).text, "Dear ") << cut;
    EXPECT_EQ(hear({"Dear ", placeholder.substr(0, cut)}, table, true).text, "Dear ") << cut;
  }
}

// The inverse over random conversations: nothing of a value leaves, and all of it comes back.
TEST(Mask, RandomConversationsLeaveNoValueAndComeBackWhole) {
  Rng rng(11);
  const OutboundGate gate(
      with({{"EMAIL_ADDRESS", "mask"}, {"CREDIT_CARD", "mask"}, {"IBAN_CODE", "mask"}, {"PERSON", "mask"}}));
  constexpr std::string_view kPieces[] = {"hello ",
                                          "Jane Roe ",
                                          "<PERSON_1> ",
                                          "jane@example.com ",
                                          "4111 1111 1111 1111 ",
                                          "DE89 3704 0044 0532 0130 00 ",
                                          "\xc3\xa4 ",
                                          "<",
                                          ">",
                                          "\n",
                                          "_1>",
                                          "card: ",
                                          "My name is Karl Meier. "};
  int sent = 0;
  for (int run = 0; run < 300; ++run) {
    chat::Request request;
    for (int m = 0; m < 4; ++m) {
      std::string text;
      for (uint64_t n = rng.below(8); n > 0; --n) text += kPieces[rng.below(std::size(kPieces))];
      request.messages.push_back({m % 2 == 0 ? chat::Role::kUser : chat::Role::kAssistant, text, ""});
    }
    const Passage passage = gate.pass(request);
    if (!passage.outbound) continue;
    ++sent;
    const chat::Request& masked = passage.outbound->request();
    EXPECT_FALSE(holds_any(masked, {"jane@example.com", "4111 1111", "DE89 3704"}));
    for (size_t i = 0; i < masked.messages.size(); ++i) {
      const std::string back =
          passage.table ? unmask(masked.messages[i].content, *passage.table) : masked.messages[i].content;
      EXPECT_EQ(back, request.messages[i].content);
    }
  }
  EXPECT_GT(sent, 100);
}

}  // namespace
}  // namespace hedge::privacy
