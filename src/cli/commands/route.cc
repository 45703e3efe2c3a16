// hedge route: the group of commands about what goes upstream.
#include "cli/commands/route.h"

#include <CLI/CLI.hpp>

namespace hedge::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  hedge route explain "Prove that 7 is prime." --config hedge.toml   where it would go, and why
  hedge route replay --config other.toml                    yesterday's decisions under another policy
  hedge route report                                        what went where, as a page of charts
  hedge route train --data outcomes.jsonl --out my.weights  learn the prompt score from outcomes
  hedge route eval --data held_out.jsonl --weights my.weights
  echo '{"prompt": "Prove that 7 is prime."}' | hedge route score
  hedge route probe train -m MODEL --data questions.jsonl --out my.probe
  hedge route calibrate -m MODEL --probe my.probe --data more.jsonl --max-share 0.3 --out my.thresholds

`hedge route COMMAND --help` explains a command. docs/routing.md says what the router does with them.)";

}  // namespace

void add_route(CLI::App& app, Action& chosen) {
  CLI::App* group =
      app.add_subcommand("route", "Explain, report, replay, train and judge what goes upstream");
  group->require_subcommand(1);
  group->footer(kFooter);
  add_route_explain(*group, chosen);
  add_route_replay(*group, chosen);
  add_route_report(*group, chosen);
  add_route_learned(*group, chosen);
  add_route_prompt(*group, chosen);
  add_route_probe(*group, chosen);
  add_route_calibrate(*group, chosen);
}

}  // namespace hedge::cli
