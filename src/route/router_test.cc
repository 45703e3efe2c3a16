#include "route/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "route/fake_backend.h"
#include "route/learned.h"
#include "route/prompt_score.h"
#include "route/situation.h"

namespace hedge::route {
namespace {

// ---- What the fakes say

// The answer in pieces, continuing from where the request's assistant_prefix stands.
struct Script {
  std::vector<std::string> pieces;
  float margin = 1;  // of every token
  bool tokens = true;
  std::optional<Error> refuses;  // start() fails
  int dies_after = -1;           // pieces, then an error
  Error death = make_error(ErrorCode::kUnavailable, "cut");
  chat::FinishReason reason = chat::FinishReason::kStop;
  chat::Usage usage;
  bool hangs = false;  // after the pieces, instead of ending
};

// The pieces that remain after `given` bytes; the first may be the rest of a piece.
std::vector<std::string> pieces_after(const std::vector<std::string>& pieces, size_t given) {
  std::vector<std::string> out;
  for (const std::string& piece : pieces) {
    if (given >= piece.size()) {
      given -= piece.size();
      continue;
    }
    out.push_back(piece.substr(given));
    given = 0;
  }
  return out;
}

FakeBackend::Plan say(const Script& script, std::string name) {
  return [script, name](const chat::Request& request) -> Result<FakePlan> {
    if (script.refuses) return *script.refuses;
    FakePlan plan;
    plan.events.emplace_back(chat::Event(chat::Started{name, "fake", 7, 2}));
    int count = 0;
    for (std::string& piece : pieces_after(script.pieces, request.assistant_prefix.size())) {
      if (script.dies_after >= 0 && count++ >= script.dies_after) break;
      if (script.tokens) {
        plan.events.emplace_back(chat::Event(token_delta(std::move(piece), script.margin)));
      } else {
        plan.events.emplace_back(chat::Event(chat::Delta{std::move(piece), {}}));
      }
    }
    if (script.dies_after >= 0) {
      plan.events.emplace_back(script.death);
    } else if (!script.hangs) {
      plan.events.emplace_back(chat::Event(chat::Done{script.reason, script.usage, nullptr}));
    }
    return plan;
  };
}

Script words(std::vector<std::string> pieces, float margin = 1) {
  Script script;
  script.pieces = std::move(pieces);
  script.margin = margin;
  return script;
}

Script upstream_words(std::vector<std::string> pieces) {
  Script script = words(std::move(pieces));
  script.tokens = false;
  return script;
}

chat::Request ask(std::string text = "What is the capital of France?") {
  chat::Request request;
  request.id = "hd-1";
  request.messages = {{chat::Role::kUser, std::move(text), ""}};
  request.routing.session = "s-1";
  return request;
}

// ---- What comes out

struct Answer {
  std::string text;
  std::vector<chat::Started> started;
  std::vector<chat::Switched> switched;
  std::optional<chat::Done> done;
  std::optional<Error> error;

  const chat::Trace& trace() const { return *done->trace; }
  std::string reasons() const {
    std::string out;
    for (const std::string& reason : trace().reasons) out += (out.empty() ? "" : " ") + reason;
    return out;
  }
  std::string segments() const {
    std::string out;
    for (const chat::Segment& s : trace().segments) {
      out += (out.empty() ? "" : " ") + s.backend + ":" + std::to_string(s.bytes);
    }
    return out;
  }
};

void drain_rest(chat::Stream& stream) {
  while (stream.next(kNoDeadline).ok()) {
  }
}

Answer drain(chat::Stream& stream) {
  Answer answer;
  while (!answer.done && !answer.error) {
    Result<chat::Event> event = stream.next(kNoDeadline);
    if (!event.ok()) {
      answer.error = event.error();
    } else if (auto* started = std::get_if<chat::Started>(&*event)) {
      EXPECT_TRUE(answer.text.empty());
      answer.started.push_back(*started);
    } else if (auto* delta = std::get_if<chat::Delta>(&*event)) {
      EXPECT_EQ(answer.started.size(), 1u);
      answer.text += delta->text;
    } else if (auto* switched = std::get_if<chat::Switched>(&*event)) {
      answer.switched.push_back(*switched);
    } else {
      answer.done = std::get<chat::Done>(*event);
    }
  }
  Result<chat::Event> after = stream.next(kNoDeadline);
  EXPECT_TRUE(!after.ok() && after.error().code == ErrorCode::kCancelled);
  return answer;
}

// Local and upstream with a script each.
struct Pair {
  Pair(const Script& local_script, const Script& upstream_script, Policy policy = {})
      : local("local", say(local_script, "local")),
        upstream("cloud", say(upstream_script, "cloud")),
        router(Router::create(local, &upstream, policy)) {}

  Answer answer(const chat::Request& request) {
    Result<std::unique_ptr<chat::Stream>> stream = router->start(request);
    if (!stream.ok()) {
      Answer refused;
      refused.error = stream.error();
      return refused;
    }
    return drain(**stream);
  }

  FakeBackend local;
  FakeBackend upstream;
  std::unique_ptr<Router> router;
};

const std::vector<std::string> kParis = {"The", " capital", " of", " Fra", "nce", " is", " Par", "is", "."};
constexpr const char* kParisText = "The capital of France is Paris.";

Policy quick_policy() {
  Policy policy;
  policy.confidence.window_tokens = 4;
  policy.confidence.check_every_tokens = 1;
  policy.confidence.mid_checks_in_a_row = 1;
  policy.confidence.first_tokens = 2;
  return policy;
}

// ---- Ways of an answer

TEST(Router, SureLocalAnswerStaysLocal) {
  Pair pair(words(kParis), upstream_words({"no"}));
  const Answer answer = pair.answer(ask());
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.started[0].backend, "local");
  EXPECT_EQ(answer.started[0].prompt_tokens, 7);
  EXPECT_EQ(answer.trace().route, "local");
  EXPECT_EQ(answer.reasons(), "confidence.ok");
  EXPECT_EQ(answer.segments(), "local:31");
  EXPECT_EQ(answer.trace().id, "hd-1");
  EXPECT_EQ(answer.trace().session, "s-1");
  EXPECT_EQ(answer.done->usage.completion_tokens, 9);
  EXPECT_TRUE(pair.local.requests()[0].want_confidence);
  EXPECT_TRUE(pair.upstream.requests().empty());
  EXPECT_EQ(pair.router->counters().local, 1u);
  EXPECT_EQ(pair.router->info().name, "hedge");
  EXPECT_EQ(pair.router->info().model, "fake");
}

TEST(Router, UnsureFirstTokensAreNeverSeen) {
  Pair pair(words({"Um", " err", " well", " hm", " so"}, 0.01f), upstream_words({"Paris", "."}));
  const Answer answer = pair.answer(ask());
  EXPECT_EQ(answer.text, "Paris.");
  EXPECT_EQ(answer.started[0].backend, "cloud");
  EXPECT_TRUE(answer.switched.empty());
  EXPECT_EQ(answer.trace().route, "upstream");
  EXPECT_EQ(answer.reasons(), "confidence.first");
  EXPECT_NEAR(answer.trace().steps[1].value, 0.01, 1e-6);
  EXPECT_EQ(answer.trace().steps[1].threshold, Confidence{}.first_margin_min);
  EXPECT_EQ(pair.upstream.requests()[0].assistant_prefix, "");
  EXPECT_FALSE(pair.upstream.requests()[0].want_confidence);
  EXPECT_EQ(pair.router->counters().escalated_first, 1u);
  EXPECT_EQ(pair.local.running(), 0);
}

TEST(Router, ShortUnsureAnswerIsJudgedAtItsEndAndKeptWhenTheUpstreamFails) {
  for (const bool fails : {false, true}) {
    Script upstream = upstream_words({"Paris"});
    upstream.dies_after = fails ? 0 : -1;
    Pair pair(words({"Um"}, 0.01f), upstream);
    const Answer answer = pair.answer(ask());
    EXPECT_EQ(answer.text, fails ? "Um" : "Paris");
    EXPECT_EQ(answer.reasons(),
              fails ? "confidence.first upstream.failed local.resumed" : "confidence.first");
    EXPECT_EQ(answer.started[0].backend, fails ? "local" : "cloud");
    EXPECT_EQ(pair.local.requests().size(), 1u);  // its answer was there already
  }
}

TEST(Router, MidAnswerSwitchWaitsForTheEndOfTheWord) {
  FakeBackend local("local", [](const chat::Request& request) -> Result<FakePlan> {
    EXPECT_TRUE(request.assistant_prefix.empty());
    FakePlan plan;
    const std::vector<std::pair<std::string, float>> tokens = {
        {"The", 1},     {" capital", 1}, {" of", 0.01f}, {" Ja", 0.01f},
        {"pan", 0.01f}, {" is", 0.01f},  {" Kyo", 0.01f}};
    for (const auto& [text, margin] : tokens)
      plan.events.emplace_back(chat::Event(token_delta(text, margin)));
    return plan;
  });
  FakeBackend upstream("cloud", [](const chat::Request& request) -> Result<FakePlan> {
    EXPECT_EQ(request.assistant_prefix, "The capital of Japan");
    EXPECT_FALSE(request.heal_prefix);
    EXPECT_EQ(request.max_tokens, 15);
    FakePlan plan;
    plan.events.emplace_back(chat::Event(chat::Started{"cloud", "big", 0, 0}));
    plan.events.emplace_back(chat::Event(chat::Delta{" is Tokyo.", {}}));
    plan.events.emplace_back(chat::Event(chat::Done{chat::FinishReason::kStop, {20, 0, 4, 1, 2}, nullptr}));
    return plan;
  });
  auto router = Router::create(local, &upstream, quick_policy());
  chat::Request request = ask();
  request.max_tokens = 20;
  const Answer answer = drain(**router->start(request));
  EXPECT_EQ(answer.text, "The capital of Japan is Tokyo.");
  ASSERT_EQ(answer.switched.size(), 1u);
  EXPECT_EQ(answer.switched[0].from, "local");
  EXPECT_EQ(answer.switched[0].to, "cloud");
  EXPECT_EQ(answer.switched[0].reason, "confidence.mid");
  EXPECT_EQ(answer.segments(), "local:20 cloud:10");
  EXPECT_EQ(answer.trace().route, "mixed");
  EXPECT_EQ(answer.trace().upstream_tokens, 24);
  EXPECT_EQ(answer.done->usage.completion_tokens, 5 + 4);
  EXPECT_EQ(router->counters().escalated_mid, 1u);
  EXPECT_EQ(router->counters().upstream_tokens_today, 24);
  EXPECT_EQ(local.running(), 0);
}

TEST(Router, ForcedSwitchIsBoundedWhereNoWordEnds) {
  Policy policy;
  policy.word_end_wait_tokens = 3;
  const std::vector<std::string> pieces = {"aa", "bb", "cc", "dd", "ee", "ff", "gg"};
  Pair pair(words(pieces), upstream_words(pieces), policy);
  chat::Request request = ask();
  request.routing.escalate_after = 2;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "aabbccddeeffgg");
  EXPECT_EQ(answer.segments(), "local:10 cloud:4");
  EXPECT_EQ(answer.reasons(), "forced");
  EXPECT_FALSE(pair.local.requests()[0].want_confidence);
  EXPECT_FALSE(pair.upstream.requests()[0].routing.escalate_after.has_value());
}

TEST(Router, ForcedAtZeroNeverStartsTheLocalModel) {
  Pair pair(words(kParis), upstream_words(kParis));
  chat::Request request = ask();
  request.routing.escalate_after = 0;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.segments(), "cloud:31");
  EXPECT_TRUE(pair.local.requests().empty());
  EXPECT_EQ(pair.router->counters().escalated_first, 1u);
  // What the request sends there itself is no escalation.
  request.routing.route = chat::Route::kUpstream;
  pair.answer(request);
  EXPECT_EQ(pair.router->counters().escalated_first, 1u);
  EXPECT_EQ(pair.router->counters().upstream, 2u);
}

TEST(Router, APieceOfSeveralWordsIsCutAtTheFirstEnd) {
  Script local = words({"Hel", "lo wide world", " and more"});
  Pair pair(local, upstream_words({"Hello", " wide", " world"}));
  chat::Request request = ask();
  request.routing.escalate_after = 1;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "Hello wide world");
  EXPECT_EQ(answer.segments(), "local:5 cloud:11");
}

TEST(Router, LocalAnswerThatEndsBeforeTheWordDoesStaysLocal) {
  Pair pair(words({"on", "ly"}), upstream_words({"no"}));
  chat::Request request = ask();
  request.routing.escalate_after = 1;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "only");
  EXPECT_EQ(answer.reasons(), "forced local.finished_first");
  EXPECT_TRUE(pair.upstream.requests().empty());
}

TEST(Router, RequestSaysUpstream) {
  Pair pair(words(kParis), upstream_words(kParis));
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.trace().route, "upstream");
  EXPECT_EQ(answer.reasons(), "gate.request_upstream");
  EXPECT_TRUE(pair.local.requests().empty());
}

// Weights that know one thing: a prompt of many bytes gains.
PromptScore score_by_length() {
  PromptWeights weights;
  weights.weight.assign(kBuckets, 0.0f);
  weights.idf.assign(kBuckets, 0.0f);
  weights.shape_mean[static_cast<size_t>(Shape::kLength)] = std::log1p(50.0f);
  weights.shape_weight[static_cast<size_t>(Shape::kLength)] = 1;
  return PromptScore(weights, TopicTable::embedded());
}

TEST(Router, APromptThatPromisesAGainGoesUpstreamAtOnce) {
  const PromptScore score = score_by_length();
  Policy policy = quick_policy();
  policy.prompt.enabled = true;
  policy.prompt.gain_min = 0.2;
  const std::string long_prompt(200, 'x');
  const auto with_score = [&](Pair& pair) {
    pair.router = Router::create(pair.local, &pair.upstream, policy, {}, &score);
  };

  Pair goes(words(kParis), upstream_words(kParis));
  with_score(goes);
  const Answer upstream = goes.answer(ask(long_prompt));
  EXPECT_EQ(upstream.trace().route, "upstream");
  EXPECT_EQ(upstream.reasons(), "prompt.score");
  EXPECT_TRUE(goes.local.requests().empty());
  EXPECT_EQ(goes.router->counters().escalated_first, 1u);
  const auto& steps = upstream.trace().steps;
  const auto step =
      std::find_if(steps.begin(), steps.end(), [](const auto& s) { return s.what == "prompt.score"; });
  ASSERT_NE(step, steps.end());
  EXPECT_NEAR(step->value, std::log1p(200.0) - std::log1p(50.0), 1e-5);
  EXPECT_EQ(step->threshold, 0.2);

  Pair stays(words(kParis), upstream_words(kParis));
  with_score(stays);
  const Answer local = stays.answer(ask("short"));
  EXPECT_EQ(local.trace().route, "local");
  EXPECT_EQ(local.reasons(), "confidence.ok");
  EXPECT_TRUE(stays.upstream.requests().empty());

  // No score opens a gate, and an upstream that cannot start leaves the answer to the local model.
  Pair held(words(kParis), upstream_words(kParis));
  with_score(held);
  EXPECT_EQ(held.answer(ask(long_prompt + " my card is 4111 1111 1111 1111")).reasons(),
            "gate.personal_data");
  EXPECT_TRUE(held.upstream.requests().empty());
  Script refuses = upstream_words(kParis);
  refuses.refuses = make_error(ErrorCode::kUnavailable, "down");
  Pair down(words(kParis), refuses);
  with_score(down);
  EXPECT_EQ(down.answer(ask(long_prompt)).text, kParisText);
}

// ---- Failures of the upstream

Policy racing_policy() {
  Policy policy = quick_policy();
  policy.race_after_ms = 10;
  return policy;
}

TEST(Router, TheLocalModelAnswersBesideASilentUpstream) {
  Script silent = upstream_words({});
  silent.hangs = true;
  Pair pair(words(kParis), silent, racing_policy());
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.reasons(), "gate.request_upstream upstream.slow");
  EXPECT_EQ(answer.trace().route, "local");
  EXPECT_EQ(pair.upstream.running(), 0);
  EXPECT_EQ(pair.local.running(), 0);
  EXPECT_EQ(pair.router->counters().races, 1u);
  EXPECT_EQ(pair.router->counters().races_won, 1u);
}

TEST(Router, ARaceInMidAnswerGoesOnFromWhatStands) {
  Script silent = upstream_words({});
  silent.hangs = true;
  Pair pair(words(kParis), silent, racing_policy());
  chat::Request request = ask();
  request.routing.escalate_after = 3;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.reasons(), "forced upstream.slow");
  EXPECT_TRUE(answer.switched.empty()) << "nobody saw the upstream";
}

TEST(Router, AnUpstreamThatWritesIsNotRaced) {
  Script slow_end = upstream_words({"The", " capital"});
  slow_end.dies_after = 2;
  Pair pair(words(kParis), slow_end, racing_policy());
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(pair.router->counters().races, 0u);
}

TEST(Router, ALocalModelThatCannotRaceLeavesTheUpstreamAlone) {
  Script silent = upstream_words({});
  silent.hangs = true;
  Script full = words({});
  full.refuses = make_error(ErrorCode::kExhausted, "full");
  Pair pair(full, silent, racing_policy());
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  auto stream = pair.router->start(request);
  ASSERT_TRUE(stream.ok());
  const auto event = (*stream)->next(deadline_after(Milliseconds(60)));
  ASSERT_FALSE(event.ok());
  EXPECT_EQ(event.error().code, ErrorCode::kTimeout);
  EXPECT_EQ(pair.upstream.running(), 1);
  (*stream)->cancel();
  EXPECT_EQ((*stream)->next(kNoDeadline).error().code, ErrorCode::kCancelled);
}

TEST(Router, CancelEndsBothSidesOfARace) {
  Script silent = upstream_words({});
  silent.hangs = true;
  Script mute = words({});
  mute.hangs = true;
  Pair pair(mute, silent, racing_policy());
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  auto stream = pair.router->start(request);
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ((*stream)->next(deadline_after(Milliseconds(60))).error().code, ErrorCode::kTimeout);
  EXPECT_EQ(pair.local.running(), 1);
  (*stream)->cancel();
  EXPECT_EQ((*stream)->next(kNoDeadline).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(pair.local.running(), 0);
  EXPECT_EQ(pair.upstream.running(), 0);
}

TEST(Router, WithoutARaceASilentUpstreamIsWaitedFor) {
  Script silent = upstream_words({});
  silent.hangs = true;
  Policy policy = racing_policy();
  policy.race_after_ms = 0;
  Pair pair(words(kParis), silent, policy);
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  auto stream = pair.router->start(request);
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ((*stream)->next(deadline_after(Milliseconds(40))).error().code, ErrorCode::kTimeout);
  EXPECT_TRUE(pair.local.requests().empty());
}

TEST(Router, UpstreamThatCannotStartLeavesNoMark) {
  Script refusing = upstream_words({});
  refusing.refuses = make_error(ErrorCode::kUnavailable, "connection refused");
  Pair pair(words(kParis), refusing);
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_TRUE(answer.switched.empty());
  EXPECT_EQ(answer.reasons(), "gate.request_upstream upstream.failed local.resumed");
  request = ask();
  request.routing.escalate_after = 3;
  answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.reasons(), "forced upstream.failed");
  EXPECT_EQ(pair.local.requests().size(), 2u);  // in mid-answer the running one just went on
  EXPECT_EQ(pair.router->counters().upstream_failed, 2u);
}

TEST(Router, UpstreamThatDiesInsideAWordIsHealedLocally) {
  Script dying = upstream_words({"The", " capital", " of", " Fra", "nce is", " Pa", "ris."});
  dying.dies_after = 3;  // pieces of its own: " Fra", "nce is", " Pa"
  Pair pair(words(kParis), dying);
  chat::Request request = ask();
  request.routing.escalate_after = 3;
  request.max_tokens = 40;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.segments(), "local:14 cloud:13 local:4");
  EXPECT_EQ(answer.reasons(), "forced upstream.failed local.resumed");
  ASSERT_EQ(answer.switched.size(), 2u);
  EXPECT_EQ(answer.switched[1].reason, "upstream.failed");
  const chat::Request resumed = pair.local.requests()[1];
  EXPECT_EQ(resumed.assistant_prefix, "The capital of France is Pa");
  EXPECT_TRUE(resumed.heal_prefix);
  EXPECT_EQ(resumed.max_tokens, 40 - 6);
  EXPECT_FALSE(resumed.want_confidence);
  EXPECT_EQ(pair.upstream.requests().size(), 1u);
  EXPECT_EQ(pair.router->counters().resumed_local, 1u);
}

TEST(Router, ASwitchAtAWordEndThatFailsNeedsNoHealing) {
  Script dying = upstream_words(kParis);
  dying.dies_after = 0;
  Pair pair(words(kParis), dying);
  chat::Request request = ask();
  request.routing.escalate_after = 2;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_TRUE(answer.switched.empty());
  EXPECT_EQ(answer.segments(), "local:31");
  EXPECT_EQ(pair.local.requests()[1].assistant_prefix, "The capital");
  EXPECT_FALSE(pair.local.requests()[1].heal_prefix);
}

TEST(Router, AnEmptyEndInMidAnswerIsAnEndButNoWholeAnswer) {
  Script empty = upstream_words({});
  Pair pair(words(kParis), empty);
  chat::Request request = ask();
  request.routing.escalate_after = 2;
  Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "The capital");
  EXPECT_TRUE(answer.done);
  EXPECT_EQ(answer.trace().route, "local");
  request = ask();
  request.routing.route = chat::Route::kUpstream;
  answer = pair.answer(request);
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.reasons(), "gate.request_upstream upstream.failed local.resumed");
}

TEST(Router, AStopStringThatTheDeadUpstreamHadHalfSentIsNotDoubled) {
  Script dying = upstream_words({"one", " two E", "ND"});
  dying.dies_after = 2;
  Pair pair(words({"one", " two", " EN", "ough"}), dying);
  chat::Request request = ask();
  request.stop = {"END"};
  request.routing.route = chat::Route::kUpstream;
  EXPECT_EQ(pair.answer(request).text, "one two ENough");
}

TEST(Router, AnUpstreamThatIgnoresStopStringsIsStopped) {
  Pair pair(words({}), upstream_words({"one", " tw", "o ST", "OP three"}));
  chat::Request request = ask();
  request.stop = {"STOP"};
  request.routing.route = chat::Route::kUpstream;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "one two ");
  EXPECT_EQ(answer.done->reason, chat::FinishReason::kStop);
  EXPECT_EQ(pair.upstream.running(), 0);
}

TEST(Router, AStopStringOverABorderEndsTheAnswer) {
  // Local writes " The", the upstream " Danube is": neither sees the stop string whole.
  Pair pair(words({"Rivers:", " The", " Rhine", " flows"}),
            upstream_words({"Rivers: The", " Dan", "ube", " is long"}));
  chat::Request request = ask();
  request.stop = {"The Danube is"};
  request.routing.escalate_after = 2;
  Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "Rivers: ");
  EXPECT_EQ(answer.segments(), "local:8");
  EXPECT_EQ(answer.done->reason, chat::FinishReason::kStop);
  EXPECT_TRUE(answer.switched.empty());
  EXPECT_EQ(pair.local.running() + pair.upstream.running(), 0);
  // Text that only began like one is handed on as its writer's.
  request.stop = {"The Danube was"};
  answer = pair.answer(request);
  EXPECT_EQ(answer.text, "Rivers: The Danube is long");
  EXPECT_EQ(answer.segments(), "local:11 cloud:15");
  ASSERT_EQ(answer.switched.size(), 1u);
  EXPECT_EQ(answer.switched[0].reason, "forced");
}

TEST(Router, AStopStringOverTheBorderBackEndsTheAnswer) {
  Script dying = upstream_words({"one", " two E", "ND"});
  dying.dies_after = 2;
  Pair pair(words({"one", " two E", "ND", " three"}), dying);
  chat::Request request = ask();
  request.stop = {"END"};
  request.routing.route = chat::Route::kUpstream;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "one two ");
  EXPECT_EQ(answer.segments(), "cloud:8");
  EXPECT_EQ(answer.done->reason, chat::FinishReason::kStop);
}

// ---- Failures of the local backend

TEST(Router, LocalThatIsFullGoesUpstreamIfTheGatesAllow) {
  Script full = words({});
  full.refuses = make_error(ErrorCode::kExhausted, "32 requests are waiting");
  Pair pair(full, upstream_words(kParis));
  Answer answer = pair.answer(ask());
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.reasons(), "local.failed");
  chat::Request request = ask();
  request.routing.private_session = true;
  answer = pair.answer(request);
  EXPECT_EQ(answer.error->code, ErrorCode::kExhausted);
  EXPECT_EQ(pair.upstream.requests().size(), 1u);
}

TEST(Router, ARequestThatIsWrongInItselfGoesNowhereElse) {
  Script refusing = words({});
  refusing.refuses = make_error(ErrorCode::kInvalidArgument, "temperature: expected 0 to 2", "temperature");
  Pair pair(refusing, upstream_words(kParis));
  EXPECT_EQ(pair.answer(ask()).error->field, "temperature");
  EXPECT_TRUE(pair.upstream.requests().empty());
}

TEST(Router, LocalThatDiesInMidAnswerIsContinuedUpstream) {
  Script dying = words(kParis);
  dying.dies_after = 4;
  dying.death = make_error(ErrorCode::kInternal, "step failed");
  Pair pair(dying, upstream_words(kParis), quick_policy());
  const Answer answer = pair.answer(ask());
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.segments(), "local:18 cloud:13");
  EXPECT_EQ(answer.switched[0].reason, "local.failed");
}

TEST(Router, OneErrorWhenNobodyCanGoOn) {
  Script local = words(kParis);
  local.dies_after = 4;
  Script upstream = upstream_words(kParis);
  upstream.dies_after = 1;
  Pair pair(local, upstream, quick_policy());
  const Answer answer = pair.answer(ask());  // local dies, upstream dies, local resumes and dies for good
  EXPECT_EQ(answer.error->code, ErrorCode::kUnavailable);
  EXPECT_EQ(std::string(kParisText).find(answer.text), 0u);
  EXPECT_EQ(pair.router->counters().failed, 1u);
  EXPECT_EQ(pair.upstream.requests().size(), 1u);
}

// ---- Gates

TEST(Router, NothingInARequestOverridesThePrivacyGates) {
  for (const bool by_mark : {true, false}) {
    for (const chat::Route route : {chat::Route::kAuto, chat::Route::kLocal, chat::Route::kUpstream}) {
      for (const int escalate_after : {-1, 0, 1, 3}) {
        for (const int local_dies : {-1, 0, 2}) {
          Script local = words(kParis, 0.01f);  // as unsure as can be
          local.dies_after = local_dies;
          Pair pair(local, upstream_words(kParis), quick_policy());
          chat::Request request = ask(by_mark ? "hello" : "my card is 4111 1111 1111 1111");
          request.routing.private_session = by_mark;
          request.routing.route = route;
          if (escalate_after >= 0) request.routing.escalate_after = escalate_after;
          const Answer answer = pair.answer(request);
          EXPECT_TRUE(pair.upstream.requests().empty());
          EXPECT_EQ(pair.router->counters().kept_private, 1u);
          if (local_dies < 0) {
            EXPECT_EQ(answer.text, kParisText);
            EXPECT_EQ(answer.reasons(), by_mark ? "gate.private_session" : "gate.personal_data");
          } else {
            EXPECT_TRUE(answer.error);
          }
        }
      }
    }
  }
}

TEST(Router, OpenGatesOfAPolicyLetItGo) {
  Policy policy;
  policy.privacy.private_sessions_stay_local = false;
  policy.privacy.personal_data_stays_local = false;
  Pair pair(words(kParis), upstream_words(kParis), policy);
  chat::Request request = ask("I am jane@example.com");
  request.routing.private_session = true;
  request.routing.route = chat::Route::kUpstream;
  EXPECT_EQ(pair.answer(request).trace().route, "upstream");
}

TEST(Router, PersonalDataThatTheLocalModelWroteStaysToo) {
  const std::vector<std::string> pieces = {"Write", " to", " jane", "@example.com", " now", "."};
  Pair pair(words(pieces), upstream_words(pieces));
  chat::Request request = ask("Where do I write to?");
  request.routing.escalate_after = 4;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "Write to jane@example.com now.");
  EXPECT_EQ(answer.reasons(), "forced gate.personal_data");
  EXPECT_TRUE(pair.upstream.requests().empty());
}

Policy masking() {
  Policy policy;
  policy.privacy.classes.types[privacy::type_index("EMAIL_ADDRESS")] = "mask";
  return policy;
}

const chat::Step* step_of(const Answer& answer, const std::string& what) {
  const auto& steps = answer.trace().steps;
  const auto found =
      std::find_if(steps.begin(), steps.end(), [&](const auto& step) { return step.what == what; });
  return found == steps.end() ? nullptr : &*found;
}

TEST(Router, WhatIsMaskedLeavesMaskedAndComesBackWhole) {
  Pair pair(words(kParis), upstream_words({"Dear <EM", "AIL_ADD", "RESS_1>", ", hello", " <EMAIL"}),
            masking());
  chat::Request request = ask("I am jane@example.com");
  request.stop = {"jane@example.com,"};  // across the placeholder
  request.routing.route = chat::Route::kUpstream;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.text, "Dear ") << "stop strings end the text that the client sees";
  request.stop.clear();
  const Answer whole = pair.answer(request);
  EXPECT_EQ(whole.text, "Dear jane@example.com, hello ");
  EXPECT_EQ(whole.segments(), "cloud:29");
  EXPECT_EQ(whole.reasons(), "gate.request_upstream");
  const chat::Step* step = step_of(whole, "gate.masked");
  ASSERT_NE(step, nullptr);
  EXPECT_EQ(step->detail, "EMAIL_ADDRESS 1");
  EXPECT_EQ(step->value, 1);
  EXPECT_EQ(pair.upstream.requests().back().messages[0].content, "I am <EMAIL_ADDRESS_1>");
  EXPECT_EQ(pair.router->counters().sent_masked, 2u);
  EXPECT_EQ(pair.router->counters().kept_private, 0u);
}

TEST(Router, InMidAnswerThePrefixIsMaskedToo) {
  const std::vector<std::string> pieces = {"Write", " to", " jane@example.com", " and", " wait", "."};
  // The upstream goes on behind the masked start, and dies inside of a placeholder: the local model goes on.
  for (const bool dies : {false, true}) {
    const auto upstream = [dies](const chat::Request& request) -> Result<FakePlan> {
      EXPECT_EQ(request.assistant_prefix, "Write to <EMAIL_ADDRESS_1> and");
      EXPECT_TRUE(request.assistant_prefix_tokens.empty());
      FakePlan plan;
      plan.events.emplace_back(chat::Event(chat::Started{"cloud", "fake", 7, 2}));
      plan.events.emplace_back(chat::Event(chat::Delta{" wait", {}}));
      plan.events.emplace_back(chat::Event(chat::Delta{dies ? " <EMAIL_AD" : " for <EMAIL_ADDRESS_1>.", {}}));
      if (dies) {
        plan.events.emplace_back(make_error(ErrorCode::kUnavailable, "cut"));
      } else {
        plan.events.emplace_back(chat::Event(chat::Done{}));
      }
      return plan;
    };
    FakeBackend local("local", say(words(pieces), "local")), cloud("cloud", upstream);
    const auto router = Router::create(local, &cloud, masking());
    chat::Request request = ask("I am jane@example.com");
    request.routing.escalate_after = 4;
    const Answer answer = drain(**router->start(request));
    EXPECT_EQ(answer.text, dies ? "Write to jane@example.com and wait "
                                : "Write to jane@example.com and wait for jane@example.com.");
    EXPECT_EQ(cloud.requests().size(), 1u);
  }
}

TEST(Router, RulesKnowWhatWouldBeMasked) {
  Policy policy = masking();
  Rule rule;
  rule.name = "masked stays";
  rule.when.condition = Condition::kPrivacy;
  rule.when.texts = {"masked"};
  rule.use = Strategy::kLocalOnly;
  policy.rules.push_back(rule);
  Pair pair(words(kParis), upstream_words(kParis), policy);
  chat::Request request = ask("I am jane@example.com");
  request.routing.route = chat::Route::kUpstream;
  EXPECT_EQ(pair.answer(request).reasons(), "gate.policy_local");
  request.messages[0].content = "I am Jane";
  EXPECT_EQ(pair.answer(request).reasons(), "gate.request_upstream");
}

TEST(Router, TokenIdsAndClosedDoorsStayLocal) {
  Policy policy;
  policy.privacy.personal_data_stays_local = false;
  Pair pair(words(kParis, 0.01f), upstream_words(kParis), policy);
  chat::Request tokens;
  tokens.raw = true;
  tokens.prompt_tokens = {1, 2};
  tokens.routing.route = chat::Route::kUpstream;
  EXPECT_EQ(pair.answer(tokens).reasons(), "gate.upstream_cannot_read");
  pair.upstream.set_state({false, "breaker_open", 0, 0});
  const Answer closed = pair.answer(ask());
  EXPECT_EQ(closed.reasons(), "gate.upstream_unavailable");
  EXPECT_EQ(closed.trace().steps[0].detail, "breaker_open");
  EXPECT_FALSE(pair.local.requests().back().want_confidence);
  policy.offline = true;
  Pair offline(words(kParis, 0.01f), upstream_words(kParis), policy);
  EXPECT_EQ(offline.answer(ask()).reasons(), "gate.offline");
  EXPECT_TRUE(pair.upstream.requests().empty());
  EXPECT_TRUE(offline.upstream.requests().empty());
  FakeBackend local("local", say(words(kParis), "local"));
  auto alone = Router::create(local, nullptr, {});
  EXPECT_EQ(drain(**alone->start(ask())).reasons(), "gate.no_upstream");
}

TEST(Router, ABreakerThatOpensInMidAnswerKeepsItLocal) {
  FakeBackend upstream("cloud", say(upstream_words(kParis), "cloud"));
  FakeBackend local("local", [&upstream](const chat::Request& request) -> Result<FakePlan> {
    upstream.set_state({false, "breaker_open", 0, 0});
    return say(words(kParis), "local")(request);
  });
  auto router = Router::create(local, &upstream, {});
  chat::Request request = ask();
  request.routing.escalate_after = 2;
  const Answer answer = drain(**router->start(request));
  EXPECT_EQ(answer.text, kParisText);
  EXPECT_EQ(answer.reasons(), "forced upstream.unavailable");
}

TEST(Router, DraftsAreReported) {
  Script local = words(kParis);
  local.usage.draft_tokens = 6;
  local.usage.draft_tokens_accepted = 4;
  Pair pair(local, upstream_words({"no"}));
  const Answer answer = pair.answer(ask());
  EXPECT_EQ(answer.done->usage.draft_tokens, 6);
  EXPECT_EQ(answer.done->usage.draft_tokens_accepted, 4);
}

TEST(Router, BudgetIsReservedSettledAndKeptAcrossARestart) {
  Policy policy;
  policy.upstream_tokens_per_day = 1000;
  Script upstream = upstream_words(kParis);
  upstream.usage = {30, 0, 9, 0, 0};
  Pair pair(words(kParis), upstream, policy);
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  // Without a limit of its own it could take 4096 tokens, which do not fit.
  EXPECT_EQ(pair.answer(request).reasons(), "gate.over_budget");
  request.max_tokens = 100;
  Answer answer = pair.answer(request);
  EXPECT_EQ(answer.trace().upstream_tokens, 39);
  EXPECT_EQ(pair.router->counters().upstream_tokens_today, 39);
  pair.router->seed_upstream_today(900, "");
  EXPECT_EQ(pair.answer(request).reasons(), "gate.over_budget");
  EXPECT_EQ(pair.upstream.requests().size(), 1u);
}

TEST(Router, AnUpstreamThatReportsMoreThanItCouldUseDoesNotBreakTheBudget) {
  Policy policy;
  policy.upstream_tokens_per_day = 1000;
  Script upstream = upstream_words(kParis);
  upstream.usage = {30, 0, 5000, 0, 0};
  Pair pair(words(kParis), upstream, policy);
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  request.max_tokens = 100;
  const Answer answer = pair.answer(request);
  EXPECT_EQ(answer.trace().upstream_tokens, 1000);
  const chat::Step& step = answer.trace().steps.back();
  EXPECT_EQ(step.what, "budget.overbilled");
  EXPECT_EQ(step.value, 5030);
  const Account device = pair.router->accounts().at(0);
  EXPECT_EQ(device.used.tokens, 1000);
  EXPECT_EQ(device.beyond.tokens, 4030);
  EXPECT_EQ(pair.router->counters().upstream_overbilled, 1u);
  EXPECT_EQ(pair.answer(request).reasons(), "gate.over_budget");
  EXPECT_EQ(pair.upstream.requests().size(), 1u);

  // Without a limit the request carried none, so that nothing was promised.
  Pair open(words(kParis), upstream);
  EXPECT_EQ(open.answer(request).trace().upstream_tokens, 5030);
  EXPECT_EQ(open.router->counters().upstream_overbilled, 0u);
}

// ---- Time and cancelling

TEST(Router, HeldTokensGoOutAfterTheHoldTimeAndDeadlinesAreKept) {
  Policy policy;
  policy.confidence.first_tokens = 8;
  policy.confidence.first_hold_ms = 40;
  Script slow = words({"Slow"});
  slow.hangs = true;
  Pair pair(slow, upstream_words(kParis), policy);
  auto stream = pair.router->start(ask()).value();
  const auto start = SteadyClock::now();
  Result<chat::Event> early = stream->next(start + Milliseconds(5));
  ASSERT_FALSE(early.ok());
  EXPECT_EQ(early.error().code, ErrorCode::kTimeout);
  Result<chat::Event> started = stream->next(kNoDeadline);
  ASSERT_TRUE(started.ok());
  EXPECT_TRUE(std::holds_alternative<chat::Started>(*started));
  EXPECT_GE(SteadyClock::now() - start, Milliseconds(40));
  Result<chat::Event> text = stream->next(kNoDeadline);
  EXPECT_EQ(std::get<chat::Delta>(*text).text, "Slow");
}

TEST(Router, CancelFromAnotherThreadWakesTheReader) {
  for (const bool upstream_runs : {false, true}) {
    Script hanging = words({"a", " b"});
    hanging.hangs = true;
    Pair pair(hanging, hanging);
    chat::Request request = ask();
    if (upstream_runs) request.routing.route = chat::Route::kUpstream;
    auto stream = pair.router->start(request).value();
    std::thread canceller([&] { stream->cancel(); });
    for (;;) {
      Result<chat::Event> event = stream->next(kNoDeadline);
      if (event.ok()) continue;
      EXPECT_EQ(event.error().code, ErrorCode::kCancelled);
      break;
    }
    canceller.join();
    EXPECT_EQ(pair.local.running() + pair.upstream.running(), 0);
    EXPECT_EQ(pair.router->counters().cancelled, 1u);
    EXPECT_EQ(stream->next(kNoDeadline).error().code, ErrorCode::kCancelled);
  }
}

TEST(Router, AnAnswerThatIsBrokenOffSaysWhatItCost) {
  Script hanging = upstream_words(kParis);
  hanging.hangs = true;
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  for (const int events : {0, 1, 3}) {
    Pair pair(words(kParis), hanging);
    auto stream = pair.router->start(request).value();
    for (int i = 0; i < events; ++i) ASSERT_TRUE(stream->next(kNoDeadline).ok());
    EXPECT_FALSE(stream->trace()) << "it goes on";
    stream->cancel();
    EXPECT_FALSE(stream->next(kNoDeadline).ok());
    const auto trace = stream->trace();
    ASSERT_TRUE(trace);
    EXPECT_GT(trace->upstream_tokens, 0) << events;
    EXPECT_EQ(trace->upstream_tokens, pair.router->counters().upstream_tokens_today);
    EXPECT_EQ(trace->reasons, std::vector<std::string>{"gate.request_upstream"});
  }
  // Done is ready behind what the stop filter held, but nobody takes it any more.
  Pair pair(words(kParis), upstream_words({"Paris!"}));
  request.stop = {"!!"};
  auto stream = pair.router->start(request).value();
  while (pair.upstream.running() > 0) ASSERT_TRUE(stream->next(kNoDeadline).ok());
  stream->cancel();
  EXPECT_FALSE(stream->next(kNoDeadline).ok());
  EXPECT_EQ(stream->trace()->upstream_tokens, pair.router->counters().upstream_tokens_today);
}

TEST(Router, CancelAtEveryPointEndsEverything) {
  for (int point = 0; point < 14; ++point) {
    for (const bool dies : {false, true}) {
      Script upstream = upstream_words(kParis);
      upstream.dies_after = dies ? 2 : -1;
      Pair pair(words(kParis), upstream);
      chat::Request request = ask();
      request.routing.escalate_after = 3;
      auto stream = pair.router->start(request).value();
      bool ended = false;
      for (int i = 0; i < point && !ended; ++i) {
        Result<chat::Event> event = stream->next(kNoDeadline);
        ended = !event.ok() || std::holds_alternative<chat::Done>(*event);
      }
      stream->cancel();
      EXPECT_EQ(stream->next(kNoDeadline).error().code, ErrorCode::kCancelled);
      EXPECT_EQ(pair.local.running() + pair.upstream.running(), 0);
    }
  }
}

TEST(Router, ConcurrentAnswersAndCancelsLeaveNothingRunning) {
  Script dying = upstream_words(kParis);
  dying.dies_after = 2;
  Pair pair(words(kParis), dying, quick_policy());
  constexpr int kThreads = 4;
  constexpr int kAnswers = 60;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&pair, t] {
      for (int i = 0; i < kAnswers; ++i) {
        chat::Request request = ask();
        request.routing.escalate_after = i % 5;
        auto stream = pair.router->start(request).value();
        std::thread canceller;
        if ((i + t) % 2 == 0) canceller = std::thread([&stream] { stream->cancel(); });
        std::string text;
        bool done = false;
        for (;;) {
          Result<chat::Event> event = stream->next(kNoDeadline);
          if (!event.ok()) break;
          if (auto* delta = std::get_if<chat::Delta>(&*event)) text += delta->text;
          done = done || std::holds_alternative<chat::Done>(*event);
        }
        if (canceller.joinable()) canceller.join();
        EXPECT_EQ(std::string(kParisText).compare(0, text.size(), text), 0);
        EXPECT_TRUE(!done || text == kParisText);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pair.local.running() + pair.upstream.running(), 0);
  const Counters counters = pair.router->counters();
  EXPECT_EQ(counters.local + counters.upstream + counters.mixed + counters.failed + counters.cancelled,
            static_cast<uint64_t>(kThreads * kAnswers));
}

TEST(Router, ABudgetHoldsUnder64ConcurrentStreams) {
  Policy policy;
  policy.upstream_tokens_per_day = 3000;
  Script upstream = upstream_words(kParis);
  upstream.usage = {50, 0, 20, 0, 0};
  Pair pair(words(kParis), upstream, policy);
  std::vector<std::unique_ptr<chat::Stream>> streams;
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  request.max_tokens = 20;
  for (int i = 0; i < 64; ++i) streams.push_back(pair.router->start(request).value());
  std::vector<std::thread> threads;
  for (auto& stream : streams) threads.emplace_back([&stream] { drain(*stream); });
  for (std::thread& thread : threads) thread.join();
  const auto started = static_cast<int64_t>(pair.upstream.requests().size());
  EXPECT_GT(started, 5);
  EXPECT_LT(started, 64);
  EXPECT_EQ(pair.router->counters().upstream_tokens_today, 70 * started);
  EXPECT_LE(pair.router->counters().upstream_tokens_today, 3000);
}

TEST(Router, AStreamThatIsDroppedCancels) {
  Pair pair(words(kParis), upstream_words(kParis));
  {
    auto stream = pair.router->start(ask()).value();
    EXPECT_EQ(pair.local.running(), 1);
  }
  EXPECT_EQ(pair.local.running(), 0);
  EXPECT_EQ(pair.router->counters().cancelled, 1u);
}

// ---- Strategies of the policy

Policy policy_using(const char* use) {
  Policy policy;
  policy.use = use;
  return policy;
}

TEST(Strategies, UpstreamFirstFallsBackToTheLocalModel) {
  Pair pair(words(kParis), upstream_words({"Paris", "."}), policy_using("upstream-first"));
  const Answer answer = pair.answer(ask());
  EXPECT_EQ(answer.text, "Paris.");
  EXPECT_EQ(answer.reasons(), "policy.upstream_first");
  EXPECT_TRUE(pair.local.requests().empty());
  Script broken = upstream_words({"Paris"});
  broken.dies_after = 0;
  Pair other(words(kParis), broken, policy_using("upstream-first"));
  EXPECT_EQ(other.answer(ask()).text, kParisText);
}

TEST(Strategies, LocalOnlyNeverAsksTheUpstream) {
  Script dies = words(kParis, 0.01f);
  dies.dies_after = 2;
  Pair pair(dies, upstream_words({"no"}), policy_using("local-only"));
  EXPECT_TRUE(pair.answer(ask()).error.has_value());
  EXPECT_TRUE(pair.upstream.requests().empty());
}

TEST(Strategies, TheFormulasTermsStandInTheTrace) {
  Policy policy = policy_using("cheapest-sufficient");
  policy.prices.value_per_answer = 1;
  policy.prices.upstream_out = 10;
  Environment environment;
  environment.gain = [](const chat::Request&) { return GainEstimate{0.5, "test"}; };
  FakeBackend local("local", say(words(kParis), "local"));
  FakeBackend upstream("cloud", say(upstream_words({"Paris."}), "cloud"));
  auto router = Router::create(local, &upstream, policy, environment);
  const Answer answer = drain(**router->start(ask()));
  EXPECT_EQ(answer.text, "Paris.");
  EXPECT_EQ(answer.reasons(), "formula.net");
  std::set<std::string> steps;
  for (const chat::Step& step : answer.trace().steps) steps.insert(step.what);
  for (const std::string_view term : kTermNames)
    EXPECT_TRUE(steps.count("formula." + std::string(term))) << term;
  EXPECT_TRUE(steps.count("predicted.local_ms") && steps.count("predicted.upstream_ms"));
  EXPECT_GT(answer.trace().upstream_nanos, 0);
  // The same, worthless: it stays here, and the confidence rule goes on judging.
  policy.prices.value_per_answer = 0;
  policy.prices.price_per_second = 0;
  auto other = Router::create(local, &upstream, policy, environment);
  EXPECT_EQ(drain(**other->start(ask())).reasons(), "confidence.ok");
}

TEST(Race, TheFirstWithTextGoesOnAndTheOtherIsCancelled) {
  Script hangs = words({});
  hangs.hangs = true;
  {
    Pair pair(hangs, upstream_words({"Paris", "."}), policy_using("race"));
    const Answer answer = pair.answer(ask());
    EXPECT_EQ(answer.text, "Paris.");
    EXPECT_EQ(answer.segments(), "cloud:6");
    EXPECT_EQ(answer.reasons(), "policy.race");
    EXPECT_TRUE(answer.switched.empty());
    EXPECT_EQ(pair.local.running(), 0);
    EXPECT_EQ(pair.router->counters().races_won, 0u);
  }
  Pair pair(words({" ", "Paris", "."}), hangs, policy_using("race"));
  const Answer answer = pair.answer(ask());
  EXPECT_EQ(answer.text, " Paris.");
  EXPECT_EQ(answer.segments(), "local:7");
  EXPECT_EQ(pair.upstream.running(), 0);
  EXPECT_EQ(pair.router->counters().races_won, 1u);
  EXPECT_EQ(answer.trace().upstream_tokens, prompt_tokens_max(ask())) << "the loser may have read the prompt";
}

// Several upstreams as one, of which up to `losers` have read the prompt in vain.
FakeBackend::Plan with_losers(int losers, bool hangs) {
  return [=](const chat::Request& request) -> Result<FakePlan> {
    Script script = upstream_words(hangs ? std::vector<std::string>{} : std::vector<std::string>{"Paris."});
    script.hangs = hangs;
    Result<FakePlan> plan = say(script, "cloud")(request);
    if (plan.ok()) plan->losers = losers;
    return plan;
  };
}

TEST(Race, UpstreamsThatLostAreChargedTheirPromptAndReservedFor) {
  const int64_t prompt = prompt_tokens_max(ask());
  chat::Request request = ask();
  request.max_tokens = 10;
  for (const int losers : {0, 1, 2}) {
    SCOPED_TRACE(losers);
    Policy policy = policy_using("upstream-first");
    policy.upstream_tokens_per_day = 3 * prompt + 10;
    FakeBackend local("local", say(words(kParis), "local"));
    FakeBackend upstream("cloud", with_losers(losers, false));
    upstream.set_losers_max(2);
    auto router = Router::create(local, &upstream, policy);
    const Answer answer = drain(**router->start(request));
    EXPECT_EQ(answer.text, "Paris.");
    FakeBackend alone("cloud", with_losers(0, false));
    auto plain = Router::create(local, &alone, policy);
    const int64_t own = drain(**plain->start(request)).trace().upstream_tokens;
    EXPECT_EQ(answer.trace().upstream_tokens, own + losers * prompt);
    EXPECT_EQ(router->counters().upstream_tokens_today, own + losers * prompt);

    // One token less than everybody's bound: nothing is sent.
    policy.upstream_tokens_per_day = 3 * prompt + 9;
    FakeBackend unasked("cloud", with_losers(losers, false));
    unasked.set_losers_max(2);
    auto poor = Router::create(local, &unasked, policy);
    EXPECT_EQ(drain(**poor->start(request)).reasons(), "gate.over_budget");
    EXPECT_TRUE(unasked.requests().empty());
  }
  // The local model has text first: both upstreams lose.
  FakeBackend local("local", say(words(kParis), "local"));
  FakeBackend upstream("cloud", with_losers(1, true));
  upstream.set_losers_max(1);
  auto router = Router::create(local, &upstream, policy_using("race"));
  EXPECT_EQ(drain(**router->start(ask())).trace().upstream_tokens, 2 * prompt);
}

TEST(Race, AnAnswerThatIsGivenUpBeforeItsFirstTextIsChargedItsPrompt) {
  FakeBackend local("local", say(words(kParis), "local"));
  FakeBackend upstream("cloud", with_losers(1, true));
  upstream.set_losers_max(1);
  auto router = Router::create(local, &upstream, policy_using("upstream-first"));
  { auto stream = router->start(ask()).value(); }
  EXPECT_EQ(router->counters().upstream_tokens_today, 2 * prompt_tokens_max(ask()));
}

TEST(Race, TheLoserIsCancelledWithinFiftyMilliseconds) {
  Script hangs = words({});
  hangs.hangs = true;
  for (const bool local_wins : {true, false}) {
    Pair pair(local_wins ? words({"Paris", "."}) : hangs, local_wins ? hangs : upstream_words({"Paris", "."}),
              policy_using("race"));
    auto stream = pair.router->start(ask()).value();
    while (!std::holds_alternative<chat::Delta>(stream->next(kNoDeadline).value())) {
    }
    const auto won_at = SteadyClock::now();
    FakeBackend& loser = local_wins ? pair.upstream : pair.local;
    while (loser.running() > 0 && seconds_since(won_at) < 1) std::this_thread::yield();
    EXPECT_LT(seconds_since(won_at), 0.05);
    drain_rest(*stream);
  }
}

TEST(Race, ASideThatFailsLeavesItToTheOther) {
  const std::vector<std::string> kAnswer = {"Paris", "."};
  Script refused = upstream_words({});
  refused.refuses = make_error(ErrorCode::kUnavailable, "down");
  Script dies = upstream_words({"x"});
  dies.dies_after = 0;
  const Script empty = upstream_words({});
  for (const Script& broken : {refused, dies, empty}) {
    Pair upstream_broken(words(kAnswer), broken, policy_using("race"));
    EXPECT_EQ(upstream_broken.answer(ask()).text, "Paris.");
    Pair local_broken(broken, upstream_words(kAnswer), policy_using("race"));
    EXPECT_EQ(local_broken.answer(ask()).text, "Paris.");
  }
  Pair both(refused, refused, policy_using("race"));
  EXPECT_TRUE(both.answer(ask()).error.has_value());
  Pair both_die(dies, dies, policy_using("race"));
  EXPECT_TRUE(both_die.answer(ask()).error.has_value());
}

TEST(Race, DeadlinesAreKeptAndBothAreCancelled) {
  Script hangs = words({});
  hangs.hangs = true;
  Pair pair(hangs, hangs, policy_using("race"));
  auto stream = pair.router->start(ask()).value();
  EXPECT_EQ(stream->next(deadline_after(Milliseconds(10))).error().code, ErrorCode::kTimeout);
  EXPECT_EQ(pair.local.running() + pair.upstream.running(), 2);
  stream->cancel();
  EXPECT_EQ(stream->next(kNoDeadline).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(pair.local.running() + pair.upstream.running(), 0);
}

TEST(Race, PrivatePromptsDoNotRace) {
  Pair pair(words(kParis), upstream_words({"no"}), policy_using("race"));
  EXPECT_EQ(pair.answer(ask("Write to jane@example.com")).segments(), "local:31");
  EXPECT_TRUE(pair.upstream.requests().empty());
}

TEST(Learning, TheBiasIsATermAndTheUsersOwnEscalationsVote) {
  Policy policy = policy_using("cheapest-sufficient");
  policy.gain_prior = 0;
  policy.prices.price_per_second = 0;
  policy.prices.local_watts = 0;
  policy.prices.upstream_out = 1;
  double bias = -1;
  std::vector<std::string> votes;
  Environment environment;
  environment.bias = [&](size_t) { return bias; };
  environment.learn = [&](const std::string& id, size_t kind, double vote) {
    votes.push_back(id + " " + kind_name(kind) + " " + std::to_string(vote));
  };
  FakeBackend local("local", say(words(kParis), "local"));
  FakeBackend upstream("cloud", say(upstream_words({"Paris."}), "cloud"));
  auto router = Router::create(local, &upstream, policy, environment);
  EXPECT_EQ(drain(**router->start(ask())).segments(), "local:31");
  bias = 1;
  EXPECT_EQ(drain(**router->start(ask())).reasons(), "formula.net");
  EXPECT_EQ(drain(**router->start(ask("Write to jane@example.com"))).reasons(), "gate.personal_data");
  chat::Request request = ask();
  request.routing.route = chat::Route::kUpstream;
  drain(**router->start(request));
  EXPECT_TRUE(votes.empty()) << "there was no answer yet that was not enough";
  request.messages.push_back({chat::Role::kAssistant, "Lyon.", ""});
  request.messages.push_back({chat::Role::kUser, "Really?", ""});
  drain(**router->start(request));
  EXPECT_EQ(votes, std::vector<std::string>{"hd-1 question, short 1.000000"});
}

TEST(Tenants, HaveBudgetsOfTheirOwn) {
  Policy policy = policy_using("upstream-first");
  policy.prices.upstream_in = policy.prices.upstream_out = 1;
  policy.tenants = {{"poor", 0, 0.0002, {}}, {"rich", 0, 0, {}}};
  policy.upstream_answer_tokens_max = 50;
  Script upstream = upstream_words({"Paris."});
  upstream.usage = {100, 0, 50, 0, 0};  // 0.00015
  Pair pair(words(kParis), upstream, policy);
  chat::Request request = ask("Hi there");
  request.routing.tenant = "poor";
  Answer answer = pair.answer(request);
  EXPECT_EQ(answer.segments(), "cloud:6");
  EXPECT_EQ(answer.trace().tenant, "poor");
  EXPECT_EQ(answer.trace().upstream_nanos, 150'000);
  const chat::Fact& prompts =
      *std::find_if(answer.trace().facts.begin(), answer.trace().facts.end(),
                    [](const chat::Fact& fact) { return fact.name == kUpstreamPromptFact; });
  EXPECT_EQ(prompts.number, 100);
  EXPECT_EQ(pair.answer(request).reasons(), "gate.over_budget");
  request.routing.tenant = "rich";
  EXPECT_EQ(pair.answer(request).segments(), "cloud:6");
  EXPECT_EQ(pair.router->counters().upstream_nanos_today, 300'000);
}

}  // namespace
}  // namespace hedge::route
