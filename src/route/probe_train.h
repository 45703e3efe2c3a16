// Fits a probe (probe.h) to labelled answers of one model: an ensemble of small networks per head (ReLU,
// dropout, AdamW: Loshchilov and Hutter 2019), each fitted without one part of the groups, whose members give
// the held-back scores that the calibration and the report are made from. The same bits for the
// same examples and seed, with any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "route/probe.h"

namespace hedge::route {

// One answer of the model whose rightness is known.
struct ProbeExample {
  // As in ProbeInput.
  struct Answer {
    std::vector<float> states;
    std::array<float, TokenFacts::kCount> facts{};
    bool wrong = false;
  };
  std::vector<float> prompt;
  Answer answer;                // the greedy one
  std::vector<Answer> sampled;  // others, drawn at temperature 1: fitted to, neither calibrated nor judged by
  std::vector<Answer> beginnings;  // the greedy one when only so much of it was known: likewise
  uint32_t group = 0;  // examples of one group share a question: never split over fitting and judging
  uint32_t task = 0;   // kind of question, 0 when unknown: for weights and for the report
};

struct ProbeTrainOptions {
  uint64_t seed = 1;
  int threads = 2;
  int members = 10;  // networks of an ensemble, twice `parts` or more; each leaves out one of them
  int parts = 5;     // that the groups are cut into
  int hidden = 16;   // units of a network
  int epochs = 120;
  float whole =
      0.4f;  // of the looks at an example, so many are at the whole greedy answer, the rest at others
  float luck = 0.3f;  // before the answer, what the sampled answers say of a question counts so much
  float learning_rate = 4e-3f;  // falls to 0 along a line
  float weight_decay = 0.05f;
  float dropout_input = 0.05f, dropout_hidden = 0.2f;
};

// Fewer examples than these teach no head.
inline constexpr size_t kProbeExamplesMin = 200;

// Of held-back groups. AUROC of "wrong", the mean over the tasks that have both kinds.
struct ProbeReport {
  size_t examples = 0, tasks = 0;
  double wrong = 0;  // share
  double auroc_before = 0, auroc_answer = 0, auroc_unknown = 0, auroc_logprob = 0;
  double calibration_error = 0;  // of the probability after the answer, ten equal bins, all tasks together
};

// `blocks`: whose states the examples hold. kInvalidArgument says what the examples lack. `progress` is told
// networks done and networks in all, from any thread, one call at a time.
Result<Probe> train_probe(const ProbeModel& model, const std::vector<int>& blocks,
                          std::span<const ProbeExample> examples, const ProbeTrainOptions& options,
                          const std::function<void(int, int)>& progress, ProbeReport& report);

// The blocks whose states a probe of a model of so many layers reads, unless told otherwise.
std::vector<int> default_probe_blocks(int layers);

// Mean over tasks of the AUROC of `scores` (higher: wrong) within each; tasks of one kind are left out. 0.5
// when none is left.
double within_task_auroc(std::span<const double> scores, std::span<const ProbeExample> examples);

}  // namespace hedge::route
