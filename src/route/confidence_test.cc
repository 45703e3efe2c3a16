#include "route/confidence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace hedge::route {
namespace {

chat::TokenInfo token(float margin, float entropy) {
  chat::TokenInfo info;
  info.margin = margin;
  info.entropy = entropy;
  return info;
}

TEST(Quantile, IsNumpysDefault) {
  // numpy.quantile([7, 1, 3, 9, 4], [0, .1, .25, .5, .6, .9, 1]) and of [2, 1].
  const double expected[][2] = {{0, 1}, {0.1, 1.8}, {0.25, 3}, {0.5, 4}, {0.6, 5.2}, {0.9, 8.2}, {1, 9}};
  for (const auto& [q, value] : expected) {
    std::vector<double> values = {7, 1, 3, 9, 4};
    EXPECT_NEAR(quantile(values, q), value, 1e-12) << q;
  }
  std::vector<double> two = {2, 1};
  EXPECT_NEAR(quantile(two, 0.5), 1.5, 1e-12);
  std::vector<double> one = {3};
  EXPECT_EQ(quantile(one, 0.7), 3);
}

TEST(ConfidenceMonitor, FirstTokensByMarginOrEntropy) {
  Confidence rule;
  rule.first_margin_quantile = 0.5;
  rule.first_entropy_quantile = 0.5;
  rule.first_margin_min = 0.3;
  rule.first_entropy_max = 2;
  ConfidenceMonitor sure(rule);
  for (const float margin : {0.9f, 0.1f, 0.8f, 0.7f}) sure.push(token(margin, 1));
  EXPECT_FALSE(sure.judge_first().unsure);
  EXPECT_NEAR(sure.judge_first().value, 0.75, 1e-6);

  ConfidenceMonitor guessing(rule);
  for (const float margin : {0.9f, 0.1f, 0.2f, 0.25f}) guessing.push(token(margin, 1));
  const Judgement judgement = guessing.judge_first();
  EXPECT_TRUE(judgement.unsure);
  EXPECT_EQ(judgement.signal, "margin");
  EXPECT_NEAR(judgement.value, 0.225, 1e-6);
  EXPECT_EQ(judgement.threshold, 0.3);
  EXPECT_EQ(judgement.tokens, 4);

  ConfidenceMonitor spread(rule);
  for (const float entropy : {3.0f, 2.5f, 1.0f}) spread.push(token(0.9f, entropy));
  EXPECT_TRUE(spread.judge_first().unsure);
  EXPECT_EQ(spread.judge_first().signal, "entropy");
}

TEST(ConfidenceMonitor, NothingToJudgeIsNoReasonToEscalate) {
  ConfidenceMonitor monitor{Confidence{}};
  EXPECT_FALSE(monitor.judge_first().unsure);
  EXPECT_FALSE(monitor.judge_mid().has_value());
}

TEST(ConfidenceMonitor, MidAnswerLooksAtFullWindowsAtCheckpointsOnly) {
  Confidence rule;
  rule.window_tokens = 6;
  rule.check_every_tokens = 2;
  rule.mid_checks_in_a_row = 2;
  ConfidenceMonitor monitor(rule);
  std::vector<int> judged;
  int first_unsure = 0;
  for (int i = 1; i <= 20; ++i) {
    monitor.push(token(i <= 8 ? 0.9f : 0.01f, 0));
    const auto judgement = monitor.judge_mid();
    if (!judgement) continue;
    judged.push_back(i);
    if (judgement->unsure && first_unsure == 0) first_unsure = i;
  }
  EXPECT_EQ(judged, (std::vector<int>{6, 8, 10, 12, 14, 16, 18, 20}));
  // At 12 four of six are low: the first bad checkpoint; at 14 the second in a row.
  EXPECT_EQ(first_unsure, 14);
}

TEST(ConfidenceMonitor, OneBadCheckpointIsForgiven) {
  Confidence rule;
  rule.window_tokens = 2;
  rule.check_every_tokens = 2;
  rule.mid_checks_in_a_row = 2;
  ConfidenceMonitor monitor(rule);
  for (int i = 0; i < 40; ++i) {
    monitor.push(token((i / 2) % 2 == 0 ? 0.9f : 0.0f, 0));
    const auto judgement = monitor.judge_mid();
    EXPECT_FALSE(judgement && judgement->unsure);
  }
}

TEST(ConfidenceMonitor, NoNumberCountsAsUnsure) {
  ConfidenceMonitor monitor{Confidence{}};
  for (int i = 0; i < 4; ++i) monitor.push(token(std::numeric_limits<float>::quiet_NaN(), 0));
  EXPECT_TRUE(monitor.judge_first().unsure);
}

}  // namespace
}  // namespace hedge::route
