// Fits the tagger's weights: maximum likelihood of the field by stochastic gradient with AdaGrad (Duchi,
// Hazan and Singer, 2011), on the texts given, on variations of them, and on filled templates. Minutes of one
// core; not part of answering.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "privacy/augment.h"
#include "privacy/example.h"

namespace hedge::privacy {

struct TrainOptions {
  int epochs = 5;
  int prune_epochs = 2;       // after the weak rows have gone
  int copies = 12;            // variations of every marked text
  int fills = 30;             // of every template
  uint32_t rows_max = 16000;  // features that the file keeps
  double dropout = 0.4;       // share of a token's features that a step does not see (Srivastava and others,
                              // 2014): without, the words of a template are learnt by heart
  double rate = 0.1;          // of AdaGrad
  double l2 = 2e-5;           // pull towards 0, per step
  double unlisted = 0.35;     // share of texts whose names are treated as in no list
  double outside_bias = 0.6;  // taken from the score of "no type": recall counts twice as much as precision
  uint64_t seed = 1;
  std::function<void(std::string_view)> progress;  // may be empty
};

struct TrainData {
  std::vector<Example> marked;
  std::vector<Example> clean;          // texts without any mark, taken as they are
  std::vector<std::string> templates;  // with {{TYPE}} in place of values
  WordLists lists;
};

// The bytes of a weights file. kInvalidArgument when there is nothing to learn from.
Result<std::string> train_tagger(const TrainData& data, const TrainOptions& options);

}  // namespace hedge::privacy
