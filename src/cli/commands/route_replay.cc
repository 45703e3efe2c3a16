// hedge route replay: the decisions of the session database, taken again under another policy.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/commands/route.h"
#include "cli/config/check.h"
#include "cli/config/config.h"
#include "cli/options.h"
#include "cli/recorded_speeds.h"
#include "cli/session_store.h"
#include "cli/terminal.h"
#include "route/replay.h"
#include "session/recorder.h"

namespace hedge::cli {
namespace {

using json = nlohmann::ordered_json;

struct Options {
  std::string config_path;
  std::string data_dir;
  std::string since = "1d";
  bool list = false;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
Examples:
  hedge route replay --config other.toml                 the last day
  hedge route replay --config other.toml --since 7d --list

Only what was recorded is used: where an answer went upstream at once, nobody knows whether the local model would have been
unsure, so under a policy that begins here it counts as local; a race goes to the side predicted sooner. The recorded money
is what the decisions have on record, at the prices of their time; the replayed one is at the prices in FILE. Decisions of a
program that recorded no facts, and answers that were broken off, are left out; their number and cost are told.)";

// Routes and their cost, on one side of the comparison.
struct Side {
  int64_t local = 0, upstream = 0, mixed = 0;
  int64_t tokens = 0, nanos = 0;

  void add(std::string_view route, int64_t its_tokens, int64_t its_nanos) {
    ++(route == "local" ? local : route == "upstream" ? upstream : mixed);
    tokens += its_tokens;
    nanos += its_nanos;
  }
  double share_upstream() const {
    const auto all = static_cast<double>(local + upstream + mixed);
    return all > 0 ? static_cast<double>(upstream + mixed) / all : 0;
  }
};

struct Comparison {
  Side before, after;
  int64_t decisions = 0, changed = 0;
  int64_t left_out = 0, left_out_tokens = 0, left_out_nanos = 0;
  std::map<std::string, int64_t> changes;  // by "local -> upstream (policy.upstream_first)"
};

double money(int64_t nanos) { return static_cast<double>(nanos) * 1e-9; }

json to_json(const Side& side) {
  return {{"local", side.local},   {"upstream", side.upstream},
          {"mixed", side.mixed},   {"share_upstream", side.share_upstream()},
          {"tokens", side.tokens}, {"money", money(side.nanos)}};
}

void print_side(const char* name, const Side& side) {
  fmt::print("{:<12} {:>8} {:>9} {:>7} {:>9.1f} % {:>12} {:>12.6f}\n", name, side.local, side.upstream,
             side.mixed, 100 * side.share_upstream(), side.tokens, money(side.nanos));
}

void print_text(const Comparison& c) {
  fmt::print("{:<12} {:>8} {:>9} {:>7} {:>11} {:>12} {:>12}\n", "", "local", "upstream", "mixed", "gone up",
             "tokens", "money");
  print_side("recorded", c.before);
  print_side("replayed", c.after);
  fmt::print("{} of {} decisions would change", c.changed, c.decisions);
  fmt::print("\n");
  if (c.left_out > 0) {
    fmt::print("left out: {} that were broken off or have no facts on record, {} tokens, {:.6f} in money\n",
               c.left_out, c.left_out_tokens, money(c.left_out_nanos));
  }
  for (const auto& [change, count] : c.changes) fmt::print("{:>8}  {}\n", count, change);
}

int run_replay(const Options& options) {
  const auto given = policy_from(options.config_path, options.data_dir);
  if (!given.ok()) return fail(given.error()), kExitUsage;
  const Settings& settings = *given;
  const auto span_ms = parse_since(options.since);
  if (!span_ms.ok()) return fail(span_ms.error()), kExitUsage;
  const auto store = open_recorded(settings);
  if (!store.ok()) return fail(store.error());
  Comparison all;
  route::Replay replay(settings.policy);
  const auto passed_over =
      (*store)->for_each_decision(unix_time_ms() - *span_ms, [&](const chat::Trace& trace) {
        route::Replayed again;
        if (!session::was_broken_off(trace)) again = replay.decide(trace);
        if (!again.has_facts) {
          ++all.left_out;
          all.left_out_tokens += trace.upstream_tokens;
          all.left_out_nanos += trace.upstream_nanos;
          return true;
        }
        ++all.decisions;
        all.before.add(trace.route, trace.upstream_tokens, trace.upstream_nanos);
        all.after.add(again.route, again.tokens, again.nanos);
        if (again.route == trace.route) return true;
        ++all.changed;
        const std::string by =
            again.rule.empty() ? std::string(again.why) : fmt::format("{}, {}", again.why, again.rule);
        ++all.changes[fmt::format("{} -> {} ({})", printable(trace.route), again.route, printable(by))];
        if (options.list && !options.as_json)
          fmt::print("{}  {} -> {}  {}\n", printable(trace.id), printable(trace.route), again.route,
                     printable(by));
        return true;
      });
  if (!passed_over.ok()) return fail(passed_over.error());
  all.left_out += *passed_over;
  if (options.as_json) {
    json changes = json::object();
    for (const auto& [change, count] : all.changes) changes[change] = count;
    fmt::print("{}\n", json{{"decisions", all.decisions},
                            {"changed", all.changed},
                            {"left_out", all.left_out},
                            {"left_out_money", money(all.left_out_nanos)},
                            {"recorded", to_json(all.before)},
                            {"replayed", to_json(all.after)},
                            {"changes", std::move(changes)}}
                           .dump(2, ' ', false, json::error_handler_t::replace));
  } else {
    print_text(all);
  }
  return kExitOk;
}

}  // namespace

void add_route_replay(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand(
      "replay", "Take recorded decisions again under another policy; say what would change and cost");
  command->footer(kFooter);
  command->add_option("--config", options->config_path, "TOML file with the other policy")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--data-dir", options->data_dir, "Folder of the session database (default as FILE says)")
      ->type_name("DIR");
  command->add_option("--since", options->since, "How far back: hours or days, like 36h or 7d")
      ->type_name("TIME")
      ->capture_default_str();
  command->add_flag("--list", options->list, "Also every decision that would change");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, &chosen] { chosen = [options] { return run_replay(*options); }; });
}

}  // namespace hedge::cli
