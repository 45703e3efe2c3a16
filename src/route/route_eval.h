// How good a ranking of prompts is, by RouteLLM's own method (Ong et al. 2024, `routellm/evals/evaluate.py`):
// the curve of accuracy over the share of prompts that go to the strong model, at the ten deciles of the
// score.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"

namespace hedge::route {

struct Interval {
  double value = 0, lo = 0, hi = 0;  // lo, hi: 2.5 % and 97.5 % of the bootstrap
};

struct RouteEvaluation {
  // Area between the curve and the weak model's accuracy, over the area between both models': 0.5 is chance.
  Interval apgr;
  // Per cent of prompts that must go to the strong model to win 50 and 80 % of its gain, from the same
  // points.
  Interval cpt50, cpt80;
  // The same at the first place where the full curve, prompt by prompt, gets there.
  double first50 = 0, first80 = 0;
  size_t n = 0;
  double weak_mean = 0, strong_mean = 0;
  uint64_t seed = 0;
  int draws = 0;
};

struct EvalOptions {
  uint64_t seed = 1;  // of the order among equal scores, and of the bootstrap
  int draws = 1000;   // of the bootstrap over prompts; 0: lo and hi are the value
};

// All spans have one value per prompt; weak and strong are 0 to 1. kInvalidArgument for fewer than 10
// prompts, a score that is no number, or a strong model that is not better on average: then there is no gain
// to share.
Result<RouteEvaluation> evaluate_route(std::span<const double> score, std::span<const double> weak,
                                       std::span<const double> strong, const EvalOptions& options);

// APGR alone, equal scores in the order given by a seed; 0.5 where it is not defined. For choosing settings.
double apgr_of(std::span<const double> score, std::span<const double> weak, std::span<const double> strong,
               uint64_t seed);

}  // namespace hedge::route
