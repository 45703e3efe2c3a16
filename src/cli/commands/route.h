// The group `hedge route`: commands about the decision what goes upstream. One file and one line each: in
// route.cc, `add_route_NAME(*group, chosen)`.
#pragma once

#include "cli/command.h"

namespace hedge::cli {

// `hedge route train`, `eval` and `score`: the prompt score.
void add_route_prompt(CLI::App& group, Action& chosen);
// `hedge route probe train` and `score`: the probability that a local answer is wrong.
void add_route_probe(CLI::App& group, Action& chosen);

// `hedge route calibrate`: when a probe's word sends an answer upstream.
void add_route_calibrate(CLI::App& group, Action& chosen);

// `hedge route explain`: the decision about one prompt.
void add_route_explain(CLI::App& group, Action& chosen);
// `hedge route learned`: show, export and wipe what was learned.
void add_route_learned(CLI::App& group, Action& chosen);
// `hedge route report`: charts of the recorded decisions.
void add_route_report(CLI::App& group, Action& chosen);
// `hedge route replay`: recorded decisions under another policy.
void add_route_replay(CLI::App& group, Action& chosen);

}  // namespace hedge::cli
