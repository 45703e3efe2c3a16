// The decision before an answer: strategies, formula, facts that come back. And that taking it allocates
// nothing.
#include "route/decision.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "route/situation.h"
#include "tests/support/allocations.h"  // counted in probe_test.cc

namespace hedge::route {
namespace {

Situation open_situation() {
  Situation situation;
  situation.facts.has_upstream = true;
  situation.facts.upstream_available = true;
  situation.load.prompt_tokens = 100;
  return situation;
}

Policy using_strategy(const char* use) {
  Policy policy;
  policy.use = use;
  return policy;
}

TEST(Plan, EveryStrategyBegins) {
  Situation situation = open_situation();
  const auto plan = [&](const char* use) { return make_plan(situation, using_strategy(use)); };
  EXPECT_EQ(plan("local-only").gate->name, "gate.policy_local");
  EXPECT_FALSE(plan("local-only").may_go_upstream);
  EXPECT_EQ(plan("local-first").begin, Begin::kLocal);
  EXPECT_TRUE(plan("local-first").may_go_upstream);
  EXPECT_EQ(plan("upstream-first").begin, Begin::kUpstream);
  EXPECT_EQ(plan("race").begin, Begin::kRace);
  EXPECT_EQ(plan("no such strategy").gate->name, "gate.policy_local");
}

TEST(Plan, NoRuleTenantOrBiasOpensAGate) {
  Policy policy;
  policy.prices.value_per_answer = 1000;
  policy.tenants = {{"t", 0, 0, Strategy::kUpstreamFirst}};
  for (const Strategy use : {Strategy::kUpstreamFirst, Strategy::kRace, Strategy::kCheapestSufficient,
                             Strategy::kDeadline, Strategy::kLocalFirst}) {
    policy.rules = {{"greedy", {}, use, 1.0, 1e6}};
    for (int bits = 0; bits < 1 << 5; ++bits) {
      for (const Privacy privacy : {Privacy::kClean, Privacy::kFound, Privacy::kUnjudged}) {
        const auto bit = [bits](int i) { return (bits >> i & 1) != 0; };
        Situation situation = open_situation();
        situation.gain.value = 1;
        situation.bias = 1;
        situation.rule.tenant = "t";
        situation.facts.private_session = bit(0);
        situation.facts.has_upstream = bit(1);
        situation.facts.upstream_available = bit(2);
        situation.facts.budget_left = bit(3);
        situation.facts.asked = bit(4) ? chat::Route::kLocal : chat::Route::kAuto;
        situation.facts.privacy = privacy;
        const bool closed = bit(0) || !bit(1) || !bit(2) || !bit(3) || bit(4) || privacy != Privacy::kClean;
        const Plan plan = make_plan(situation, policy);
        EXPECT_EQ(plan.may_go_upstream, !closed);
        if (closed) {
          EXPECT_EQ(plan.begin, Begin::kLocal);
        }
      }
    }
  }
}

TEST(Plan, ARuleStandsAboveTheTenantAndTheTenantAboveTheDefault) {
  Policy policy = using_strategy("local-first");
  policy.tenants = {{"office", 0, 0, Strategy::kUpstreamFirst}};
  Situation situation = open_situation();
  EXPECT_EQ(make_plan(situation, policy).strategy, Strategy::kLocalFirst);
  situation.rule.tenant = "office";
  EXPECT_EQ(make_plan(situation, policy).strategy, Strategy::kUpstreamFirst);
  Rule rule{"long", {}, Strategy::kLocalOnly, {}, {}};
  rule.when.condition = Condition::kTokensAbove;
  rule.when.number = 1000;
  policy.rules = {rule};
  EXPECT_EQ(make_plan(situation, policy).rule, nullptr);
  situation.rule.prompt_tokens = 1001;
  EXPECT_EQ(make_plan(situation, policy).rule->name, "long");
  EXPECT_EQ(make_plan(situation, policy).gate->name, "gate.policy_local");
  // Nor does a request that wants the upstream get past it.
  situation.facts.asked = chat::Route::kUpstream;
  EXPECT_EQ(make_plan(situation, policy).gate->name, "gate.policy_local");
}

// The formula written down a second time, from its description.
TEST(Formula, CountsTheEnergyOfBothSidesAndOfTheWay) {
  Prediction prediction;
  prediction.prompt_tokens = 1000;
  prediction.answer_tokens = 100;
  prediction.local_ms = 10'000;
  prediction.upstream_ms = 2000;
  Prices prices;
  prices.energy_price_kwh = 0.5;
  prices.local_watts = 36;
  const auto energy = [&] {
    return cost_terms(prediction, prices, 0, 0, false)[static_cast<size_t>(Term::kEnergy)];
  };
  EXPECT_NEAR(energy(), 0.5 * 1e-4, 1e-15);  // 360 J
  prices.upstream_watts = 360;
  EXPECT_NEAR(energy(), 0.5 * (1e-4 - 2e-4), 1e-15);  // 720 J there
  prices.upstream_watts = 0;
  prices.network_kwh_per_gb = 1;
  EXPECT_NEAR(energy(), 0.5 * (1e-4 - 29'000e-9), 1e-15);  // 4 kB up, 25 kB down
}

TEST(Formula, WeighsGainAgainstMoneyTimeEnergyAndSwitch) {
  Policy policy = using_strategy("cheapest-sufficient");
  policy.prices = {0.02, 0.001, 0.25, 20, 0.0003, 3, 15};
  Situation s = open_situation();
  s.gain.value = 0.3;
  s.bias = 0.9;  // held to bias_max
  s.conversation_begun = true;
  s.load = {1000, 200, 2, 3};
  s.speeds = {100, 10, 500, 40, 100, 1, 1};
  const Plan plan = make_plan(s, policy);
  const double local_s = 3 * 10.0 / 2 + 1000 / 100.0 + 100 / 10.0;
  const double upstream_s = 0.5 + 100 / 40.0;
  EXPECT_NEAR(plan.prediction.local_ms, local_s * 1000, 1e-6);
  EXPECT_NEAR(plan.prediction.upstream_ms, upstream_s * 1000, 1e-6);
  const double expected[] = {0.3 * 0.02,
                             0.2 * 0.02,
                             -(1000 * 3 + 100 * 15) / 1e6,
                             -0.001 * (upstream_s - local_s),
                             0.25 * 20 * local_s / 3.6e6,
                             -0.0003};
  double sum = 0;
  for (size_t i = 0; i < plan.terms.size(); ++i) {
    EXPECT_NEAR(plan.terms[i], expected[i], 1e-12) << kTermNames[i];
    sum += expected[i];
  }
  EXPECT_NEAR(plan.net, sum, 1e-12);
  EXPECT_EQ(plan.begin, Begin::kUpstream);
  EXPECT_TRUE(plan.weighed);
  policy.prices.upstream_out = 500;
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kLocal);
  policy.prices.upstream_out = 15;
  s.gain.value = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kLocal) << "no number is no reason";
}

TEST(Formula, ARuleMayValueItsAnswersOtherwise) {
  Policy policy = using_strategy("local-first");
  policy.prices.price_per_second = 0;
  policy.prices.upstream_in = policy.prices.upstream_out = 10;
  Situation s = open_situation();
  s.gain.value = 0.1;
  policy.rules = {{"cheap", {}, Strategy::kCheapestSufficient, {}, 0.0001}};
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kLocal);
  policy.rules[0].value_per_answer = 10;
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kUpstream);
}

TEST(Deadline, WhoeverIsPredictedToMeetIt) {
  Policy policy = using_strategy("deadline");
  Situation s = open_situation();
  s.load = {0, 100, 0, 0};
  s.speeds = {100, 50, 500, 100, 100, 1, 1};  // 2 s here, 1.5 s there
  policy.deadline_ms = 2500;
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kLocal);
  policy.deadline_ms = 1800;
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kUpstream);
  policy.deadline_ms = 100;
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kUpstream) << "nobody meets it: the sooner one";
  s.speeds.upstream_first_ms = 5000;
  EXPECT_EQ(make_plan(s, policy).begin, Begin::kLocal);
}

TEST(Predictor, FoldsWhatWasMeasured) {
  Predictor predictor;
  chat::Usage usage;
  usage.prompt_tokens = 120;
  usage.cached_tokens = 20;
  usage.prefill_ms = 500;
  usage.completion_tokens = 30;
  usage.decode_ms = 1000;
  predictor.observe_local(usage);
  EXPECT_NEAR(predictor.speeds().local_prefill_tps, 200, 1e-9);
  EXPECT_NEAR(predictor.speeds().local_decode_tps, 30, 1e-9);
  EXPECT_NEAR(predictor.speeds().answer_tokens, 30, 1e-9);
  usage.decode_ms = 500;
  predictor.observe_local(usage);
  EXPECT_NEAR(predictor.speeds().local_decode_tps, 30 + 0.25 * 30, 1e-9);
  predictor.observe_first_text(250);
  predictor.observe_upstream(1000, 41);
  EXPECT_NEAR(predictor.speeds().upstream_first_ms, 250, 1e-9);
  EXPECT_NEAR(predictor.speeds().upstream_decode_tps, 40, 1e-9);
  predictor.observe_local({});  // tells nothing
  predictor.observe_first_text(std::nan(""));
  predictor.observe_upstream(-1, 0);
  EXPECT_NEAR(predictor.speeds().upstream_first_ms, 250, 1e-9);
  EXPECT_EQ(predictor.upstream_first_texts().count, 1U);
}

TEST(Predictor, KnowsTheTailOfTheLastFirstTexts) {
  Predictor predictor;
  EXPECT_EQ(predictor.upstream_first_texts().count, 0U);
  for (int i = 0; i < 100; ++i) predictor.observe_first_text(1e6);  // older than the last 64
  for (int i = 1; i <= 64; ++i) predictor.observe_first_text(i);
  const FirstTexts known = predictor.upstream_first_texts();
  EXPECT_EQ(known.count, 64U);
  EXPECT_EQ(known.p50_ms, 33);
  EXPECT_EQ(known.p95_ms, 61);
}

TEST(Money, IsCountedInBillionthsRoundedUp) {
  Prices prices;
  prices.upstream_in = 0.15;
  prices.upstream_out = 0.6;
  EXPECT_EQ(cost_nanos(prices, 1'000'000, 0), 150'000'000);
  EXPECT_EQ(cost_nanos(prices, 1, 1), 750);
  prices.upstream_in = 0.0001;
  EXPECT_EQ(cost_nanos(prices, 1, 0), 1);
  EXPECT_EQ(cost_nanos(prices, -5, 0), 0);
  prices.upstream_in = 1e6;
  EXPECT_GT(cost_nanos(prices, INT64_MAX, 0), 0);
}

TEST(Facts, ComeBackAndDecideTheSame) {
  chat::Request request;
  request.messages = {{chat::Role::kUser, "What is the capital of France?", ""},
                      {chat::Role::kAssistant, "Paris.", ""},
                      {chat::Role::kTool, "42", ""}};
  request.model = "m";
  request.max_tokens = 64;
  request.routing.tags = {"a", "b.c"};
  request.routing.tenant = "office";
  Situation s = situation_of(request, Privacy::kClean);
  s.facts.has_upstream = s.facts.upstream_available = true;
  s.rule.device = {600, 3, Network::kMetered, false, 77, 55};
  s.gain = {0.25, "test"};
  s.load.active = 2;
  RecordedSituation back;
  ASSERT_TRUE(read_facts(facts_of(s), back));
  const std::vector<chat::Fact> again = facts_of(back.situation);
  const std::vector<chat::Fact> first = facts_of(s);
  ASSERT_EQ(again.size(), first.size());
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(again[i].name, first[i].name);
    EXPECT_EQ(again[i].text, first[i].text) << first[i].name;
    EXPECT_EQ(again[i].number, first[i].number) << first[i].name;
  }
  EXPECT_EQ(back.situation.rule.tags.size(), 2u);
  EXPECT_TRUE(back.situation.rule.tools && back.situation.conversation_begun);
  EXPECT_NEAR(s.rule.prompt_tokens, (30 + 6 + 2) / 4.0, 1e-9);

  RecordedSituation empty;
  EXPECT_FALSE(read_facts({}, empty));
  RecordedSituation wild;  // a damaged file
  EXPECT_TRUE(read_facts({{"privacy", "", 99, false},
                          {"network", "x", 0, true},
                          {"asked", "", -7, false},
                          {"unknown", "", 1, false},
                          {"queued", "", std::nan(""), false}},
                         wild));
  EXPECT_EQ(wild.situation.facts.privacy, Privacy::kUnjudged);
}

TEST(Plan, AllocatesNothing) {
  Policy policy = using_strategy("cheapest-sufficient");
  for (int i = 0; i < 64; ++i) {
    Rule rule{"rule", {}, Strategy::kLocalOnly, {}, {}};
    rule.when.condition = Condition::kAll;
    When tag, night;
    tag.condition = Condition::kTag;
    tag.texts = {"some-rather-long-tag-*-" + std::to_string(i), "another"};
    night.condition = Condition::kTime;
    night.times = {parse_time_range("22:00-06:00").value()};
    rule.when.parts = {tag, night};
    policy.rules.push_back(rule);
  }
  chat::Request request;
  request.messages = {{chat::Role::kUser, "What is the capital of France?", ""}};
  request.routing.tags = {"one", "two", "three"};
  const long before = hedge::testing::allocations.load();
  Situation situation = situation_of(request, Privacy::kClean);
  situation.facts.has_upstream = situation.facts.upstream_available = true;
  const Plan plan = make_plan(situation, policy);
  EXPECT_EQ(hedge::testing::allocations.load() - before, 0);
  EXPECT_EQ(plan.rule, nullptr);
  const long between = hedge::testing::allocations.load();
  const auto one = std::make_unique<int>(1);
  EXPECT_EQ(hedge::testing::allocations.load() - between, *one);  // the counter counts
}

}  // namespace
}  // namespace hedge::route
