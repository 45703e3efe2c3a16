// Probes: small networks over the local model's own state that give the probability that its answer is wrong,
// one from the end of the prompt, one from the answer so far. Fitted to one model by probe_train.h; of no use
// for another, whose states mean something else.
//
// States: Kadavath et al. 2022 and Azaria and Mitchell 2023 found that they know of wrong answers.
//
// States of prompts that are unlike everything the probe was fitted on say nothing (measured: worse than
// chance). For them the probe falls back to the tokens' log-probabilities.
//
// Immutable after load; thread-safe. Scoring allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::route {

// The model that a probe was fitted on.
struct ProbeModel {
  std::string architecture;
  uint32_t layers = 0, dim = 0, vocab = 0;
  uint64_t fingerprint = 0;  // of its weights: the caller's hash of some of them

  bool operator==(const ProbeModel&) const = default;
  std::string to_text() const;  // "llama, 30 layers of 576, 49152 tokens, fingerprint 0123456789abcdef"
};

// What is kept of the probabilities of an answer's tokens, the end token included.
class TokenFacts {
 public:
  static constexpr size_t kCount = 14;
  static constexpr size_t kLogprobSum = 7;  // index of the sum of log-probabilities
  static constexpr size_t kFirstCount = 3;  // of these, the leading ones: known before anything is generated

  // Of a chosen token: its log-probability, the entropy of the distribution in nats, and the best probability
  // minus the second best.
  void add(float logprob, float entropy, float margin);
  int tokens() const { return tokens_; }
  std::array<float, kCount> values() const;
  double logprob_sum() const { return logprob_sum_; }

 private:
  int tokens_ = 0;
  float first_[kFirstCount] = {};
  float logprob_last_ = 0, logprob_min_ = 0, second_min_ = 0, entropy_max_ = 0, entropy_last_ = 0,
        margin_min_ = 1;
  double logprob_sum_ = 0, entropy_sum_ = 0, margin_sum_ = 0;
};

// Some inputs of a head, in this order.
enum ProbeSource : uint32_t {
  kProbePrompt = 1,  // [2, blocks, dim]
  kProbeAnswer = 2,  // [blocks, dim]
  kProbeFirst = 4,   // [TokenFacts::kFirstCount]
  kProbeFacts = 8,   // [TokenFacts::kCount]
};
inline constexpr uint32_t kProbeSources = 15;

struct ProbeInput {
  std::span<const float> prompt;  // [2, blocks, dim] as in chat::States
  std::span<const float> answer;  // [blocks, dim] mean over the answer's tokens so far
  std::array<float, TokenFacts::kCount> facts{};
};

// score = bias + sum_h out[h] relu(bias_h + sum_i weight[h][i] (x_i - mean_i) / deviation_i). An
// ensemble of networks is one wider network. logit(wrong) is the score on a rising line through the knots,
// level but for a little beyond them.
struct ProbeHead {
  uint32_t sources = 0;
  std::vector<float> mean;           // [inputs]
  std::vector<float> inv_deviation;  // [inputs]
  std::vector<int8_t> weights;       // [hidden, inputs]
  std::vector<float> scales;         // [hidden] of its weights
  std::vector<float> biases;         // [hidden]
  std::vector<float> out;            // [hidden]
  float bias = 0;
  std::vector<float> knots, knot_logits;  // both rising

  size_t inputs() const { return mean.size(); }
  size_t hidden() const { return out.size(); }
  double score(const ProbeInput& input) const;
  double calibrated(double score) const;
  double logit(const ProbeInput& input) const { return calibrated(score(input)); }
};

// Where the prompts lie that the probe was fitted on: centres of their states, standardised.
struct ProbeRegions {
  std::vector<float> mean, inv_deviation;  // [2 * blocks * dim]
  std::vector<int8_t> centres;             // [count, 2 * blocks * dim], in steps of `step`
  float step = 0;
  std::vector<float> radius;  // [count] root mean square distance of its prompts
  float near = 0,
        far = 0;  // distances in radii up to which a prompt counts as known, and from which as unknown

  size_t count() const { return radius.size(); }
  // 1: like what was seen; 0: unlike all of it.
  double familiarity(std::span<const float> prompt) const;
};

// The probes that travel inside the program, one per default model, as bytes for Probe::parse.
std::span<const std::string_view> default_probes();

class Probe {
 public:
  static constexpr size_t kBytesMax = 16u << 20;

  // kCorrupt says what was expected and what came.
  static Result<Probe> parse(std::string_view bytes);
  std::string to_bytes() const;

  // kInvalidArgument names both models when the probe was fitted on another one.
  Status check(const ProbeModel& model) const;

  // Probability that the answer will be, or is, wrong. `familiarity`: of the prompt, by `regions`.
  double wrong_before(const ProbeInput& input,
                      double familiarity) const;                    // by prompt and first token's facts
  double wrong(const ProbeInput& input, double familiarity) const;  // by all
  double wrong_before(const ProbeInput& input) const {
    return wrong_before(input, regions.familiarity(input.prompt));
  }
  double wrong(const ProbeInput& input) const { return wrong(input, regions.familiarity(input.prompt)); }

  ProbeModel model;
  std::vector<int> blocks;  // whose states are read, rising
  ProbeRegions regions;
  ProbeHead before, answer;                  // by states
  ProbeHead before_unknown, answer_unknown;  // by the tokens' probabilities alone
};

}  // namespace hedge::route
