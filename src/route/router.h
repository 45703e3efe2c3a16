// The router: a chat::Backend over a local one and an upstream. Gates first, then a confidence rule on the local model's
// own token probabilities, which may hand over before the first token or in mid-answer; and back when the upstream dies.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "chat/backend.h"

namespace hedge::route {

// Thresholds of the first confidence rule. Quantiles are taken over a window of the local model's tokens.
struct Confidence {
  bool enabled = true;
  int first_tokens = 4;            // held back until judged, before anything is sent
  int first_hold_ms = 1500;        // at most this long
  int window_tokens = 16;          // for the rule in mid-answer
  int check_every_tokens = 4;
  double first_margin_quantile = 0.5, first_margin_min = 0.15;
  double first_entropy_quantile = 0.5, first_entropy_max = 2.5;
  double mid_margin_quantile = 0.5, mid_margin_min = 0.08;
  double mid_entropy_quantile = 0.5, mid_entropy_max = 3.0;
};

struct Policy {
  bool offline = false;                       // nothing goes upstream at all
  // The two privacy gates. A policy may open them; a request never can.
  bool private_sessions_stay_local = true;
  bool personal_data_stays_local = true;
  // Upstream tokens (prompt and completion) allowed per UTC day; 0: no limit.
  int64_t upstream_tokens_per_day = 0;
  // Longest wait for the end of a word before a switch happens anyway, in tokens.
  int word_end_wait_tokens = 16;
  Confidence confidence;
};

struct Counters {
  uint64_t local = 0, upstream = 0, mixed = 0;    // answers, by who wrote them
  uint64_t escalated_first = 0, escalated_mid = 0; // switches, by when
  uint64_t upstream_failed = 0, resumed_local = 0;
  uint64_t kept_private = 0;
  int64_t upstream_tokens_today = 0;
};

class Router : public chat::Backend {
 public:
  // `upstream` may be null: everything is answered locally. Both outlive the router.
  static std::unique_ptr<Router> create(chat::Backend& local, chat::Backend* upstream, Policy policy);
  virtual Counters counters() const = 0;
};

}  // namespace hedge::route
