// What is drafted, with times made up by the test.
#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "base/rng.h"

namespace hedge::engine {
namespace {

TEST(ParseSpeculate, NamesWhatThereIs) {
  EXPECT_EQ(parse_speculate("auto").value(), Speculate::kAuto);
  EXPECT_EQ(parse_speculate("off").value(), Speculate::kOff);
  EXPECT_EQ(parse_speculate("always").value(), Speculate::kAlways);
  for (const char* wrong : {"", "on", "Auto", "auto "}) {
    const auto result = parse_speculate(wrong);
    ASSERT_FALSE(result.ok()) << wrong;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(result.error().detail.find("expected \"auto\", \"off\" or \"always\", got"), std::string::npos);
  }
}

TEST(Acceptance, FollowsWhatItSees) {
  Acceptance acceptance;
  EXPECT_LT(acceptance.of(1), acceptance.of(40));
  const double other = acceptance.of(40);
  for (int i = 0; i < 200; ++i) acceptance.observe(6, true);
  EXPECT_GT(acceptance.of(5), 0.95);  // 5 to 8 are one class
  EXPECT_GT(acceptance.of(8), 0.95);
  EXPECT_EQ(acceptance.of(40), other);
  for (int i = 0; i < 100; ++i) acceptance.observe(6, false);
  EXPECT_LT(acceptance.of(8), 0.2);
}

TEST(Drafter, ContinuesWhatStoodBefore) {
  const std::vector<int32_t> tokens{7, 1, 2, 3, 4, 9, 1, 2};
  Drafter drafter(100);
  drafter.begin(tokens.size());
  drafter.read(tokens, 5);
  EXPECT_FALSE(drafter.has_draft(tokens));  // not all read yet
  drafter.read(tokens, 100);
  ASSERT_TRUE(drafter.has_draft(tokens));
  const int32_t expected[] = {3, 4, 9, 1, 2, 3, 4};  // and round again
  for (size_t i = 0; i < std::size(expected); ++i) EXPECT_EQ(drafter.draft(tokens, i), expected[i]);
  drafter.begin(1);
  drafter.read(std::vector<int32_t>{5}, 100);
  EXPECT_FALSE(drafter.has_draft(std::vector<int32_t>{5}));
}

TEST(BatchCosts, UnknownSizesLieBetweenTheirNeighbours) {
  BatchCosts costs;
  EXPECT_FALSE(costs.settled(1));
  for (int i = 0; i < 4; ++i) costs.observe(1, 10);
  EXPECT_TRUE(costs.settled(1));
  EXPECT_DOUBLE_EQ(costs.of(1), 10);
  EXPECT_DOUBLE_EQ(costs.of(2), 15);  // a guess
  EXPECT_DOUBLE_EQ(costs.of(4), 25);
  costs.observe(4, 16);
  EXPECT_DOUBLE_EQ(costs.of(2), 12);
  EXPECT_DOUBLE_EQ(costs.of(3), 14);
  EXPECT_DOUBLE_EQ(costs.of(5), 18);
  EXPECT_DOUBLE_EQ(costs.of(8), 24);
  for (int i = 0; i < 600; ++i) costs.observe(1, 10);
  EXPECT_DOUBLE_EQ(costs.of(4), 25);  // too long ago
}

TEST(BatchCosts, ADisturbanceCountsForLittle) {
  BatchCosts costs;
  costs.observe(1, 50);
  for (int i = 0; i < 30; ++i) costs.observe(1, 10);
  EXPECT_NEAR(costs.of(1), 10, 0.01);
  costs.observe(1, 1000);
  EXPECT_LT(costs.of(1), 11);
  for (int i = 0; i < 100; ++i) costs.observe(1, 20);
  EXPECT_NEAR(costs.of(1), 20, 0.1);
}

// One sequence whose tokens are given; a batch of n rows takes cost(n).
struct Outcome {
  double seconds = 0;
  size_t steps = 0, drafted = 0, accepted = 0;
};
using Cost = std::function<double(size_t rows)>;

Outcome simulate(const std::vector<int32_t>& tokens, size_t prompt_tokens, const Cost& cost,
                 Speculation& speculation) {
  Drafter drafter(tokens.size());
  drafter.begin(prompt_tokens);
  Outcome run;
  for (size_t known = prompt_tokens; known < tokens.size();) {
    const std::span<const int32_t> so_far = std::span(tokens).first(known);
    drafter.read(so_far, known);
    DraftPlan plan{&drafter, drafter.has_draft(so_far) ? tokens.size() - known - 1 : 0};
    speculation.plan({&plan, 1});
    size_t generated = 1;
    while (generated <= plan.rows && drafter.draft(so_far, generated - 1) == tokens[known + generated - 1])
      ++generated;
    run.drafted += plan.rows;
    run.accepted += generated - 1;
    run.seconds += cost(1 + plan.rows);
    ++run.steps;
    speculation.observe(1, 1 + plan.rows, generated, cost(1 + plan.rows), 0);
    known += generated;
  }
  return run;
}

std::vector<int32_t> random_text(size_t count, uint64_t alphabet, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.below(alphabet));
  return tokens;
}

TEST(Speculation, ACopyIsFast) {
  std::vector<int32_t> tokens = random_text(200, 50000, 3);
  for (size_t i = 0; i < 400; ++i) tokens.push_back(tokens[i % 200]);
  Speculation speculation(Speculate::kAuto);
  const Outcome run = simulate(
      tokens, 200, [](size_t rows) { return 0.8 + 0.2 * static_cast<double>(rows); }, speculation);
  EXPECT_LT(run.seconds, 400 * 0.5);
  EXPECT_GT(run.accepted, 250u);
}

// However dear rows are and whatever the text, 0.99 of the speed is kept, but for two steps once.
TEST(Speculation, ItNeverCosts) {
  for (const double row : {0.0, 0.1, 0.3, 0.6, 1.0, 1.5}) {
    for (const uint64_t alphabet : {2, 4, 8, 100, 50000}) {
      const std::vector<int32_t> tokens = random_text(3000, alphabet, alphabet);
      Speculation speculation(Speculate::kAuto);
      const Outcome run = simulate(
          tokens, 500, [row](size_t rows) { return 1 + row * static_cast<double>(rows - 1); }, speculation);
      EXPECT_LT(run.seconds, 2500 * 1.01 + 2 + 8 * row)
          << "row " << row << ", alphabet " << alphabet << ", drafted " << run.drafted << ", accepted "
          << run.accepted;
    }
  }
}

// A text that copies long enough to be trusted and then breaks off, again and again.
TEST(Speculation, BrokenPromisesAreBounded) {
  std::vector<int32_t> tokens = random_text(500, 50000, 5);
  Rng rng(6);
  while (tokens.size() < 4000) {
    const size_t from = rng.below(tokens.size() - 12);
    for (size_t i = 0; i < 9; ++i) tokens.push_back(tokens[from + i]);
    for (size_t i = 0; i < 3; ++i) tokens.push_back(static_cast<int32_t>(50000 + rng.below(1 << 20)));
  }
  Speculation speculation(Speculate::kAuto);
  const Outcome run = simulate(
      tokens, 500, [](size_t rows) { return 0.2 + 0.8 * static_cast<double>(rows); }, speculation);
  EXPECT_LT(run.seconds, static_cast<double>(tokens.size() - 500) * 1.01 + 8);
}

TEST(Speculation, RowsGoWhereTheyCountMost) {
  const std::vector<int32_t> tokens{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> weaker{1, 2, 3, 1};
  Drafter sure(100), unsure(100), none(100);
  for (Drafter* drafter : {&sure, &unsure, &none}) drafter->begin(100);
  sure.read(tokens, 100);
  unsure.read(weaker, 100);
  Speculation speculation(Speculate::kAuto);
  DraftPlan plans[] = {{&unsure, 10}, {&sure, 2}, {&none, 0}};
  speculation.plan(plans);
  for (const DraftPlan& plan : plans) EXPECT_EQ(plan.rows, 0u);  // nothing was measured yet
  for (int i = 0; i < 4; ++i) speculation.observe(3, 3, 3, 1, 0);
  for (size_t rows = 4; rows <= 8; ++rows) {
    for (int i = 0; i < 4; ++i)
      speculation.observe(3, rows, rows, 1 + 0.15 * static_cast<double>(rows - 3), 0);
  }
  speculation.plan(plans);
  EXPECT_EQ(plans[1].rows, 2u);
  EXPECT_EQ(plans[0].rows, 0u);
  EXPECT_EQ(plans[2].rows, 0u);
}

// What was measured long ago is no longer known, in whatever order the numbers of sequences come.
TEST(Speculation, ForgetsWhatBatchesCost) {
  const std::vector<int32_t> tokens(50, 1);
  Drafter drafter(100);
  drafter.begin(0);
  drafter.read(tokens, 100);
  Speculation speculation(Speculate::kAuto);
  const auto step = [&](size_t sequences) {
    std::vector<DraftPlan> plans(sequences, DraftPlan{&drafter, 4});
    speculation.plan(plans);
    size_t rows = sequences;
    for (const DraftPlan& plan : plans) rows += plan.rows;
    speculation.observe(sequences, rows, rows, 1 + 0.1 * static_cast<double>(rows - 1), 0.01);
    return rows - sequences;
  };
  for (int i = 0; i < 4; ++i) EXPECT_EQ(step(1), 0u);
  EXPECT_GT(step(1), 0u);
  for (int i = 0; i < 505; ++i) step(2);
  for (int i = 0; i < 20; ++i) step(1);
  for (int i = 0; i < 600; ++i) step(3);
  EXPECT_EQ(step(1), 0u);  // measured anew first
  for (int i = 0; i < 3; ++i) step(1);
  EXPECT_GT(step(1), 0u);
}

TEST(Speculation, TheBatchStaysWithinItsRows) {
  const std::vector<int32_t> tokens(50, 1);
  Drafter drafter(100);
  drafter.begin(0);
  drafter.read(tokens, 100);
  Speculation speculation(Speculate::kAlways);
  for (size_t sequences = 1; sequences <= 12; ++sequences) {
    std::vector<DraftPlan> plans(sequences, DraftPlan{&drafter, 100});
    speculation.plan(plans);
    size_t rows = sequences;
    for (const DraftPlan& plan : plans) rows += plan.rows;
    EXPECT_EQ(rows, std::max(sequences, model::kDecodeRowsMax));
  }
  Speculation off(Speculate::kOff);
  DraftPlan plan{&drafter, 100};
  off.plan({&plan, 1});
  EXPECT_EQ(plan.rows, 0u);
}

}  // namespace
}  // namespace hedge::engine
