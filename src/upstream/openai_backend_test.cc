// The client over real sockets, against the scripted upstream: every fault at several places, continuation in
// every manner, cancels, deadlines, reuse, breaker. The scripted answer is known, so lost and doubled bytes
// show.
#include "upstream/openai_backend.h"

#include <atomic>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "base/utf8.h"
#include "tests/support/scripted_upstream.h"
#include "upstream/align.h"
#include "upstream/test_util.h"

namespace hedge::upstream {
namespace {

using chat::Role;
using test::Script;
using test::ScriptedUpstream;

constexpr Milliseconds kLong{10'000};  // no test waits so long unless something hangs

const std::string kAnswer = "alpha bravo charlie d\xc3\xa9j\xc3\xa0 echo foxtrot golf hotel";

Options options_for(const ScriptedUpstream& upstream) {
  ::setenv("no_proxy", "127.0.0.1", 1);  // a proxy in the environment must not come between
  Options options;
  options.base_url = upstream.base_url();
  options.model = "scripted";
  options.connect_timeout_ms = 5000;
  options.first_token_timeout_ms = 5000;
  options.gap_timeout_ms = 5000;
  options.breaker_failures = 1000;
  options.continuation = "prefix";  // finding out has tests of its own
  return options;
}

std::unique_ptr<OpenAiBackend> backend_for(const Options& options) {
  auto backend = OpenAiBackend::create(options);
  EXPECT_TRUE(backend.ok()) << backend.error().to_text();
  return std::move(backend).value();
}

chat::Request say(const std::string& answer, const std::string& start = {}) {
  chat::Request request;
  request.messages = {{Role::kUser, "say: " + answer, ""}};
  request.assistant_prefix = start;
  return request;
}

struct Outcome {
  std::string text;
  std::optional<chat::Done> done;
  std::optional<Error> error;
  int started = 0;
};

// For endpoints that stall: long enough that a loaded machine does not pass for one.
constexpr int kStallMs = 250;

Options impatient(Options options) {
  options.first_token_timeout_ms = options.gap_timeout_ms = kStallMs;
  return options;
}

// Reads to the end, which must come, once, within the deadlines.
Outcome read_all(chat::Stream& stream) {
  Outcome out;
  while (true) {
    Result<chat::Event> event = stream.next(deadline_after(kLong));
    if (!event.ok()) {
      out.error = event.error();
      break;
    }
    if (std::holds_alternative<chat::Started>(*event)) {
      EXPECT_EQ(out.started++, 0);
      EXPECT_EQ(out.text, "");
    }
    if (auto* delta = std::get_if<chat::Delta>(&*event)) {
      EXPECT_TRUE(utf8_valid(delta->text));
      out.text += delta->text;
    }
    if (auto* done = std::get_if<chat::Done>(&*event)) {
      out.done = *done;
      break;
    }
  }
  if (out.error) {
    EXPECT_NE(out.error->code, ErrorCode::kTimeout) << "no end within the deadlines";
    EXPECT_NE(out.error->code, ErrorCode::kCancelled);
  }
  const Result<chat::Event> after = stream.next(deadline_after(kLong));
  EXPECT_FALSE(after.ok());
  if (!after.ok()) {
    EXPECT_EQ(after.error().code, ErrorCode::kCancelled);
  }
  return out;
}

Outcome ask(OpenAiBackend& backend, const chat::Request& request) {
  auto stream = backend.start(cleared(request));
  EXPECT_TRUE(stream.ok());
  if (!stream.ok()) return {{}, std::nullopt, stream.error(), 0};
  return read_all(**stream);
}

// Polls, since the other side's thread must get there first; the limit is only for failing.
template <typename Condition>
bool eventually(Condition condition) {
  const Deadline limit = deadline_after(Milliseconds(5000));
  while (!condition()) {
    if (SteadyClock::now() > limit) return false;
    std::this_thread::yield();
  }
  return true;
}

// ---- How a begun answer is continued: found out with a fixed text when it first matters.

const std::string kBegun = "alpha bravo ";

// Reads a conversation as scripts with `tokens` do: a token is a byte.
std::optional<Rendered> render_bytes(const chat::Request& request) {
  Rendered out;
  for (const chat::Message& message : request.messages)
    out.text += std::string("<") + chat::to_string(message.role) + ">" + message.content;
  out.text += "<assistant>";
  const auto ids = [](const std::string& text) {
    std::vector<int32_t> list;
    for (const char c : text) list.push_back(static_cast<unsigned char>(c));
    return list;
  };
  out.ids = ids(out.text);
  out.ids_with_start = ids(out.text + request.assistant_prefix);
  return out;
}

std::unique_ptr<OpenAiBackend> finding_out(const ScriptedUpstream& upstream, bool with_renderer = false) {
  Options options = options_for(upstream);
  options.continuation = "auto";
  auto backend = backend_for(options);
  if (with_renderer) backend->set_renderer(render_bytes);
  return backend;
}

std::string last_body(const ScriptedUpstream& upstream) { return upstream.seen().back().body; }

TEST(Continuing, NothingIsTriedBeforeItMatters) {
  ScriptedUpstream upstream;
  const auto backend = finding_out(upstream);
  EXPECT_EQ(upstream.connections(), 0u);
  EXPECT_EQ(ask(*backend, say(kAnswer)).text, kAnswer);
  EXPECT_EQ(upstream.seen().size(), 1u);
}

TEST(Continuing, TheTestsHoldNothingOfTheUsers) {
  ScriptedUpstream upstream;
  Script script;
  script.tokens = true;
  upstream.set_script(script);
  const auto backend = finding_out(upstream, true);
  const Outcome out = ask(*backend, say(kAnswer, kBegun));
  ASSERT_TRUE(out.done);
  const auto seen = upstream.seen();
  ASSERT_GE(seen.size(), 2u);
  for (size_t i = 0; i + 1 < seen.size(); ++i) EXPECT_EQ(seen[i].body.find("alpha"), std::string::npos);
}

TEST(Continuing, EveryMannerIsFoundAndGivesTheExactText) {
  const std::string rest = kAnswer.substr(kBegun.size());
  struct Case {
    const char* mode;
    bool tokens;
    const char* path;
    size_t requests;  // the tests and the one that was asked
  };
  for (const Case& c :
       {Case{"continue", false, "/v1/chat/completions", 2}, Case{"echo", false, "/v1/chat/completions", 2},
        Case{"flags", false, "/v1/chat/completions", 2}, Case{"flags", true, "/v1/completions", 5}}) {
    SCOPED_TRACE(std::string(c.mode) + (c.tokens ? " tokens" : ""));
    ScriptedUpstream upstream;
    Script script;
    script.mode = c.mode;
    script.tokens = c.tokens;
    upstream.set_script(script);
    const auto backend = finding_out(upstream, c.tokens);
    for (int i = 0; i < 2; ++i) {
      const Outcome out = ask(*backend, say(kAnswer, kBegun));
      ASSERT_TRUE(out.done) << out.error->to_text();
      EXPECT_EQ(out.text, rest);
      EXPECT_EQ(upstream.seen().size(), c.requests + static_cast<size_t>(i)) << "found out once";
      EXPECT_EQ(upstream.seen().back().path, c.path);
    }
    if (c.tokens) {
      const auto body = nlohmann::json::parse(last_body(upstream));
      EXPECT_TRUE(body["prompt"].is_array());
      EXPECT_EQ(body["prompt"].back(), ' ') << "all of the start, its white space too";
    }
  }
}

TEST(Continuing, FlagsThatAreRefusedAreLeftOut) {
  ScriptedUpstream upstream;
  Script script;
  script.strict = true;
  upstream.set_script(script);
  const auto backend = finding_out(upstream);
  const Outcome out = ask(*backend, say(kAnswer, kBegun));
  ASSERT_TRUE(out.done) << out.error->to_text();
  EXPECT_EQ(out.text, kAnswer.substr(kBegun.size()));
  EXPECT_EQ(last_body(upstream).find("continue_final_message"), std::string::npos);
}

TEST(Continuing, WhoAlwaysBeginsAnewIsInstructed) {
  ScriptedUpstream upstream;
  Script script;
  script.mode = "fresh";
  upstream.set_script(script);
  const auto backend = finding_out(upstream);
  const Outcome out = ask(*backend, say(kAnswer, kBegun));
  ASSERT_TRUE(out.done) << out.error->to_text();
  const auto messages = nlohmann::json::parse(last_body(upstream))["messages"];
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[1]["content"], "alpha bravo ");
  EXPECT_EQ(messages[2]["role"], "user");
  EXPECT_NE(messages[2]["content"].get<std::string>().find("Do not repeat"), std::string::npos);
}

TEST(Continuing, AnOverlapAndARestartAfterTheInstructionAreRecognised) {
  const std::string start = "The quick brown fox jumps over the lazy dog and then it ";
  for (const auto& [reply, expected] :
       {std::pair<std::string, std::string>{"over the lazy dog and then it sleeps.", "sleeps."},
        {start + "sleeps.", "sleeps."},
        {"sleeps.", "sleeps."}}) {
    // Whatever is asked, this endpoint says `reply`: the instruction becomes part of its "user message".
    Aligner aligner(start);
    std::string text = aligner.push(reply);
    text += aligner.finish();
    EXPECT_EQ(text, expected);
  }
  Aligner anew(start);
  std::string text = anew.push("The quick brown fox jumps over the lazy dog and then a cat comes.");
  text += anew.finish();
  EXPECT_EQ(text, "");
  EXPECT_EQ(anew.alignment(), Alignment::kRestart);
}

TEST(Continuing, LogProbabilitiesAreAskedForInTheChatForm) {
  ScriptedUpstream upstream;
  Script script;
  script.tokens = true;
  upstream.set_script(script);
  const auto backend = finding_out(upstream, true);
  chat::Request request = say(kAnswer, kBegun);
  request.top_logprobs = 2;
  EXPECT_EQ(ask(*backend, request).text, kAnswer.substr(kBegun.size()));
  EXPECT_EQ(upstream.seen().back().path, "/v1/chat/completions");
}

TEST(Continuing, AnEndpointThatDoesNotAnswerTheTestIsAskedAsUsual) {
  ScriptedUpstream upstream;
  Script broken;
  broken.fault = "status";
  broken.status = 503;
  upstream.set_sequence({broken, broken});
  const auto backend = finding_out(upstream);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(ask(*backend, say(kAnswer, kBegun)).text, kAnswer.substr(kBegun.size()));
  EXPECT_EQ(upstream.seen().size(), 4u) << "two tests, and none again within the minute";
}

TEST(Continuing, ThoseThatWaitForTheTestCanBeCancelledAndShutDown) {
  ScriptedUpstream upstream;
  Script slow;
  slow.fault = "stall";
  slow.after = -1;
  upstream.set_script(slow);
  auto backend = finding_out(upstream);
  auto one = backend->start(cleared(say(kAnswer, kBegun))),
       two = backend->start(cleared(say(kAnswer, kBegun)));
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_TRUE(eventually([&] { return upstream.seen().size() == 1; }));
  (*one)->cancel();
  EXPECT_EQ((*one)->next(deadline_after(kLong)).error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(eventually([&] { return backend->state().active == 1; }));
  backend.reset();
  EXPECT_EQ((*two)->next(deadline_after(kLong)).error().code, ErrorCode::kUnavailable);
}

TEST(Continuing, AnUnknownMannerIsRefused) {
  ScriptedUpstream upstream;
  Options options = options_for(upstream);
  options.continuation = "magic";
  const auto backend = OpenAiBackend::create(options);
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.error().field, "continuation");
}

// ---- The network

TEST(Network, WithoutARouteNothingIsTried) {
  ScriptedUpstream upstream;
  std::atomic<bool> up = false;
  auto backend = OpenAiBackend::create(options_for(upstream), [&] { return up.load(); });
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ((*backend)->state().unavailable_reason, "no_network");
  auto refused = (*backend)->start(cleared(say(kAnswer)));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(upstream.connections(), 0u);
  up = true;
  EXPECT_TRUE((*backend)->state().available);
  EXPECT_EQ(ask(**backend, say(kAnswer)).text, kAnswer);
}

TEST(Network, ALossEndsRunningAnswersWithinAQuarterOfASecond) {
  ScriptedUpstream upstream;
  Script stalls;
  stalls.fault = "stall";
  stalls.after = 2;
  upstream.set_script(stalls);
  std::atomic<bool> up = true;
  Options options = options_for(upstream);
  options.breaker_failures = 1;
  auto backend = OpenAiBackend::create(options, [&] { return up.load(); });
  ASSERT_TRUE(backend.ok());
  auto stream = (*backend)->start(cleared(say(kAnswer)));
  ASSERT_TRUE(stream.ok());
  std::string text;
  while (text != "alpha bravo") {
    auto event = (*stream)->next(deadline_after(kLong));
    ASSERT_TRUE(event.ok());
    if (auto* delta = std::get_if<chat::Delta>(&*event)) text += delta->text;
  }
  up = false;
  const auto lost_at = SteadyClock::now();
  const auto end = (*stream)->next(deadline_after(kLong));
  ASSERT_FALSE(end.ok());
  EXPECT_EQ(end.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(end.error().detail.find("route"), std::string::npos);
  EXPECT_LT(seconds_since(lost_at), 0.25);
  up = true;
  EXPECT_TRUE((*backend)->state().available) << "the breaker does not count it";
}

TEST(Upstream, AnswersAndCounts) {
  ScriptedUpstream upstream;
  const auto backend = backend_for(options_for(upstream));
  EXPECT_EQ(upstream.connections(), 0u) << "nothing goes out before the first request";
  chat::Request request = say(kAnswer);
  request.max_tokens = 100;
  const Outcome out = ask(*backend, request);
  ASSERT_TRUE(out.done) << out.error->to_text();
  EXPECT_EQ(out.started, 1);
  EXPECT_EQ(out.text, kAnswer);
  EXPECT_EQ(out.done->reason, chat::FinishReason::kStop);
  EXPECT_EQ(out.done->usage.completion_tokens, 8);
  EXPECT_EQ(out.done->usage.prompt_tokens, 9);
  const Counters counters = backend->counters();
  EXPECT_EQ(counters.requests, 1u);
  EXPECT_EQ(counters.failures, 0u);
  EXPECT_EQ(counters.prompt_tokens, 9u);
  EXPECT_EQ(counters.completion_tokens, 8u);
  EXPECT_GT(counters.bytes_received, kAnswer.size());
  EXPECT_EQ(backend->info().name, "upstream");
  EXPECT_EQ(backend->info().model, "scripted");
  EXPECT_EQ(backend->state().active, 0);
  request.max_tokens = 3;
  const Outcome cut = ask(*backend, request);
  ASSERT_TRUE(cut.done);
  EXPECT_EQ(cut.text, "alpha bravo charlie");
  EXPECT_EQ(cut.done->reason, chat::FinishReason::kLength);
}

TEST(Upstream, EveryFaultAtEveryPlaceEndsTheStreamOnceAndKeepsTheText) {
  ScriptedUpstream upstream;
  const auto patient = backend_for(options_for(upstream)),
             hasty = backend_for(impatient(options_for(upstream)));
  const std::vector<std::string> pieces = test::scripted_pieces(kAnswer);
  for (const std::string& fault : test::all_faults()) {
    for (const int after : {-1, 0, 3, static_cast<int>(pieces.size())}) {
      SCOPED_TRACE(fault + " after " + std::to_string(after));
      Script script;
      script.fault = fault;
      script.after = after;
      upstream.set_script(script);
      if (after < 0 && fault != "stall" && fault != "reset" && fault != "cut") continue;
      const auto begin = SteadyClock::now();
      const Outcome out = ask(fault.starts_with("stall") ? *hasty : *patient, say(kAnswer));
      EXPECT_LT(seconds_since(begin), 4.0);
      if (fault == "no_finish" || fault == "no_done" || fault.ends_with("_tail")) {
        EXPECT_TRUE(out.done) << "all of it came";
        EXPECT_EQ(out.text, kAnswer);
        continue;
      }
      ASSERT_TRUE(fault == "stop" && after > 0 ? out.done.has_value() : out.error.has_value());
      const bool whole_reply = fault == "empty" || fault == "html" || fault == "status";
      std::string expected;
      for (int i = 0; i < after && !whole_reply; ++i) expected += pieces[static_cast<size_t>(i)];
      if (fault == "cut_word" && after == 0) expected += "alp";
      if (fault == "cut_word" && after == 3) expected += " d\xc3\xa9";
      if (fault == "cut_word" && after == 8) expected += " ex";
      EXPECT_EQ(out.text, expected);
    }
  }
  EXPECT_EQ(patient->state().active + hasty->state().active, 0);
}

TEST(Upstream, ErrorsSayWhatHappened) {
  ScriptedUpstream upstream;
  const auto backend = backend_for(impatient(options_for(upstream)));
  const auto error_of = [&](const std::string& script) {
    std::string problem;
    upstream.set_script(*test::parse_script(script, problem));
    const Outcome out = ask(*backend, say(kAnswer));
    EXPECT_TRUE(out.error) << script;
    return out.error.value_or(Error{});
  };
  const Error limited = error_of("fault=status status=429 retry_after_ms=2000");
  EXPECT_EQ(limited.code, ErrorCode::kExhausted);
  EXPECT_EQ(limited.retry_after_ms, 2000);
  EXPECT_EQ(error_of("fault=status status=429 retry_after_ms=70").retry_after_ms, 70);
  EXPECT_EQ(error_of("fault=status status=503").code, ErrorCode::kUnavailable);
  EXPECT_EQ(error_of("fault=html").code, ErrorCode::kCorrupt);
  EXPECT_EQ(error_of("fault=bad_json after=2").code, ErrorCode::kCorrupt);
  EXPECT_EQ(error_of("fault=huge_line after=2").code, ErrorCode::kCorrupt);
  EXPECT_EQ(error_of("fault=stall after=0").detail,
            "upstream: first token: expected within 250 ms, got none");
  EXPECT_EQ(error_of("fault=stall after=2").detail,
            "upstream: next token: expected within 250 ms of the last, got none");
  EXPECT_EQ(error_of("first_delay_ms=5000").detail,
            "upstream: first token: expected within 250 ms, got none");
}

TEST(Upstream, ContinuationInEveryMannerJoinsExactly) {
  ScriptedUpstream upstream;
  const auto backend = backend_for(options_for(upstream));
  const std::vector<std::string> pieces = test::scripted_pieces(kAnswer);
  for (const char* mode : {"continue", "echo", "spread", "spaced", "overlap", "flags"}) {
    for (const char* manner : {"", "&per_byte=1", "&plain=1"}) {
      std::string start = "alpha bravo";  // long enough for the manners that need certainty
      for (size_t cut = 3; cut <= pieces.size(); ++cut) {
        start += pieces[cut - 1];
        SCOPED_TRACE(std::string(mode) + manner + ", start: " + start);
        std::string problem;
        upstream.set_script(*test::parse_script(std::string("mode=") + mode + manner, problem));
        for (const char* space : {"", " "}) {  // what stands may end in the space that follows a word
          if (cut == pieces.size() && *space != '\0') continue;
          const Outcome out = ask(*backend, say(kAnswer, start + space));
          ASSERT_TRUE(out.done) << out.error->to_text();
          EXPECT_EQ(start + space + out.text, kAnswer);
        }
      }
    }
  }
}

TEST(Upstream, AnAnswerBegunAnewIsToldAndCountsNoFailure) {
  ScriptedUpstream upstream;
  Options options = options_for(upstream);
  options.breaker_failures = 1;
  const auto backend = backend_for(options);
  Script script;
  script.mode = "restart";
  upstream.set_script(script);
  const Outcome out = ask(*backend, say(kAnswer, "alpha bravo charlie"));
  ASSERT_TRUE(out.error);
  EXPECT_EQ(out.error->code, ErrorCode::kUnsupported);
  EXPECT_EQ(out.text, "");
  EXPECT_TRUE(backend->state().available);
}

// A stream that dies is taken up again from what it gave, by another that may die too, until one lives.
TEST(Upstream, AnswersHandedOnThroughFaultsLoseNothing) {
  ScriptedUpstream upstream;
  const auto backend = backend_for(options_for(upstream));
  const std::vector<std::string> faults = {"cut",       "reset", "cut_json", "bad_json",  "bad_chunk",
                                           "error",     "end",   "cut_utf8", "empty",     "response_error",
                                           "huge_line", "html",  "status",   "not_object"};
  const std::vector<std::string> modes = {"continue", "echo", "spread", "flags"};
  const char* given = std::getenv("HEDGE_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 7;
  RecordProperty("seed", std::to_string(seed));
  Rng rng(seed);
  for (int round = 0; round < 150; ++round) {
    std::string answer = "begin";
    for (uint64_t i = 0, count = 1 + rng.below(20); i < count; ++i)
      answer += " w" + std::to_string(i) + (i % 4 == 0 ? "\xc3\xa9" : "");
    std::string standing, manner;
    bool done = false;
    for (int hop = 0; hop < 12 && !done; ++hop) {
      Script script;
      script.mode = modes[rng.below(modes.size())];
      script.plain = rng.below(8) == 0;
      if (hop < 11 && rng.below(5) > 0) script.fault = faults[rng.below(faults.size())];
      script.per_byte = rng.below(8) == 0 && script.fault != "huge_line";  // 2 MiB of it
      script.after = static_cast<int>(rng.below(4));
      manner += script.mode + " " + script.fault + "@" + std::to_string(script.after) + "; ";
      upstream.set_script(script);
      const Outcome out = ask(*backend, say(answer, standing));
      standing += out.text;
      done = out.done.has_value();
      ASSERT_TRUE(answer.starts_with(standing)) << manner << standing;
    }
    ASSERT_TRUE(done) << manner;
    ASSERT_EQ(standing, answer) << manner;
  }
}

TEST(Upstream, FlagsThatAreRefusedAreLeftOutFromThenOn) {
  ScriptedUpstream upstream;
  Script script;
  script.strict = true;
  upstream.set_script(script);
  const auto backend = backend_for(options_for(upstream));
  chat::Request request = say(kAnswer, "alpha bravo charlie");
  request.max_tokens = 50;
  const Outcome first = ask(*backend, request);
  ASSERT_TRUE(first.done) << first.error->to_text();
  EXPECT_EQ("alpha bravo charlie" + first.text, kAnswer);
  const size_t tries = upstream.seen().size();
  EXPECT_EQ(tries, 3u);  // all; without the flags; without the pair of limits
  const Outcome second = ask(*backend, request);
  ASSERT_TRUE(second.done);
  EXPECT_EQ(upstream.seen().size(), tries + 1);
  const auto body = nlohmann::json::parse(upstream.seen().back().body);
  EXPECT_FALSE(body.contains("continue_final_message"));
  EXPECT_FALSE(body.contains("max_tokens"));
  EXPECT_EQ(body["max_completion_tokens"], 50);
  EXPECT_EQ(backend->counters().requests, 2u);
  EXPECT_EQ(backend->counters().failures, 0u);
}

TEST(Upstream, ARefusalOfTheRequestItselfIsNotTriedForEver) {
  ScriptedUpstream upstream;
  Script script;
  script.fault = "status";
  script.status = 400;
  upstream.set_script(script);
  Options options = options_for(upstream);
  options.breaker_failures = 1;
  const auto backend = backend_for(options);
  const Outcome out = ask(*backend, say(kAnswer));
  ASSERT_TRUE(out.error);
  EXPECT_EQ(out.error->code, ErrorCode::kInvalidArgument);
  EXPECT_LE(upstream.seen().size(), 2u);
  EXPECT_TRUE(backend->state().available);
}

TEST(Upstream, TheKeyIsSentAndNeverTold) {
  const std::string key = "sk-very-secret-1234567890";
  ScriptedUpstream upstream({.port = 0, .key = key, .script = {}});
  ::setenv("HEDGE_TEST_UPSTREAM_KEY", (key + "\n").c_str(), 1);
  Options options = options_for(upstream);
  options.key_env = "HEDGE_TEST_UPSTREAM_KEY";
  EXPECT_TRUE(ask(*backend_for(options), say(kAnswer)).done);
  EXPECT_EQ(upstream.seen().back().authorization, "Bearer " + key);

  const std::string wrong = "sk-wrong-but-secret";
  ::setenv("HEDGE_TEST_UPSTREAM_KEY", wrong.c_str(), 1);
  const Outcome out =
      ask(*backend_for(options), say(kAnswer));  // the endpoint repeats it in message and code
  ASSERT_TRUE(out.error);
  EXPECT_EQ(out.error->code, ErrorCode::kPermission);
  EXPECT_EQ(out.error->to_text().find(wrong), std::string::npos) << out.error->to_text();
  ::unsetenv("HEDGE_TEST_UPSTREAM_KEY");
}

TEST(Upstream, ConnectionsAreUsedAgain) {
  ScriptedUpstream upstream;
  const auto backend = backend_for(options_for(upstream));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(ask(*backend, say(kAnswer)).done);
    ASSERT_TRUE(eventually([&] { return backend->state().active == 0; }));
  }
  EXPECT_EQ(upstream.connections(), 1u);
  EXPECT_TRUE(eventually([&] { return backend->counters().connections_opened == 1; }));
}

TEST(Upstream, AConnectionThatDiedWhileIdleIsReplaced) {
  ScriptedUpstream upstream;
  const auto backend = backend_for(options_for(upstream));
  ASSERT_TRUE(ask(*backend, say(kAnswer)).done);
  upstream.reset_connections();
  EXPECT_TRUE(eventually([&] { return upstream.open_connections() == 0; }));
  EXPECT_TRUE(ask(*backend, say(kAnswer)).done);
}

TEST(Upstream, CancelFreesTheConnectionAndWakesTheConsumer) {
  ScriptedUpstream upstream;
  Script script;
  script.fault = "stall";
  script.after = 2;
  upstream.set_script(script);
  Options options = options_for(upstream);
  options.gap_timeout_ms = options.first_token_timeout_ms = 60'000;
  const auto backend = backend_for(options);
  auto stream = backend->start(cleared(say(kAnswer)));
  ASSERT_TRUE(stream.ok());
  int deltas = 0;
  while (deltas < 2) {
    const auto event = (*stream)->next(deadline_after(kLong));
    ASSERT_TRUE(event.ok());
    deltas += std::holds_alternative<chat::Delta>(*event);
  }
  const auto nothing = (*stream)->next(deadline_after(Milliseconds(1)));
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.error().code, ErrorCode::kTimeout);  // and the stream goes on
  EXPECT_EQ(backend->state().active, 1);
  std::thread canceller([&] { (*stream)->cancel(); });
  const auto end = (*stream)->next(deadline_after(kLong));
  canceller.join();
  ASSERT_FALSE(end.ok());
  EXPECT_EQ(end.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(eventually([&] { return backend->state().active == 0 && upstream.open_connections() == 0; }));
  EXPECT_EQ(upstream.gone(), 1u);
  EXPECT_EQ(backend->counters().failures, 0u);  // the consumer's wish is no failure
}

TEST(Upstream, DroppingAStreamFreesTheConnection) {
  ScriptedUpstream upstream;
  Script script;
  script.fault = "stall";
  script.after = -1;
  upstream.set_script(script);
  const auto backend = backend_for(options_for(upstream));
  auto stream = backend->start(cleared(say(kAnswer)));
  ASSERT_TRUE(stream.ok());
  EXPECT_TRUE(eventually([&] { return upstream.seen().size() == 1; }));
  std::move(stream).value().reset();
  EXPECT_TRUE(eventually([&] { return backend->state().active == 0 && upstream.open_connections() == 0; }));
}

TEST(Upstream, AStopStringEndsTheAnswerAndTheTransfer) {
  ScriptedUpstream upstream;
  const auto backend = backend_for(options_for(upstream));
  chat::Request request = say(kAnswer);
  request.stop = {"charlie"};
  const Outcome out = ask(*backend, request);
  ASSERT_TRUE(out.done);
  EXPECT_EQ(out.text, "alpha bravo ");
  EXPECT_EQ(out.done->reason, chat::FinishReason::kStop);
}

TEST(Upstream, ASlowConsumerHoldsBackTheEndpointAndLosesNothing) {
  ScriptedUpstream upstream;
  Options options = options_for(upstream);
  options.gap_timeout_ms = 2 * kStallMs;  // the consumer's slowness is not the endpoint's
  const auto backend = backend_for(options);
  std::string answer = "begin";
  for (int i = 0; i < 5000; ++i) answer += " w" + std::to_string(i);
  auto stream = backend->start(cleared(say(answer)));
  ASSERT_TRUE(stream.ok());
  auto first = (*stream)->next(deadline_after(kLong));
  ASSERT_TRUE(first.ok());
  // Nothing is read for longer than the gap; a second request shows that the network thread is not held up by
  // it.
  const Deadline until = deadline_after(Milliseconds(3 * kStallMs));
  while (SteadyClock::now() < until) EXPECT_TRUE(ask(*backend, say(kAnswer)).done);
  EXPECT_EQ(backend->state().active, 1);
  std::string text;
  bool done = false;
  while (!done) {
    const auto event = (*stream)->next(deadline_after(kLong));
    ASSERT_TRUE(event.ok()) << event.error().to_text();
    if (const auto* delta = std::get_if<chat::Delta>(&*event)) text += delta->text;
    done = std::holds_alternative<chat::Done>(*event);
  }
  EXPECT_EQ(text.size(), answer.size());
  EXPECT_TRUE(text == answer);
}

TEST(Upstream, InFlightLimit) {
  ScriptedUpstream upstream;
  Script script;
  script.fault = "stall";
  upstream.set_script(script);
  Options options = options_for(upstream);
  options.in_flight_max = 2;
  options.first_token_timeout_ms = 60'000;
  const auto backend = backend_for(options);
  auto a = backend->start(cleared(say(kAnswer))), b = backend->start(cleared(say(kAnswer))),
       c = backend->start(cleared(say(kAnswer)));
  EXPECT_TRUE(a.ok() && b.ok());
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.error().code, ErrorCode::kExhausted);
  EXPECT_GT(c.error().retry_after_ms, 0);
  (*a)->cancel();
  EXPECT_TRUE(eventually([&] { return backend->state().active == 1; }));
  EXPECT_TRUE(backend->start(cleared(say(kAnswer))).ok());
}

TEST(Upstream, BreakerOpensAndTheProbeClosesIt) {
  ScriptedUpstream upstream;
  Options options = options_for(upstream);
  options.breaker_failures = 3;
  options.breaker_open_ms = 50;
  const auto backend = backend_for(options);
  ASSERT_TRUE(ask(*backend, say(kAnswer)).done);
  upstream.refuse_connections();
  upstream.reset_connections();
  EXPECT_TRUE(eventually([&] { return upstream.open_connections() == 0; }));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(backend->state().available);
    const Outcome out = ask(*backend, say(kAnswer));
    ASSERT_TRUE(out.error);
    EXPECT_EQ(out.error->code, ErrorCode::kUnavailable);
    EXPECT_TRUE(eventually([&] { return backend->counters().failures == static_cast<uint64_t>(i + 1); }));
  }
  EXPECT_FALSE(backend->state().available);
  EXPECT_EQ(backend->state().unavailable_reason, "breaker_open");
  const auto begin = SteadyClock::now();
  const auto refused = backend->start(cleared(say(kAnswer)));
  EXPECT_LT(seconds_since(begin), 1.0);  // does not try to connect
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_GT(refused.error().retry_after_ms, 0);
  EXPECT_EQ(backend->counters().breaker_opened, 1u);

  const size_t seen = upstream.seen().size();
  upstream.accept_connections();
  EXPECT_TRUE(eventually([&] { return backend->state().available; }));
  const auto requests = upstream.seen();
  ASSERT_EQ(requests.size(), seen + 1);  // one probe, and it is nobody's prompt
  EXPECT_EQ(requests.back().method, "GET");
  EXPECT_EQ(requests.back().path, "/v1/models");
  EXPECT_EQ(requests.back().body, "");
  EXPECT_TRUE(ask(*backend, say(kAnswer)).done);
}

TEST(Upstream, WrongRequestsDoNotOpenTheBreaker) {
  ScriptedUpstream upstream;
  Options options = options_for(upstream);
  options.breaker_failures = 1;
  options.breaker_open_ms = 60'000;
  const auto backend = backend_for(options);
  for (const int status : {400, 401, 403, 404, 422}) {
    Script script;
    script.fault = "status";
    script.status = status;
    upstream.set_script(script);
    EXPECT_TRUE(ask(*backend, say(kAnswer)).error);
    EXPECT_TRUE(eventually([&] { return backend->state().active == 0; }));
    EXPECT_TRUE(backend->state().available) << status;
  }
  Script script;
  script.fault = "empty";
  upstream.set_script(script);
  EXPECT_TRUE(ask(*backend, say(kAnswer)).error);
  EXPECT_TRUE(eventually([&] { return !backend->state().available; }));
}

TEST(Upstream, StreamsOutliveTheirBackend) {
  ScriptedUpstream upstream;
  Script script;
  script.fault = "stall";
  script.after = 1;
  upstream.set_script(script);
  Options options = options_for(upstream);
  options.gap_timeout_ms = 60'000;
  auto backend = backend_for(options);
  auto stream = backend->start(cleared(say(kAnswer)));
  ASSERT_TRUE(stream.ok());
  backend.reset();
  const Outcome out = read_all(**stream);
  ASSERT_TRUE(out.error);
  EXPECT_EQ(out.error->code, ErrorCode::kUnavailable);
  (*stream)->cancel();
}

TEST(Upstream, ManyThreadsAtOnce) {
  ScriptedUpstream upstream;
  Options options = options_for(upstream);
  options.first_token_timeout_ms = options.gap_timeout_ms = 5000;
  const auto backend = backend_for(options);
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 12; ++i) {
        const std::string answer = kAnswer + " " + std::to_string(t) + " " + std::to_string(i);
        right += ask(*backend, say(answer)).text == answer;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 96);
  EXPECT_LT(upstream.connections(), 48u);  // about one each, and some that were not free yet
}

TEST(Upstream, CreateChecksItsOptions) {
  const auto fails = [](auto change, const char* field) {
    Options options;
    options.base_url = "http://127.0.0.1:9";
    options.model = "m";
    change(options);
    const auto backend = OpenAiBackend::create(options);
    ASSERT_FALSE(backend.ok()) << field;
    EXPECT_EQ(backend.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(backend.error().field, field);
  };
  fails([](Options& o) { o.base_url = "ftp://h"; }, "base_url");
  fails([](Options& o) { o.model = ""; }, "model");
  fails([](Options& o) { o.name = ""; }, "name");
  fails([](Options& o) { o.dialect = "klingon"; }, "dialect");
  fails([](Options& o) { o.connect_timeout_ms = 0; }, "connect_timeout_ms");
  fails([](Options& o) { o.gap_timeout_ms = -1; }, "gap_timeout_ms");
  fails([](Options& o) { o.in_flight_max = 0; }, "in_flight_max");
  fails([](Options& o) { o.breaker_failures = 0; }, "breaker_failures");
  Options options;
  options.base_url = "http://127.0.0.1:9";
  options.model = "m";
  options.key_env = "HEDGE_TEST_UNSET_KEY";
  const auto backend = OpenAiBackend::create(options);
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.error().code, ErrorCode::kPermission);
}

}  // namespace
}  // namespace hedge::upstream
