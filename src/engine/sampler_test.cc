// The sampler against distributions worked out in double precision by definition.
#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "kernels/dispatch.h"
#include "model/tiny_model.h"

namespace hedge::engine {
namespace {

using chat::Sampling;
using Dist = std::map<int32_t, double>;

Sampling neutral() {
  Sampling sampling;
  sampling.temperature = 1;
  sampling.top_k = 0;
  sampling.top_p = 1;
  sampling.min_p = 0;
  return sampling;
}

std::vector<float> random_logits(size_t count, uint64_t seed, double spread) {
  Rng rng(seed);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>((rng.uniform() + rng.uniform() - 1) * spread);
  return logits;
}

struct Chooser {
  explicit Chooser(const Sampling& sampling, size_t vocab, uint64_t seed = 1)
      : sampler(sampling, seed), scratch(vocab) {}
  int32_t operator()(std::vector<float> logits) {
    info = {};
    return sampler.choose(logits, history, banned, wanted, kernels::active(), scratch, info);
  }
  Sampler sampler;
  SamplerScratch scratch;
  std::vector<int32_t> history, banned;
  InfoWanted wanted;
  chat::TokenInfo info;
};

// The definition: sort, keep top-k, keep the shortest head with top-p of the probability, drop what is less
// probable than min-p times the best, then temper. Filters look at the distribution before the temperature.
Dist expected_distribution(const std::vector<float>& logits, const Sampling& sampling,
                           const std::set<int32_t>& banned) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (banned.count(static_cast<int32_t>(i)) == 0) ids.push_back(static_cast<int32_t>(i));
  }
  const auto logit = [&](int32_t id) { return static_cast<double>(logits[static_cast<size_t>(id)]); };
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  if (sampling.top_k > 0) ids.resize(std::min(ids.size(), static_cast<size_t>(sampling.top_k)));
  double total = 0;
  for (const int32_t id : ids) total += std::exp(logit(id) - logit(ids[0]));
  double sum = 0;
  std::vector<int32_t> kept;
  for (const int32_t id : ids) {
    const double p = std::exp(logit(id) - logit(ids[0])) / total;
    const bool nucleus = kept.empty() || sum < sampling.top_p || sampling.top_p >= 1;
    if (!nucleus || (!kept.empty() && p < sampling.min_p / total)) break;
    sum += p;
    kept.push_back(id);
  }
  Dist out;
  total = 0;
  for (const int32_t id : kept)
    total += out[id] = std::exp((logit(id) - logit(ids[0])) / sampling.temperature);
  for (auto& [id, p] : out) p /= total;
  return out;
}

// Draws and compares by Pearson's chi-squared; no token outside of the expected ones may ever come.
void expect_distribution(const std::vector<float>& logits, const Sampling& sampling,
                         const std::vector<int32_t>& banned = {}) {
  const Dist expected = expected_distribution(logits, sampling, {banned.begin(), banned.end()});
  Chooser choose(sampling, logits.size(), 99);
  choose.banned = banned;
  constexpr int kDraws = 1500;
  std::map<int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) {
    const int32_t id = choose(logits);
    ASSERT_EQ(expected.count(id), 1u) << "token " << id << " was cut off";
    ++counts[id];
  }
  double chi = 0, rare_expected = 0, rare_count = 0;
  int classes = 0;
  const auto add = [&](double want, double got) {
    chi += (got - want) * (got - want) / want;
    ++classes;
  };
  for (const auto& [id, p] : expected) {
    if (p * kDraws < 8) {  // Too few for the test's normal approximation: together.
      rare_expected += p * kDraws;
      rare_count += counts[id];
    } else {
      add(p * kDraws, counts[id]);
    }
  }
  if (rare_expected >= 8) add(rare_expected, rare_count);
  // The mean is classes - 1, the variance twice that; five deviations, and the seed is fixed.
  const double freedom = classes - 1;
  EXPECT_LT(chi, freedom + 5 * std::sqrt(2 * freedom) + 1) << expected.size() << " tokens";
}

TEST(Sampler, GreedyTakesTheBestAndTheFirstOfEquals) {
  Sampling sampling = neutral();
  sampling.temperature = 0;
  Chooser choose(sampling, 300);
  for (uint64_t seed = 1; seed < 20; ++seed) {
    const std::vector<float> logits = random_logits(300, seed, 5);
    EXPECT_EQ(choose(logits), std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  EXPECT_EQ(choose(std::vector<float>(300, 1.5f)), 0);
}

TEST(Sampler, PlainTemperatures) {
  for (const float temperature : {0.3f, 1.0f, 2.5f}) {
    Sampling sampling = neutral();
    sampling.temperature = temperature;
    expect_distribution(random_logits(60, 3, 4), sampling);
  }
}

TEST(Sampler, TopK) {
  for (const int top_k : {1, 2, 7, 40, 1000}) {
    Sampling sampling = neutral();
    sampling.top_k = top_k;
    expect_distribution(random_logits(60, 4, 3), sampling);
  }
}

TEST(Sampler, TopP) {
  for (const float top_p : {0.01f, 0.3f, 0.9f, 0.999f}) {
    Sampling sampling = neutral();
    sampling.top_p = top_p;
    expect_distribution(random_logits(60, 5, 4), sampling);
    expect_distribution(random_logits(400, 6, 1), sampling);  // flat: more tokens than are sorted at first
  }
}

TEST(Sampler, MinP) {
  for (const float min_p : {0.01f, 0.2f, 0.99f}) {
    Sampling sampling = neutral();
    sampling.min_p = min_p;
    expect_distribution(random_logits(60, 7, 4), sampling);
    expect_distribution(random_logits(400, 8, 1), sampling);
    expect_distribution(random_logits(400, 8, 12), sampling);  // settled by the best few
  }
}

TEST(Sampler, AllFiltersTogether) {
  Sampling sampling;  // llama-server's defaults
  expect_distribution(random_logits(300, 9, 6), sampling);
  sampling.top_p = 0.7f;
  sampling.min_p = 0.1f;
  sampling.top_k = 0;
  sampling.temperature = 1.7f;
  expect_distribution(random_logits(300, 10, 4), sampling);
}

TEST(Sampler, BannedTokensNeverCome) {
  const std::vector<float> logits = random_logits(50, 11, 3);
  const int32_t best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  expect_distribution(logits, neutral(), {best, 3, 4});
  expect_distribution(logits, Sampling{}, {best, 7});
  Sampling greedy = neutral();
  greedy.temperature = 0;
  Chooser choose(greedy, 50);
  choose.banned = {best};
  std::vector<float> rest = logits;
  rest[static_cast<size_t>(best)] = -100;
  EXPECT_EQ(choose(logits), std::max_element(rest.begin(), rest.end()) - rest.begin());
}

TEST(Sampler, TheSeedDecides) {
  const std::vector<float> logits = random_logits(300, 12, 2);
  const auto draw = [&](uint64_t seed) {
    Chooser choose(Sampling{}, 300, seed);
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(choose(logits));
    return ids;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

// llama.cpp's rule: positive logits are divided, negative ones multiplied, then presence once and frequency
// per occurrence are taken off; over the last repeat_last_n tokens, -1 for all of them.
TEST(Sampler, Penalties) {
  const std::vector<float> logits{4.0f, 3.9f, -1.0f, 2.0f, -3.0f};
  Sampling sampling = neutral();
  sampling.temperature = 0;
  const auto choose = [&](const std::vector<int32_t>& history) {
    Chooser chooser(sampling, logits.size());
    chooser.history = history;
    return chooser(logits);
  };
  sampling.repeat_penalty = 1.1f;
  EXPECT_EQ(choose({}), 0);
  EXPECT_EQ(choose({0}), 1);
  EXPECT_EQ(choose({0, 1}), 0);        // both down by the same factor
  EXPECT_EQ(choose({0, 0, 0, 1}), 0);  // occurrences do not add up
  sampling.repeat_last_n = 2;
  EXPECT_EQ(choose({0, 3, 3}), 0);  // too long ago
  EXPECT_EQ(choose({3, 0, 3}), 1);
  sampling.repeat_last_n = -1;
  EXPECT_EQ(choose({0, 3, 3, 3, 3}), 1);
  sampling.repeat_last_n = 0;
  EXPECT_EQ(choose({0}), 0);
  sampling.repeat_last_n = 64;
  sampling.repeat_penalty = 1;
  sampling.frequency_penalty = 0.04f;
  EXPECT_EQ(choose({0, 0}), 0);     // 3.92 against 3.9
  EXPECT_EQ(choose({0, 0, 0}), 1);  // 3.88
  sampling.frequency_penalty = 0;
  sampling.presence_penalty = 0.09f;
  EXPECT_EQ(choose({0, 0, 0}), 0);  // 3.91, however often
  sampling.presence_penalty = 0.11f;
  EXPECT_EQ(choose({0}), 1);
  // A negative logit grows more negative.
  const std::vector<float> negative{-1.0f, -1.05f};
  sampling = neutral();
  sampling.temperature = 0;
  sampling.repeat_penalty = 1.2f;
  Chooser chooser(sampling, 2);
  chooser.history = {0};
  EXPECT_EQ(chooser(negative), 1);
}

TEST(Sampler, InfoDescribesTheRawDistribution) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const std::vector<float> logits = random_logits(300, seed, seed % 2 == 0 ? 2 : 15);
    std::vector<double> p(logits.begin(), logits.end());
    const double top = *std::max_element(p.begin(), p.end());
    double total = 0;
    for (double& v : p) total += v = std::exp(v - top);
    double entropy = 0;
    for (double& v : p) {
      v /= total;
      if (v > 0) entropy -= v * std::log(v);
    }
    std::vector<int32_t> order(p.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return p[static_cast<size_t>(a)] > p[static_cast<size_t>(b)]; });
    const auto at = [&](int32_t id) { return p[static_cast<size_t>(id)]; };

    // Filters, penalties and bans do not show in it.
    Sampling sampling;
    sampling.temperature = 1.5f;
    sampling.repeat_penalty = 1.3f;
    Chooser choose(sampling, logits.size(), seed);
    choose.history = {order[0], order[1], order[1]};
    choose.banned = {order[2]};
    choose.wanted = {true, true, 5};
    const int32_t id = choose(logits);
    EXPECT_EQ(choose.info.chosen.id, id);
    EXPECT_NEAR(choose.info.chosen.logprob, std::log(at(id)), 1e-4);
    EXPECT_NEAR(choose.info.margin, at(order[0]) - at(order[1]), 1e-5);
    EXPECT_NEAR(choose.info.entropy, entropy, 1e-4 * (1 + entropy));
    ASSERT_EQ(choose.info.top.size(), 5u);
    for (size_t i = 0; i < 5; ++i) {
      EXPECT_EQ(choose.info.top[i].id, order[i]);
      EXPECT_NEAR(choose.info.top[i].logprob, std::log(at(order[i])), 1e-4);
    }
  }
}

TEST(Sampler, InfoOfABannedBest) {
  // The chosen token's log probability stays that of the raw distribution when a ban forced the choice.
  Sampling greedy = neutral();
  greedy.temperature = 0;
  Chooser choose(greedy, 3);
  choose.banned = {0};
  choose.wanted = {true, true, 0};
  EXPECT_EQ(choose({3, 2, 1}), 1);
  EXPECT_NEAR(choose.info.chosen.logprob, 2 - std::log(std::exp(3) + std::exp(2) + std::exp(1)), 1e-5);
}

class Constrained : public testing::Test {
 protected:
  void SetUp() override {
    bytes_ = model::TinyModel(model::TinySpec{}).to_bytes();
    file_ = std::move(gguf::File::parse(bytes_)).value();
    tokenizer_ = std::move(text::Tokenizer::load(*file_)).value();
  }
  int32_t id(std::string_view bytes) const {
    for (int32_t i = 0; i < tokenizer_->vocab_size(); ++i) {
      if (tokenizer_->token_bytes(i) == bytes) return i;
    }
    return -1;
  }
  std::vector<uint8_t> bytes_;
  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
};

TEST_F(Constrained, TheBestTokenThatAgrees) {
  std::vector<float> logits(static_cast<size_t>(tokenizer_->vocab_size()), 0.0f);
  const auto logit = [&](std::string_view bytes) -> float& { return logits[static_cast<size_t>(id(bytes))]; };
  logit("x") = 100;
  logit("he") = 5;
  logit("hello") = 7;
  logit("h") = 6;
  EXPECT_EQ(choose_constrained(logits, *tokenizer_, "he"), id("hello"));  // goes on past it
  EXPECT_EQ(choose_constrained(logits, *tokenizer_, "help"), id("h"));    // only "h", "he" begin it
  logit("he") = 9;
  EXPECT_EQ(choose_constrained(logits, *tokenizer_, "help"), id("he"));
  EXPECT_EQ(choose_constrained(logits, *tokenizer_, "\xff"), id("\xff"));  // there is a token for each byte
  // By brute force for several texts and random logits.
  for (const char* must : {"h", "the", " the", " an", "world", "wor", "\xc3\xa9", "zq"}) {
    const std::vector<float> random = random_logits(logits.size(), 77, 3);
    int32_t best = -1;
    for (int32_t i = 0; i < tokenizer_->vocab_size(); ++i) {
      const std::string bytes(tokenizer_->token_bytes(i));
      const std::string text(must);
      if (bytes.empty() || (bytes.rfind(text, 0) != 0 && text.rfind(bytes, 0) != 0)) continue;
      if (best < 0 || random[static_cast<size_t>(i)] > random[static_cast<size_t>(best)]) best = i;
    }
    EXPECT_EQ(choose_constrained(random, *tokenizer_, must), best) << must;
  }
}

}  // namespace
}  // namespace hedge::engine
