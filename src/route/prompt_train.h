// Learns the prompt score from outcomes: ridge regression of the gain (strong minus weak) on the features of
// prompt_features.h, solved by conjugate gradients over the sparse rows. How strongly each group of features
// is held back is chosen by cross-validation inside the training file; so is the calibration.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "route/outcomes.h"
#include "route/prompt_score.h"

namespace hedge::route {

enum class Folds : uint8_t {
  kAuto,   // by group where groups are small, see below; by line otherwise
  kGroup,  // lines of one group are never split
  kLine,
};
// Groups of more lines than this on average are topics rather than variants of one question: prompts of the
// same topics come again when the score is used, so lines are what is left out.
inline constexpr double kGroupLinesMax = 8;

struct TrainOptions {
  uint64_t seed = 1;  // of the folds
  int threads = 2;
  Folds folds = Folds::kAuto;
  // Fixed settings in place of the search; 0: search.
  double ridge = 0, topic_scale = -1, shape_scale = -1;
};

struct TrainReport {
  size_t labels = 0;
  double gain = 0;                                     // mean
  double apgr = 0;                                     // of the predictions for lines left out
  double r_squared = 0;                                // of the same, on the gain
  double ridge = 0, topic_scale = 0, shape_scale = 0;  // chosen
  bool by_group = false;
  double seconds = 0;
};

// `done` is called with a share of the work, 0 to 1, from the calling thread. kInvalidArgument for fewer than
// 50 outcomes, or ones that all have the same gain.
Result<PromptWeights> train_prompt_score(std::span<const Outcome> outcomes, const TopicTable& topics,
                                         const TrainOptions& options, TrainReport* report,
                                         const std::function<void(double)>& done = {});

}  // namespace hedge::route
