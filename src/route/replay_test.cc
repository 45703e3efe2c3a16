#include "route/replay.h"

#include <gtest/gtest.h>

#include "route/situation.h"

namespace hedge::route {
namespace {

constexpr int64_t kDayMs = 86'400'000;

chat::Trace recorded(const char* route, std::vector<std::string> reasons, int64_t upstream_tokens = 0) {
  chat::Request request;
  request.messages = {{chat::Role::kUser, std::string(400, 'a'), ""}};
  Situation situation = situation_of(request, Privacy::kClean);
  situation.facts.has_upstream = situation.facts.upstream_available = true;
  situation.gain.value = 0.3;
  chat::Trace trace;
  trace.route = route;
  trace.reasons = std::move(reasons);
  trace.upstream_tokens = upstream_tokens;
  trace.created_ms = 20000 * kDayMs;
  trace.facts = facts_of(situation);
  trace.facts.push_back({"answer_tokens", "", 50, false});
  return trace;
}

TEST(Replay, TheSamePolicyChangesNothing) {
  Policy policy;
  for (const chat::Trace& trace :
       {recorded("local", {"confidence.ok"}), recorded("mixed", {"confidence.mid"}, 90),
        recorded("upstream", {"confidence.first"}, 160), recorded("upstream", {"forced"}, 160)}) {
    Replay replay(policy);
    const Replayed again = replay.decide(trace);
    EXPECT_TRUE(again.has_facts);
    EXPECT_EQ(again.route, trace.route);
    EXPECT_EQ(again.tokens, trace.upstream_tokens);
  }
}

TEST(Replay, AnotherPolicyChangesRouteAndCost) {
  Policy policy;
  policy.use = "upstream-first";
  policy.prices.upstream_in = policy.prices.upstream_out = 2;
  EXPECT_EQ(Replay(policy).decide(recorded("local", {"confidence.ok"})).route, "upstream");
  EXPECT_EQ(Replay(policy).decide(recorded("local", {"confidence.ok"})).nanos, 150 * 2000);
  policy.use = "local-only";
  EXPECT_EQ(Replay(policy).decide(recorded("mixed", {"confidence.mid"}, 90)).route, "local");
  EXPECT_EQ(Replay(policy).decide(recorded("mixed", {"confidence.mid"}, 90)).nanos, 0);
  EXPECT_EQ(Replay(policy).decide(recorded("local", {"policy.race"}, 110)).tokens, 0)
      << "a race that was lost";
  policy.use = "local-first";
  EXPECT_EQ(Replay(policy).decide(recorded("upstream", {"policy.upstream_first"}, 90)).route, "local");
}

TEST(Replay, TheRecordedMoneyIsWhatTheRouterNoted) {
  Prices prices;
  prices.upstream_in = 1;
  prices.upstream_out = 4;
  chat::Trace trace = recorded("upstream", {"forced"}, 190);
  trace.upstream_nanos = cost_nanos(prices, 140, 50);  // the endpoint's template is longer than the estimate
  EXPECT_GT(recorded_nanos(trace, prices), trace.upstream_nanos) << "an older program's: the estimate is 100";
  trace.facts.push_back({kUpstreamPromptFact, "", 140, false});
  EXPECT_EQ(recorded_nanos(trace, prices), trace.upstream_nanos);
}

TEST(Replay, BudgetsAreFollowedByDay) {
  Policy policy;
  policy.use = "upstream-first";
  policy.upstream_tokens_per_day = 310;
  Replay replay(policy);
  chat::Trace trace = recorded("local", {"confidence.ok"});
  EXPECT_EQ(replay.decide(trace).route, "upstream");
  EXPECT_EQ(replay.decide(trace).route, "upstream");
  EXPECT_EQ(replay.decide(trace).why, "gate.over_budget");
  trace.created_ms += kDayMs;
  EXPECT_EQ(replay.decide(trace).route, "upstream");
}

TEST(Replay, TracesOfAnOlderProgramAreLeftOut) {
  const Policy policy;
  Replay replay(policy);
  EXPECT_FALSE(replay.decide(chat::Trace{}).has_facts);
}

}  // namespace
}  // namespace hedge::route
