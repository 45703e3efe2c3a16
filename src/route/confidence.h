// The first confidence rule: a pure function of the local model's token stream.
//
// Per token the engine gives two figures of the next-token distribution before any sampling filter: the
// margin (probability of the best token minus that of the second best, 0..1) and the entropy (nats). Over a
// window of tokens the rule takes
//   m = the q-quantile of the margins,  unsure when m < margin_min
//   e = the q-quantile of the entropies, unsure when e > entropy_max
// and either is enough. The q-quantile of n sorted values v[0..n-1] is the linear interpolation at position
// q*(n-1) (Hyndman and Fan's type 7, numpy's default), so that thresholds fitted with numpy mean the same
// here.
//
// Why quantiles and not sums: a sum of log-probabilities grows with the length of the answer and defers no
// better than chance, quantiles of the tokens' uncertainty do (Gupta et al., "Language Model Cascades:
// Token-Level Uncertainty and Beyond", ICLR 2024). Which ones: among the first tokens the worst quarter is
// looked at (lower quartile of the margin, upper of the entropy), since there are few and the first content
// word is one of them; in mid-answer the median, since any good answer holds single dips (names, numbers) and
// only a window that is mostly guesses says that the model has lost its way. Figures: docs/routing.md.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "chat/event.h"
#include "route/policy.h"

namespace hedge::route {

// Type 7 quantile; values are reordered. REQUIRES: not empty, 0 <= q <= 1.
double quantile(std::span<double> values, double q);

// What one look at the window gave: the signal that crossed its threshold, or, when none did, the margin.
struct Judgement {
  bool unsure = false;
  std::string_view signal = "margin";  // or "entropy"
  double value = 0;
  double threshold = 0;
  int tokens = 0;  // judged
};

// Follows one answer. Allocates in its constructor only.
class ConfidenceMonitor {
 public:
  explicit ConfidenceMonitor(const Confidence& rule);

  void push(const chat::TokenInfo& token);
  int tokens() const { return tokens_; }

  // Over the first tokens, all that came so far. Sure when none came.
  Judgement judge_first();
  // To be asked after each push: at a checkpoint with a full window the judgement, else nothing. Unsure only
  // when mid_checks_in_a_row checkpoints agree.
  std::optional<Judgement> judge_mid();

 private:
  Judgement judge(size_t count, double margin_quantile, double margin_min, double entropy_quantile,
                  double entropy_max);

  const Confidence rule_;
  const size_t capacity_;
  std::vector<double> margins_;    // ring of capacity_
  std::vector<double> entropies_;  // ring of capacity_
  std::vector<double> scratch_;
  int tokens_ = 0;
  int unsure_in_a_row_ = 0;
};

}  // namespace hedge::route
