// What is looked at while the local model answers: the probe's word at the checkpoints, the tokens'
// uncertainty, loops, and whether the text can still be what was asked for. A pure function of the pieces, in
// their order.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/event.h"
#include "chat/request.h"
#include "route/answer_form.h"
#include "route/confidence.h"
#include "route/policy.h"
#include "route/thresholds.h"

namespace hedge::route {

// One look, a step of the trace.
struct Finding {
  std::string_view what;  // "confidence.probe", ...
  std::string detail;     // for people
  double value = 0, threshold = 0;
  bool unsure = false;  // the answer should go upstream
};

// Where the local backend has a probe and thresholds belong to it, the probe judges as far as they reach, and
// the quantiles after that; without, the quantiles from the beginning. Loops and forms are watched always.
class InFlight {
 public:
  // `thresholds` may be null, and outlives this.
  InFlight(const Confidence& rule, const Thresholds* thresholds, const chat::Request& request);

  // The next piece. `held`: it is not handed on yet, so that the quantiles wait for judge_first().
  std::vector<Finding> push(const chat::Delta& delta, bool held);
  // While tokens are held: the probe is sure that the answer may stay.
  bool sure() const { return sure_; }
  int tokens() const { return monitor_.tokens(); }
  // The last word on what is held. `done`: when the answer has ended, else null.
  Finding judge_first(const chat::Done* done);

 private:
  Finding judge_probe(int tokens, double p_wrong);

  const Thresholds* const thresholds_;
  const Confidence rule_;
  ConfidenceMonitor monitor_;
  LoopWatch loop_;
  FormWatch form_;
  const Form asked_;
  std::optional<Finding> probed_;  // the last look of the probe
  bool noted_ = false;             // the probe's first look is in the trace
  bool sure_ = false;
};

}  // namespace hedge::route
