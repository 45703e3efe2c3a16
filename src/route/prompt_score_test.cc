// The prompt score: features, topic table, training, file format, and the figures of RouteLLM's method.
#include "route/prompt_score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "route/outcomes.h"
#include "route/prompt_train.h"
#include "route/route_eval.h"
#include "tests/support/allocations.h"  // counted in probe_test.cc

namespace hedge::route {
namespace {

using ::testing::HasSubstr;

// Words of two topics and of none; the strong model gains on one topic only.
constexpr const char* kCells[] = {"cell", "enzyme", "protein", "membrane", "tissue", "gene"};
constexpr const char* kCourts[] = {"court", "plaintiff", "statute", "contract", "damages", "appeal"};
constexpr const char* kCommon[] = {"which", "of", "the", "following", "is", "most", "likely", "when"};

std::string text_of(bool court, Rng& rng) {
  std::string text;
  for (int w = 0; w < 14; ++w) {
    text += w % 2 == 0 ? kCommon[rng.below(8)] : (court ? kCourts : kCells)[rng.below(6)];
    text += ' ';
  }
  return text;
}

std::vector<Outcome> made_outcomes(size_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<Outcome> outcomes;
  for (size_t i = 0; i < count; ++i) {
    const bool court = i % 2 == 0;
    Outcome outcome;
    outcome.prompt = text_of(court, rng);
    outcome.weak = rng.uniform() < (court ? 0.3 : 0.8);
    outcome.strong = rng.uniform() < 0.85;
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

class Count final : public BucketVisitor {
 public:
  void visit(uint32_t bucket) override { buckets.push_back(bucket); }
  std::vector<uint32_t> buckets;
};

float shape_of(std::string_view text, Shape shape) {
  Count count;
  return extract(text, TopicTable(), count).shape[static_cast<size_t>(shape)];
}

TEST(PromptFeatures, BucketsAreDistinctWordsAndPairs) {
  Count count;
  extract("a b A b", TopicTable(), count);  // a, b, "a b", "b a"
  EXPECT_EQ(count.buckets.size(), 4u);
  std::sort(count.buckets.begin(), count.buckets.end());
  EXPECT_EQ(std::unique(count.buckets.begin(), count.buckets.end()), count.buckets.end());
  EXPECT_LT(count.buckets.back(), kBuckets);
}

TEST(PromptFeatures, ShapeIsWhatItSays) {
  const std::string text = "Which is NOT 12 or 345?\nA. 7\nB. a word\nAnswer:";
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kLength), std::log1p(static_cast<float>(text.size())));
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kQuestionLength), std::log1p(24.0f));
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kChoices), 2);
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kNumericChoices), 1);
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kChoiceLongest), std::log1p(6.0f));
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kNumbers), std::log1p(3.0f));
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kQuestionNumbers), std::log1p(2.0f));
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kNegation), 1);
  EXPECT_FLOAT_EQ(shape_of(text, Shape::kQuestionWord), 1);
  EXPECT_FLOAT_EQ(shape_of("The sky ___ blue", Shape::kBlank), 1);
  EXPECT_FLOAT_EQ(shape_of("plain", Shape::kNegation), 0);
}

TEST(PromptFeatures, AnyBytesGiveFiniteNumbers) {
  Rng rng(3);
  for (size_t size : {0u, 1u, 2u, 3u, 100u, 5000u}) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(rng.below(256));
    Count count;
    const DenseFeatures dense = extract(text, TopicTable::embedded(), count);
    for (const float v : dense.shape) EXPECT_TRUE(std::isfinite(v)) << size;
    for (const float v : dense.topics) EXPECT_TRUE(std::isfinite(v)) << size;
    EXPECT_TRUE(std::isfinite(PromptScore::embedded().score(text))) << size;
  }
  EXPECT_TRUE(std::isfinite(PromptScore::embedded().score(std::string(kScoredBytesMax + 5, 'x'))));
}

TEST(TopicTable, TellsTopicsApartAndSurvivesItsFile) {
  Rng rng(5);
  std::vector<std::string> texts;
  std::vector<uint32_t> topics;
  for (uint32_t i = 0; i < 200; ++i) {
    topics.push_back(i % 2);
    texts.push_back(text_of(i % 2 == 1, rng));
  }
  const auto table = TopicTable::train(texts, topics, 2, 100);
  ASSERT_TRUE(table.ok());
  const auto again = TopicTable::parse(table->to_bytes());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->checksum(), table->checksum());
  for (const bool court : {false, true}) {
    Count count;
    const DenseFeatures dense = extract(text_of(court, rng), *again, count);
    EXPECT_GT(dense.topics[court], 0.8f);
    EXPECT_NEAR(dense.topics[0] + dense.topics[1], 1, 1e-5);
  }
}

TEST(TopicTable, RefusesBrokenFiles) {
  const std::string good = TopicTable::embedded().to_bytes();
  ASSERT_TRUE(TopicTable::parse(good).ok());
  EXPECT_FALSE(TopicTable::parse("").ok());
  EXPECT_FALSE(TopicTable::parse(std::string_view(good).substr(0, good.size() - 1)).ok());
  EXPECT_FALSE(TopicTable::parse(good + "x").ok());
  for (size_t at : {size_t{0}, size_t{9}, size_t{13}, size_t{17}, size_t{40}, good.size() - 1}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    EXPECT_FALSE(TopicTable::parse(bad).ok()) << at;
  }
  EXPECT_FALSE(TopicTable::train({}, {}, 1, 10).ok());
  EXPECT_FALSE(TopicTable::train({}, {}, 2, 10).ok());
}

TEST(PromptTrain, LearnsWhereTheGainLies) {
  const auto train = made_outcomes(600, 1), test = made_outcomes(2000, 2);
  TrainReport report;
  const auto weights = train_prompt_score(train, TopicTable::embedded(), {}, &report);
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ(report.labels, 600u);
  EXPECT_FALSE(report.by_group);
  const PromptScore score(*weights, TopicTable::embedded());
  double court = 0, cell = 0;
  std::vector<double> scores, weak, strong;
  for (size_t i = 0; i < test.size(); ++i) {
    scores.push_back(score.score(test[i].prompt));
    weak.push_back(test[i].weak);
    strong.push_back(test[i].strong);
    (i % 2 == 0 ? court : cell) += scores.back() / 1000;
  }
  // The numbers mean gains: 0.55 and 0.05 by construction.
  EXPECT_NEAR(court, 0.55, 0.1);
  EXPECT_NEAR(cell, 0.05, 0.1);
  const auto judged = evaluate_route(scores, weak, strong, {});
  ASSERT_TRUE(judged.ok());
  EXPECT_GT(judged->apgr.value, 0.65);
  EXPECT_LT(judged->apgr.lo, judged->apgr.value);
  EXPECT_GT(judged->apgr.hi, judged->apgr.value);
}

TEST(PromptTrain, IsTheSameForAnyNumberOfThreads) {
  const auto train = made_outcomes(200, 1);
  TrainOptions one, three;
  one.threads = 1;
  three.threads = 3;
  EXPECT_EQ(to_bytes(*train_prompt_score(train, TopicTable::embedded(), one, nullptr)),
            to_bytes(*train_prompt_score(train, TopicTable::embedded(), three, nullptr)));
}

TEST(PromptTrain, SmallGroupsAreNotSplitLargeOnesAreTopics) {
  auto train = made_outcomes(200, 1);
  TrainReport report;
  for (size_t i = 0; i < train.size(); ++i) train[i].group = std::to_string(i / 4);
  ASSERT_TRUE(train_prompt_score(train, TopicTable::embedded(), {}, &report).ok());
  EXPECT_TRUE(report.by_group);
  for (size_t i = 0; i < train.size(); ++i) train[i].group = std::to_string(i % 10);
  ASSERT_TRUE(train_prompt_score(train, TopicTable::embedded(), {}, &report).ok());
  EXPECT_FALSE(report.by_group);
}

TEST(PromptTrain, RefusesWhatTeachesNothing) {
  const auto few = train_prompt_score(made_outcomes(49, 1), TopicTable::embedded(), {}, nullptr);
  ASSERT_FALSE(few.ok());
  EXPECT_THAT(few.error().detail, HasSubstr("expected 50 outcomes or more, got 49"));
  auto same = made_outcomes(60, 1);
  for (Outcome& outcome : same) outcome.weak = outcome.strong;
  EXPECT_FALSE(train_prompt_score(same, TopicTable::embedded(), {}, nullptr).ok());
}

TEST(PromptScore, FileGivesTheSameScores) {
  const auto weights = train_prompt_score(made_outcomes(300, 1), TopicTable::embedded(), {}, nullptr);
  const PromptScore made(*weights, TopicTable::embedded());
  const auto read = PromptScore::parse(to_bytes(*weights));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->labels(), 300u);
  for (const Outcome& outcome : made_outcomes(50, 9))
    EXPECT_NEAR(read->score(outcome.prompt), made.score(outcome.prompt), 0.02);
}

TEST(PromptScore, RefusesBrokenFiles) {
  const auto weights = train_prompt_score(made_outcomes(60, 1), TopicTable::embedded(), {}, nullptr);
  const std::string good = to_bytes(*weights);
  EXPECT_FALSE(PromptScore::parse("").ok());
  EXPECT_FALSE(PromptScore::parse(std::string_view(good).substr(0, 100)).ok());
  EXPECT_FALSE(PromptScore::parse(good + "x").ok());
  for (size_t at : {size_t{0}, size_t{10}, size_t{30}, size_t{300}, good.size() - 1}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    EXPECT_FALSE(PromptScore::parse(bad).ok()) << at;
  }
  const auto other = PromptScore::parse(good, TopicTable());
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(other.error().detail, HasSubstr("train them again"));
}

TEST(PromptScore, AllocatesNothing) {
  Rng rng(4);
  std::string text;
  while (text.size() < 32000) text += text_of(true, rng);
  const PromptScore& score = PromptScore::embedded();
  score.score(text);
  const long before = ::hedge::testing::allocations.load();
  ASSERT_GT(before, 0);  // they are counted
  const double value = score.score(text);
  EXPECT_EQ(::hedge::testing::allocations.load(), before);
  EXPECT_TRUE(std::isfinite(value));
}

// Worked by hand: ten prompts, one in ten gains, and the scores find it first.
TEST(RouteEval, FiguresByHand) {
  const std::vector<double> score = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  std::vector<double> weak(10, 0.0), strong(10, 0.0);
  strong[0] = 1;
  const auto best = evaluate_route(score, weak, strong, {.draws = 0});
  ASSERT_TRUE(best.ok());
  // Edges at ranks 0, 0.9, ... 8.1, 9: shares 100, 90, ... 10, and the last threshold sends nobody: the curve
  // is 1 from a share of 0.1 on.
  EXPECT_NEAR(best->apgr.value, 0.95, 1e-12);
  EXPECT_NEAR(best->cpt50.value, 5, 1e-9);
  EXPECT_NEAR(best->first50, 10, 1e-9);
  std::vector<double> last(10, 0.0);
  last[9] = 1;
  const auto worst = evaluate_route(score, weak, last, {.draws = 0});
  EXPECT_NEAR(worst->apgr.value, 0.05, 1e-12);
  EXPECT_NEAR(worst->cpt80.value, 98, 1e-9);
}

TEST(RouteEval, EqualScoresAreChance) {
  Rng rng(8);
  const std::vector<double> score(4000, 0.5);
  std::vector<double> weak, strong;
  for (size_t i = 0; i < score.size(); ++i) {
    weak.push_back(rng.uniform() < 0.5);
    strong.push_back(rng.uniform() < 0.8);
  }
  const auto judged = evaluate_route(score, weak, strong, {});
  ASSERT_TRUE(judged.ok());
  EXPECT_NEAR(judged->apgr.value, 0.5, 0.06);
  EXPECT_EQ(evaluate_route(score, weak, strong, {})->apgr.lo, judged->apgr.lo);
}

TEST(RouteEval, RefusesWhatHasNoGain) {
  const std::vector<double> score(10, 0.0), ones(10, 1.0), noughts(10, 0.0), nan(10, std::nan(""));
  EXPECT_THAT(evaluate_route(score, ones, ones, {}).error().detail, HasSubstr("no gain to share out"));
  EXPECT_FALSE(evaluate_route(nan, noughts, ones, {}).ok());
  EXPECT_FALSE(evaluate_route({}, {}, {}, {}).ok());
}

TEST(Outcomes, SayWhereTheyAreWrong) {
  const auto read = parse_outcomes(
      "{\"prompt\":\"a\",\"weak\":0,\"strong\":true,\"group\":3}\r\n\n{\"prompt\":\"b\",\"weak\":0.5,"
      "\"strong\":1}",
      "f");
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[0].group, "3");
  EXPECT_EQ((*read)[1].weak, 0.5);
  const auto error = [](const char* text) { return parse_outcomes(text, "f").error().detail; };
  EXPECT_EQ(error("\n{\"prompt\""), "f:2: expected a JSON object on one line, got something else");
  EXPECT_EQ(error("{\"weak\":0,\"strong\":1}"), "f:1: expected a field \"prompt\", got none");
  EXPECT_EQ(error("{\"prompt\":1,\"weak\":0,\"strong\":1}"), "f:1: \"prompt\": expected a text, got number");
  EXPECT_EQ(error("{\"prompt\":\"\",\"weak\":2,\"strong\":1}"),
            "f:1: \"weak\": expected a number, 0 to 1, got 2");
  EXPECT_EQ(error("{\"prompt\":\"\",\"weak\":0,\"strong\":\"x\"}"),
            "f:1: \"strong\": expected a number, 0 to 1, got string");
}

}  // namespace
}  // namespace hedge::route
