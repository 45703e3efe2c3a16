#include "route/thresholds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"

namespace hedge::route {
namespace {

// Answers of 3 to 24 tokens whose probe learns the truth step by step: after t tokens it knows the logit with
// an error that falls. Two answers a group.
std::vector<Trajectory> trajectories(size_t groups, uint64_t seed) {
  Rng rng(seed);
  const auto normal = [&] {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += rng.uniform();
    return sum;
  };
  std::vector<Trajectory> all;
  for (size_t i = 0; i < 2 * groups; ++i) {
    Trajectory t;
    t.group = static_cast<uint32_t>(i / 2);
    t.tokens = 3 + static_cast<int>(rng.below(22));
    const double truth = 1.5 * normal();
    t.wrong = rng.uniform() < 1 / (1 + std::exp(-truth));
    const auto look = [&](int tokens, double noise) {
      t.moments.push_back({tokens, 1 / (1 + std::exp(-(truth + noise * normal())))});
    };
    for (const int tokens : {1, 2, 4, 6, 8, 12, 16, 24})
      if (tokens <= t.tokens) look(tokens, 2.0 / std::sqrt(1.0 + tokens));
    if (t.tokens < 6) look(kWholeAnswer, 0.3);
    all.push_back(std::move(t));
  }
  return all;
}

TEST(Thresholds, SurviveTheirText) {
  Thresholds thresholds;
  thresholds.probe = 0xfedcba9876543210;
  thresholds.goal = Goal::kMaxWrong;
  thresholds.target = 0.15;
  thresholds.questions = 1200;
  thresholds.groups = 700;
  thresholds.checkpoints = {{1, 0.91, 0.125}, {4, 0.8, 0}, {kWholeAnswer, 0.7, 0}};
  const auto read = Thresholds::parse(thresholds.to_text());
  ASSERT_TRUE(read.ok()) << read.error().to_text();
  EXPECT_EQ(read->to_text(), thresholds.to_text());
  EXPECT_EQ(read->probe, thresholds.probe);
  EXPECT_EQ(read->goal, Goal::kMaxWrong);
  EXPECT_EQ(read->at(4)->send_above, 0.8);
  EXPECT_EQ(read->at(5), nullptr);
  EXPECT_EQ(read->last_tokens(), 4);
}

TEST(Thresholds, BadTextIsRefusedWithItsLine) {
  const std::string head = "hedge thresholds 1\nprobe 12ab\n";
  const auto error = [](const std::string& text) {
    const auto read = Thresholds::parse(text);
    return read.ok() ? std::string("fine") : read.error().detail;
  };
  EXPECT_EQ(error(head + "1 0.5 0.1\nwhole 0.4 0\n"), "fine");
  EXPECT_NE(error("").find("line 1"), std::string::npos);
  EXPECT_NE(error("# only a comment\n").find("line 2"), std::string::npos);
  EXPECT_NE(error("something\n").find("line 1: expected \"hedge thresholds 1\""), std::string::npos);
  for (const std::string line : {"1 0.5", "1 0.5 0.1 7", "0 0.5 0.1", "x 0.5 0.1", "1 1.5 0", "1 nan 0",
                                 "probe xyz", "max_share 2", "questions 5", "1 -0.1 0"})
    EXPECT_NE(error(head + line + "\n").find("line 3: expected "), std::string::npos) << line;
  EXPECT_NE(error(head + "4 0.5 0\n2 0.5 0\n").find("line 4"), std::string::npos);
  EXPECT_NE(error(head + "whole 0.5 0\n2 0.5 0\n").find("line 4"), std::string::npos);
  EXPECT_NE(error(head).find("line 3"), std::string::npos);
  EXPECT_FALSE(Thresholds::parse(std::string(Thresholds::kBytesMax + 1, '\n')).ok());
}

TEST(Thresholds, AnAnswerIsSentAtItsFirstDoubt) {
  Thresholds thresholds;
  thresholds.checkpoints = {{1, 0.8, 0}, {4, 0.6, 0}, {kWholeAnswer, 0.5, 0}};
  Trajectory t;
  t.tokens = 24;
  t.moments = {{1, 0.7}, {2, 0.9}, {4, 0.65}};
  EXPECT_EQ(sent_at(thresholds, t), 2u);
  t.moments[0].p_wrong = 0.81;
  EXPECT_EQ(sent_at(thresholds, t), 0u);
  // What was handed on at once is not judged as a whole.
  t.moments = {{1, 0.2}, {kWholeAnswer, 0.9}};
  EXPECT_EQ(sent_at(thresholds, t), 1u);
  thresholds.checkpoints[0].keep_below = 0.3;
  EXPECT_EQ(sent_at(thresholds, t), std::nullopt);
  t.moments = {{1, 0.7}, {kWholeAnswer, 0.5}};
  EXPECT_EQ(sent_at(thresholds, t), std::nullopt);
}

TEST(Thresholds, APromiseHoldsOnNewQuestionsOnAverage) {
  for (const auto& [goal, target] :
       {std::pair(Goal::kMaxWrong, 0.2), {Goal::kMaxShare, 0.3}, {Goal::kMaxWrong, 0.1}}) {
    double sum = 0, used = 0;
    constexpr int kRounds = 40;
    for (int round = 0; round < kRounds; ++round) {
      const auto fitted =
          fit_thresholds(1, goal, target, trajectories(300, 2 * static_cast<uint64_t>(round)), 1);
      ASSERT_TRUE(fitted.ok()) << fitted.error().to_text();
      const Outcome outcome = outcome_of(*fitted, trajectories(2000, 2 * static_cast<uint64_t>(round) + 1));
      sum += goal == Goal::kMaxWrong ? outcome.wrong : outcome.share;
      used += outcome.early;
    }
    // The mean over 40 calibrations of 150 groups has a standard error of about 0.005.
    EXPECT_LE(sum / kRounds, target + 0.01) << target;
    EXPECT_GE(sum / kRounds, target - 0.04) << target;  // and little of it is given away
    EXPECT_GT(used / kRounds, 0.3);
  }
}

TEST(Thresholds, TheSameQuestionsAndSeedGiveTheSameText) {
  const auto all = trajectories(200, 7);
  EXPECT_EQ(fit_thresholds(1, Goal::kMaxShare, 0.3, all, 5)->to_text(),
            fit_thresholds(1, Goal::kMaxShare, 0.3, all, 5)->to_text());
}

TEST(Thresholds, TooFewGroupsOrAnImpossibleTargetAreRefused) {
  const auto few = fit_thresholds(1, Goal::kMaxShare, 0.3, trajectories(60, 1), 1);
  ASSERT_FALSE(few.ok());
  EXPECT_EQ(few.error().detail, "60 groups of questions, expected at least 100 for max_share 0.3");
  const auto tight = fit_thresholds(1, Goal::kMaxShare, 0.005, trajectories(200, 1), 1);
  ASSERT_FALSE(tight.ok());
  EXPECT_NE(tight.error().detail.find("expected at least 440"), std::string::npos) << tight.error().detail;
  std::vector<Trajectory> blind = trajectories(200, 1);
  for (Trajectory& t : blind) t.moments.clear();
  EXPECT_NE(
      fit_thresholds(1, Goal::kMaxWrong, 0.1, blind, 1).error().detail.find("got 0 right and 0 wrong of "),
      std::string::npos);
  std::vector<Trajectory> good = trajectories(200, 1);
  for (Trajectory& t : good) t.wrong = t.wrong && t.group % 20 == 0;
  const std::string lacks = fit_thresholds(1, Goal::kMaxWrong, 0.1, good, 1).error().detail;
  EXPECT_NE(lacks.find("expected at least 20 right and 20 wrong answers"), std::string::npos) << lacks;
  EXPECT_EQ(lacks.find("got 0 right"), std::string::npos) << lacks;
}

}  // namespace
}  // namespace hedge::route
