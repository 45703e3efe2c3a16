#include "route/probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "route/probe_train.h"
#include "tests/support/counting_new.h"

namespace hedge::route {
namespace {

using hedge::testing::allocations;

constexpr size_t kDim = 12;

ProbeModel tiny_model() { return {"llama", 4, kDim, 100, 0x1234}; }

// Questions of three tasks, each around a place of its own in the states. In all, an answer is wrong when its
// state leans to one side along the sum of some coordinates; `noise` of them are not.
std::vector<ProbeExample> examples(size_t count, uint64_t seed, double noise = 0.1, uint32_t tasks = 3) {
  Rng rng(seed);
  std::vector<ProbeExample> all;
  for (size_t i = 0; i < count; ++i) {
    ProbeExample e;
    e.task = static_cast<uint32_t>(1 + i % tasks);
    e.group = static_cast<uint32_t>(i / 2);
    double lean = 0;
    const auto state = [&](size_t d) {
      return (d % kDim == e.task ? 8.0f : 0.0f) + static_cast<float>(rng.uniform() - 0.5);
    };
    for (size_t d = 0; d < 4 * kDim; ++d) e.prompt.push_back(state(d));
    for (size_t d = 0; d < 2 * kDim; ++d) {
      e.answer.states.push_back(state(d));
      if (d >= kDim / 2 && d < kDim) lean += static_cast<double>(e.answer.states.back());
    }
    TokenFacts facts;
    facts.add(static_cast<float>(-2 * rng.uniform() - 0.3 * (lean > 0 ? 1 : 0)), 1, 0.5f);
    e.answer.facts = facts.values();
    e.answer.wrong = (lean > 0) != (rng.uniform() < noise);
    all.push_back(std::move(e));
  }
  return all;
}

ProbeTrainOptions quick() {
  ProbeTrainOptions options;
  options.members = 10;
  options.hidden = 8;
  options.epochs = 12;
  return options;
}

Probe train(const std::vector<ProbeExample>& all, ProbeReport& report, ProbeTrainOptions options = quick()) {
  auto probe = train_probe(tiny_model(), {1, 3}, all, options, {}, report);
  EXPECT_TRUE(probe.ok()) << probe.error().to_text();
  return std::move(probe).value();
}

TEST(TokenFacts, AreThoseOfTheTokens) {
  TokenFacts facts;
  facts.add(-1, 2, 0.5f);
  facts.add(-3, 1, 0.25f);
  facts.add(-2, 3, 0.75f);
  const auto v = facts.values();
  EXPECT_EQ(facts.tokens(), 3);
  EXPECT_FLOAT_EQ(v[0], -1);    // first log-probability,
  EXPECT_FLOAT_EQ(v[1], 2);     // entropy
  EXPECT_FLOAT_EQ(v[2], 0.5f);  // and margin
  EXPECT_FLOAT_EQ(v[3], -2);    // last
  EXPECT_FLOAT_EQ(v[4], -3);    // smallest
  EXPECT_FLOAT_EQ(v[5], -2);    // second smallest
  EXPECT_FLOAT_EQ(v[6], -2);    // mean
  EXPECT_FLOAT_EQ(v[TokenFacts::kLogprobSum], -6);
  EXPECT_FLOAT_EQ(v[9], 3);
  EXPECT_FLOAT_EQ(v[11], 0.25f);
  facts.add(-INFINITY, 0, 1);
  for (const float x : facts.values()) EXPECT_TRUE(std::isfinite(x));
}

TEST(Probe, FindsWhatTheStatesShowInGroupsItHasNotSeen) {
  ProbeReport report;
  ProbeTrainOptions options = quick();
  options.epochs = 30;
  const Probe probe = train(examples(1500, 1), report, options);
  const std::vector<ProbeExample> fresh = examples(900, 2);
  std::vector<double> after, before;
  double brier = 0, brier_base = 0;
  for (const ProbeExample& e : fresh) {
    const ProbeInput input{e.prompt, e.answer.states, e.answer.facts};
    after.push_back(probe.wrong(input));
    before.push_back(probe.wrong_before(input));
    ASSERT_GE(after.back(), 0);
    ASSERT_LE(after.back(), 1);
    brier += std::pow(after.back() - (e.answer.wrong ? 1 : 0), 2);
    brier_base += 0.25;
  }
  // One answer in ten goes against the rule, so that 0.9 is the best there is.
  EXPECT_GT(within_task_auroc(after, fresh), 0.8);
  EXPECT_GT(report.auroc_answer, 0.8);
  EXPECT_NEAR(report.auroc_answer, within_task_auroc(after, fresh), 0.06);
  EXPECT_LT(report.calibration_error, 0.12);
  EXPECT_LT(brier, 0.65 * brier_base);
  // The prompt holds nothing of the rule.
  EXPECT_NEAR(within_task_auroc(before, fresh), 0.5, 0.12);
}

TEST(Probe, TheSameExamplesAndSeedGiveTheSameBytesWithAnyNumberOfThreads) {
  const std::vector<ProbeExample> all = examples(400, 3);
  ProbeReport report;
  ProbeTrainOptions options = quick();
  options.epochs = 3;
  options.threads = 1;
  const std::string one = train(all, report, options).to_bytes();
  options.threads = 3;
  EXPECT_EQ(train(all, report, options).to_bytes(), one);
  options.seed = 2;
  EXPECT_NE(train(all, report, options).to_bytes(), one);
}

// Whose greedy answers are few and right by luck: the sampled ones and the beginnings tell more.
TEST(Probe, LearnsFromSampledAnswersAndBeginnings) {
  std::vector<ProbeExample> few = examples(240, 11, 0.4), more = few;
  const std::vector<ProbeExample> others = examples(960, 12, 0.0);
  for (size_t i = 0; i < more.size(); ++i) {
    for (size_t k = 0; k < 4; ++k) {
      // Of the same task, so that the place fits.
      ProbeExample::Answer answer = others[(i + 3 * (80 * k + i / 3)) % others.size()].answer;
      (k % 2 == 0 ? more[i].sampled : more[i].beginnings).push_back(std::move(answer));
    }
  }
  ProbeTrainOptions options = quick();
  options.epochs = 30;
  const std::vector<ProbeExample> fresh = examples(900, 13, 0.0);
  const auto judged = [&](const std::vector<ProbeExample>& all) {
    ProbeReport report;
    const Probe probe = train(all, report, options);
    std::vector<double> scores;
    for (const ProbeExample& e : fresh)
      scores.push_back(probe.answer.score({e.prompt, e.answer.states, e.answer.facts}));
    return within_task_auroc(scores, fresh);
  };
  EXPECT_GT(judged(more), judged(few) + 0.05);
}

TEST(Probe, FallsBackToProbabilitiesForPromptsUnlikeAllItHasSeen) {
  ProbeReport report;
  const std::vector<ProbeExample> all = examples(1500, 4);
  const Probe probe = train(all, report);
  size_t familiar = 0;
  for (const ProbeExample& e : all) familiar += probe.regions.familiarity(e.prompt) > 0.9 ? 1 : 0;
  EXPECT_GT(familiar, all.size() * 9 / 10);

  std::vector<float> strange(4 * kDim, 5.0f);
  const std::vector<float> one(2 * kDim, 5.0f), other(2 * kDim, -3.0f);
  EXPECT_EQ(probe.regions.familiarity(strange), 0);
  TokenFacts sure, unsure;
  sure.add(-0.1f, 1, 0.5f);
  unsure.add(-2.2f, 1, 0.5f);
  // The state has no say, the probability has.
  const double p_sure = probe.wrong({strange, one, sure.values()});
  EXPECT_EQ(p_sure, probe.wrong({strange, other, sure.values()}));
  EXPECT_GT(probe.wrong({strange, one, unsure.values()}), p_sure);
}

TEST(Probe, ScoringAllocatesNothing) {
  ProbeReport report;
  const std::vector<ProbeExample> all = examples(300, 5);
  ProbeTrainOptions options = quick();
  options.epochs = 1;
  const Probe probe = train(all, report, options);
  const ProbeInput input{all[0].prompt, all[0].answer.states, all[0].answer.facts};
  const long before = allocations.load();
  double sum = 0;
  for (int i = 0; i < 10; ++i) sum += probe.wrong(input) + probe.wrong_before(input);
  EXPECT_EQ(allocations.load() - before, 0);
  EXPECT_GT(sum, 0);
}

TEST(Probe, SurvivesItsFileAndNothingElseDoes) {
  ProbeReport report;
  const std::vector<ProbeExample> all = examples(300, 6);
  ProbeTrainOptions options = quick();
  options.epochs = 2;
  const Probe probe = train(all, report, options);
  const std::string bytes = probe.to_bytes();
  const auto read = Probe::parse(bytes);
  ASSERT_TRUE(read.ok()) << read.error().to_text();
  EXPECT_EQ(read->to_bytes(), bytes);
  EXPECT_EQ(read->model, tiny_model());
  EXPECT_EQ(read->blocks, (std::vector<int>{1, 3}));
  for (const ProbeExample& e : all) {
    const ProbeInput input{e.prompt, e.answer.states, e.answer.facts};
    ASSERT_EQ(read->wrong(input), probe.wrong(input));
    ASSERT_EQ(read->wrong_before(input), probe.wrong_before(input));
  }
  for (size_t cut = 0; cut < bytes.size(); cut += 1 + cut / 8) {
    const auto broken = Probe::parse(std::string_view(bytes).substr(0, cut));
    ASSERT_FALSE(broken.ok()) << cut;
    EXPECT_EQ(broken.error().code, ErrorCode::kCorrupt);
  }
  for (size_t at = 0; at < bytes.size(); at += 1 + at / 8) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x40);
    ASSERT_FALSE(Probe::parse(flipped).ok()) << at;
  }
  EXPECT_FALSE(Probe::parse(bytes + "x").ok());
}

TEST(Probe, NamesBothModelsWhenItIsOfAnother) {
  Probe probe;
  probe.model = tiny_model();
  EXPECT_TRUE(probe.check(tiny_model()).ok());
  ProbeModel other = tiny_model();
  other.fingerprint = 0x9999;
  const Status status = probe.check(other);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().detail.find("0000000000001234"), std::string::npos) << status.error().detail;
  EXPECT_NE(status.error().detail.find("0000000000009999"), std::string::npos) << status.error().detail;
}

TEST(ProbeTrain, SaysWhatTheExamplesLack) {
  ProbeReport report;
  const auto error = [&](std::vector<ProbeExample> all) {
    const auto probe = train_probe(tiny_model(), {1, 3}, all, quick(), {}, report);
    return probe.ok() ? std::string("trained") : probe.error().detail;
  };
  EXPECT_NE(error(examples(50, 7)).find("50 labelled answers, expected at least 200"), std::string::npos);
  std::vector<ProbeExample> right = examples(300, 7);
  for (ProbeExample& e : right) e.answer.wrong = false;
  EXPECT_NE(error(right).find("0 of 300 answers are wrong"), std::string::npos);
  std::vector<ProbeExample> short_state = examples(300, 7);
  short_state[5].answer.states.pop_back();
  EXPECT_NE(error(short_state).find("not 24 state values"), std::string::npos) << error(short_state);
  std::vector<ProbeExample> short_prompt = examples(300, 7);
  short_prompt[5].prompt.pop_back();
  EXPECT_NE(error(short_prompt).find("47 state values of its prompt, expected 48"), std::string::npos);
  std::vector<ProbeExample> short_sample = examples(300, 7);
  short_sample[5].sampled.push_back({{1, 2, 3}, {}, true});
  EXPECT_NE(error(short_sample).find("not 24 state values"), std::string::npos) << error(short_sample);
  std::vector<ProbeExample> broken = examples(300, 7);
  broken[5].prompt[0] = NAN;
  EXPECT_NE(error(broken).find("not finite"), std::string::npos);
}

TEST(ProbeTrain, AurocIsThatOfEachTask) {
  // Task 1 is hard and task 2 easy; within both, scores are worthless or perfect.
  std::vector<ProbeExample> all(8);
  const double scores[] = {0.9, 0.9, 0.9, 0.9, 0.1, 0.2, 0.3, 0.4};
  const bool wrong[] = {true, true, true, false, false, false, true, true};
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].task = i < 4 ? 1 : 2;
    all[i].answer.wrong = wrong[i];
  }
  EXPECT_DOUBLE_EQ(within_task_auroc(scores, all), (0.5 + 1.0) / 2);
}

// What travels inside the program can be read, and each probe is for a model of its own.
TEST(DefaultProbes, AreForTheDefaultModels) {
  std::vector<std::string> models;
  for (const std::string_view bytes : default_probes()) {
    const auto probe = Probe::parse(bytes);
    ASSERT_TRUE(probe.ok()) << probe.error().to_text();
    models.push_back(probe->model.architecture + " " + std::to_string(probe->model.layers) + " x " +
                     std::to_string(probe->model.dim));
  }
  EXPECT_EQ(models, (std::vector<std::string>{"llama 30 x 576", "gemma3 18 x 640"}));
}

}  // namespace
}  // namespace hedge::route
