// The router: a chat::Backend over a local one and an upstream. Gates first (gates.h), then a confidence rule
// on the local model's own token probabilities (confidence.h), which may hand over before the first token or
// in mid-answer; and back when the upstream dies (hybrid_stream.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "chat/backend.h"

namespace hedge::route {

// Thresholds of the first confidence rule; what they are held against is defined in confidence.h. A minimum
// of 0 or a maximum above ln(vocabulary) turns its signal off. The defaults were measured on SmolLM2-135M:
// docs/routing.md has the figures and says how to calibrate for another model.
struct Confidence {
  bool enabled = true;
  int first_tokens = 6;      // held back until judged, before anything is sent; 0: send at once
  int first_hold_ms = 1500;  // at most this long after the first of them came
  int window_tokens = 16;    // for the rule in mid-answer
  int check_every_tokens = 4;
  int mid_checks_in_a_row = 2;  // checkpoints that must agree: one bad window may be one hard name
  double first_margin_quantile = 0.25, first_margin_min = 0.03;
  double first_entropy_quantile = 0.75, first_entropy_max = 3.0;
  double mid_margin_quantile = 0.5, mid_margin_min = 0.1;
  double mid_entropy_quantile = 0.5, mid_entropy_max = 2.75;
};

// The prompt score (prompt_score.h): a prompt that promises enough goes upstream before anything runs. Off by
// default: the weights in the program were learned from other models than the user's two.
struct PromptRule {
  bool enabled = false;
  std::string
      weights;  // file from `hedge route train`; empty: those in the program. Read by who builds the router.
  double gain_min = 0.3;  // expected gain, upstream's mark minus local one's, from which a prompt goes up
};

struct Policy {
  bool offline = false;  // nothing goes upstream at all
  // The two privacy gates. A policy may open them; a request never can.
  bool private_sessions_stay_local = true;
  bool personal_data_stays_local = true;
  // Upstream tokens (prompt and completion) allowed per UTC day; 0: no limit. Reserved at their upper bound
  // before a request goes out, settled to what the upstream reports after.
  int64_t upstream_tokens_per_day = 0;
  // Longest upstream answer while there is a budget and the request names no limit of its own: without one,
  // nothing could be reserved.
  int upstream_answer_tokens_max = 4096;
  // The local model begins beside an upstream that is silent for so long, and whichever has text first
  // answers; it costs nothing but local work. -1: three times as long as the upstream takes otherwise
  // (Core::race_after); 0: never.
  int race_after_ms = -1;
  // Longest wait for the end of a word before a switch happens anyway, in tokens.
  int word_end_wait_tokens = 16;
  PromptRule prompt;
  Confidence confidence;
};

struct Counters {
  uint64_t local = 0, upstream = 0, mixed = 0;      // answers that ended in Done, by who wrote them
  uint64_t failed = 0, cancelled = 0;               // answers that did not
  uint64_t escalated_first = 0, escalated_mid = 0;  // switches to the upstream, by when
  uint64_t upstream_failed = 0, resumed_local = 0;
  uint64_t races = 0, races_won = 0;  // local beside a silent upstream; of these, won by the local model
  uint64_t kept_private = 0;
  int64_t upstream_tokens_today = 0;
};

class PromptScore;

class Router : public chat::Backend {
 public:
  // `upstream` may be null: everything is answered locally. `prompt_score` is asked where policy.prompt is
  // on, and may be null where it is off. All of them outlive the router and its streams.
  static std::unique_ptr<Router> create(chat::Backend& local, chat::Backend* upstream, Policy policy,
                                        const PromptScore* prompt_score = nullptr);

  virtual Counters counters() const = 0;
  // What this UTC day has used before the process began, so that a budget survives a restart.
  virtual void seed_upstream_tokens_today(int64_t tokens) = 0;
};

}  // namespace hedge::route
