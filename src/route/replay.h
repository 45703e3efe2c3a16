// Recorded decisions taken again under another policy, from the facts in their traces alone. Pure.
//
// What is not recorded is not invented: where an answer went upstream before its first token, nobody knows
// whether the local model would have been unsure, so under a policy that begins here it counts as local. A
// race goes to the side that was predicted sooner. Budgets are followed from the first trace on, day by day.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "chat/trace.h"
#include "route/budget.h"
#include "route/decision.h"
#include "route/policy.h"

namespace hedge::route {

struct Replayed {
  bool has_facts = false;  // else nothing below is set
  std::string_view route;  // "local", "upstream" or "mixed"
  std::string_view why;    // as Plan::why
  std::string rule;        // empty: none applied
  int64_t tokens = 0;      // upstream
  int64_t nanos = 0;       // billionths of the prices' currency
  double predicted_ms = 0;
};

// What the upstream's tokens of a recorded answer cost at these prices; at those of its time it is
// Trace::upstream_nanos.
int64_t recorded_nanos(const chat::Trace& trace, const Prices& prices);

class Replay {
 public:
  explicit Replay(const Policy& policy);

  // REQUIRES: traces in the order of their times.
  Replayed decide(const chat::Trace& trace);

 private:
  const Policy& policy_;
  int64_t now_ms_ = 0;  // of the trace at hand
  Budget budget_;
};

}  // namespace hedge::route
