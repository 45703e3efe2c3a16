// The prompt score: from a prompt alone, before anything runs, what the upstream's answer is expected to gain
// over the local model's (strong minus weak, each 0 to 1). Linear in three groups of features
// (prompt_features.h): n-grams by tf-idf, the topic's probabilities, the shape. Learned by prompt_train.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "route/prompt_features.h"

namespace hedge::route {

inline constexpr size_t kWeightsBytesMax = 8u << 20;  // of a weights file

// What the file holds, as numbers.
struct PromptWeights {
  uint32_t labels = 0;           // outcomes it was learned from
  uint64_t topics_checksum = 0;  // of the topic table that it was learned with
  float intercept = 0;
  // Calibration, on predictions for prompts left out of the fit: gain = offset + slope * raw.
  float offset = 0, slope = 1;
  std::array<float, kShapes> shape_mean{}, shape_weight{};  // standard deviation and scale are in the weight
  std::array<float, kTopicsMax> topic_weight{};             // the mean is in the intercept
  std::vector<float> weight;                                // [kBuckets]
  std::vector<float> idf;  // [kBuckets] ln((labels + 1) / (prompts with it + 1))
};

// Immutable; any thread.
class PromptScore {
 public:
  // The bytes of a weights file. kCorrupt says what was expected; kUnsupported when it was made with another
  // topic table than `topics`, which must outlive the score.
  static Result<PromptScore> parse(std::string_view bytes, const TopicTable& topics = TopicTable::embedded());
  // The weights that travel inside the program.
  static const PromptScore& embedded();

  // `weights` as they are; REQUIRES vectors of kBuckets.
  PromptScore(const PromptWeights& weights, const TopicTable& topics);

  // Expected gain of going upstream; higher means go. Not clamped: a little outside -1 to 1 is possible.
  // Allocates nothing.
  double score(std::string_view prompt) const;

  uint32_t labels() const { return head_.labels; }

 private:
  struct Bucket {
    float weight_idf, idf_squared;
  };

  PromptWeights head_;  // its vectors are empty
  const TopicTable* topics_;
  std::vector<Bucket> buckets_;  // [kBuckets]
};

// The file. Weights of n-grams are stored in 16 bits, their idf in 8.
std::string to_bytes(const PromptWeights& weights);

}  // namespace hedge::route
