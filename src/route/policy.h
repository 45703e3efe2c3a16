// What an operator says about routing: plain data, read from the configuration by cli/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "privacy/policy.h"
#include "route/cost.h"
#include "route/rules.h"

namespace hedge::route {

// When the local model's answer goes upstream. A probe (probe.h) judges where there is one and thresholds
// belong to it; else, and beyond them, the quantiles do; what those are held against is defined in
// confidence.h. A minimum of 0 or a maximum above ln(vocabulary) turns its signal off. The defaults were
// measured on SmolLM2-135M: docs/routing.md has the figures and says how to calibrate for another model.
struct Confidence {
  bool enabled = true;
  // Read by who builds the router. "auto": the program's own probe for the model, if there is one; "off"; or
  // a file from `hedge route probe train`.
  std::string probe = "auto";
  std::string thresholds;    // file from `hedge route calibrate`; empty: the program's own for that probe
  bool repetition = true;    // an answer that goes round in a loop is unsure
  bool format = true;        // so is one that cannot become what was asked for, or holds garbage
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

// Whoever has a key of their own. What is not set is the policy's.
struct Tenant {
  std::string name;
  int64_t upstream_tokens_per_day = 0;  // 0: no limit of its own
  double upstream_money_per_day = 0;    // 0: no limit of its own
  std::optional<Strategy> use;          // where no rule applies
  privacy::Classes privacy{};           // stricter classes of its own
};

inline constexpr size_t kTenantsMax = 1024;

struct Policy {
  bool offline = false;     // nothing goes upstream at all
  privacy::Policy privacy;  // a policy may open its gates; a request never can
  // Upstream tokens (prompt and completion) allowed per UTC day; 0: no limit. Reserved at their upper bound
  // before a request goes out, settled to what the upstream reports after.
  int64_t upstream_tokens_per_day = 0;
  // Longest upstream answer while there is a budget and the request names no limit of its own: without one,
  // nothing could be reserved.
  int upstream_answer_tokens_max = 4096;
  // The local model begins beside an upstream that is silent for so long, and whichever has text first
  // answers; it costs nothing but local work. -1: three times as long as the upstream takes otherwise
  // (Core::race_after); 0: never. The strategy "race" begins both at once, whatever stands here.
  int race_after_ms = -1;
  // Longest wait for the end of a word before a switch happens anyway, in tokens.
  int word_end_wait_tokens = 16;
  // The same in money, in the currency of the prices; 0: no limit.
  double upstream_money_per_day = 0;
  // How requests are answered that the gates leave open and no rule applies to.
  std::string use = "local-first";
  double deadline_ms = 10000;  // of the strategy "deadline"
  double gain_prior = 0.2;     // the expected gain where nothing estimates it
  double bias_max = 0.2;       // bound of what is learned, in units of the gain; 0: nothing is learned
  // Names of network interfaces, with '*', that are metered when the default route leads over them.
  std::string metered_interfaces = "wwan*,rmnet*,ppp*,usb*";
  Prices prices;
  PromptRule prompt;
  Confidence confidence;
  std::vector<Rule> rules;
  std::vector<Tenant> tenants;
};

}  // namespace hedge::route
