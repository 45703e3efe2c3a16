// hedge route explain: the decision about one prompt, taken and explained without sending anything anywhere.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "api/call.h"
#include "base/clock.h"
#include "cli/commands/route.h"
#include "cli/config/check.h"
#include "cli/config/config.h"
#include "cli/environment.h"
#include "cli/models/store.h"
#include "cli/options.h"
#include "cli/recorded_speeds.h"
#include "cli/session_store.h"
#include "cli/terminal.h"
#include "route/core.h"
#include "route/situation.h"

namespace hedge::cli {
namespace {

using json = nlohmann::ordered_json;

struct Options {
  std::string prompt;
  std::string model;
  std::string config_path;
  std::string data_dir;
  std::string tenant;
  std::vector<std::string> tags;
  int max_tokens = -1;
  bool is_private = false;
  bool as_json = false;
  bool assume_upstream = false;
  double gain = 0;
  bool gain_given = false;
  int repeat = 0;
};

constexpr const char* kFooter = R"(
Examples:
  hedge route explain "Prove that 7 is prime." --config hedge.toml
  hedge route explain "Summarise this" --config hedge.toml --tag draft --tenant office --json
  hedge route explain "Hello" --config hedge.toml --repeat 100000     how long the decision itself takes

Nothing is sent and no model is loaded. Budgets count as untouched and the upstream as reachable; the speeds are the last
ones that the server recorded (--data-dir, else the home of Hedge), or guesses where it recorded none. A model that the
server would refuse and a tag that no rule asks for are named at the end.)";

// The server's own way: gates, rule, formula.
struct Explained {
  route::Situation situation;
  privacy::Finding finding;
  route::Plan plan;
  bool speeds_recorded = false;
  std::string over_budget;         // why it is gate.over_budget, else empty
  std::vector<std::string> notes;  // what of the request means nothing here
};

chat::Request request_of(const Options& options) {
  chat::Request request;
  request.messages = {{chat::Role::kUser, options.prompt, ""}};
  request.model = options.model;
  request.max_tokens = options.max_tokens;
  request.routing.private_session = options.is_private;
  request.routing.tags = options.tags;
  request.routing.tenant = options.tenant;
  return request;
}

// What the server calls its own model; empty where no model is configured.
std::string local_model(const Settings& settings) {
  if (!settings.engine.alias.empty() || settings.model.empty()) return settings.engine.alias;
  const auto store = ModelStore::from_environment();
  const auto path = store.ok() ? store->resolve(settings.model) : Result<std::string>(store.error());
  return std::filesystem::path(path.ok() ? *path : settings.model).stem().string();
}

// The names of models that the server takes, and what it makes of the upstream's.
void resolve_model(const Settings& settings, chat::Request& request, std::vector<std::string>& notes) {
  const std::string local = local_model(settings);
  const std::string upstream = settings.upstream.base_url.empty() ? "" : settings.upstream.model;
  const std::string& name = request.model;
  if (name.empty() || name == "default" || name == local) return;
  if (name == upstream) {
    if (request.routing.route == chat::Route::kAuto) request.routing.route = chat::Route::kUpstream;
    return;
  }
  if (local.empty()) {
    notes.push_back(fmt::format("no model is configured here, so whether '{}' is served is not known", name));
    return;
  }
  const std::string more = upstream.empty() ? "" : fmt::format(" and, upstream, '{}'", upstream);
  notes.push_back(
      fmt::format("the server would refuse the model '{}' (404): it serves '{}'{}", name, local, more));
}

Explained explain(const Options& options, const Settings& settings, chat::Request& request,
                  const std::optional<route::Speeds>& speeds) {
  Explained out;
  resolve_model(settings, request, out.notes);
  const route::Environment environment = make_environment(settings.policy);
  out.finding =
      privacy::OutboundGate(settings.policy.privacy, route::classes_of(settings.policy)).judge(request);
  out.situation = route::situation_of(request, out.finding.outcome);
  out.situation.facts.has_upstream = options.assume_upstream || !settings.upstream.base_url.empty();
  out.situation.facts.upstream_available = out.situation.facts.has_upstream;
  out.situation.rule.device = environment.device();
  out.situation.gain.value = settings.policy.gain_prior;
  if (environment.gain && out.finding.outcome == route::Privacy::kClean)
    out.situation.gain = environment.gain(request);
  if (options.gain_given) out.situation.gain = {options.gain, "--gain"};
  out.speeds_recorded = speeds.has_value();
  if (speeds) out.situation.speeds = *speeds;
  const size_t account = route::account_of(settings.policy, options.tenant);
  const route::Budget budget(route::limits_of(settings.policy), unix_time_ms);
  const route::Amount bound =
      route::bound_of(settings.policy, route::prompt_tokens_max(request), request.max_tokens, 0);
  out.situation.facts.budget_left = budget.fits(bound, account);
  out.plan = route::make_plan(out.situation, settings.policy);
  if (out.plan.gate->name == "gate.over_budget")
    out.over_budget = budget.why_not(bound, account) + ", of which nothing counts as spent here";
  for (const std::string& tag : options.tags) {
    if (!route::asks_for_tag(settings.policy.rules, tag))
      out.notes.push_back(fmt::format("no rule asks for the tag '{}'", tag));
  }
  return out;
}

std::string outcome(const route::Plan& plan) {
  switch (plan.begin) {
    case route::Begin::kLocal:
      return plan.may_go_upstream ? "begins here; the upstream may take over" : "stays here";
    case route::Begin::kUpstream:
      return "goes upstream; comes back here when that fails";
    case route::Begin::kRace:
      return "both at once; the first text goes on";
  }
  return "";
}

json to_json(const Explained& e) {
  json terms = json::object();
  for (size_t i = 0; i < e.plan.terms.size(); ++i) terms[std::string(route::kTermNames[i])] = e.plan.terms[i];
  json facts = json::object();
  for (const chat::Fact& fact : route::facts_of(e.situation))
    facts[fact.name] = fact.is_text ? json(fact.text) : json(fact.number);
  return {{"gate", e.plan.gate->name},
          {"privacy", e.finding.detail},
          {"over_budget", e.over_budget.empty() ? json() : json(e.over_budget)},
          {"notes", e.notes},
          {"rule", e.plan.rule == nullptr ? json() : json(e.plan.rule->name)},
          {"strategy", route::to_string(e.plan.strategy)},
          {"why", e.plan.why},
          {"begin", e.plan.begin == route::Begin::kLocal      ? "local"
                    : e.plan.begin == route::Begin::kUpstream ? "upstream"
                                                              : "race"},
          {"may_go_upstream", e.plan.may_go_upstream},
          {"speeds_recorded", e.speeds_recorded},
          {"predicted",
           {{"local_ms", e.plan.prediction.local_ms}, {"upstream_ms", e.plan.prediction.upstream_ms}}},
          {"terms", std::move(terms)},
          {"net", e.plan.net},
          {"facts", std::move(facts)}};
}

const char* help_of(size_t term) {
  static constexpr const char* kHelp[] = {
#define HEDGE_TERM(enumerator, name, help) help,
#include "route/term_list.inc"
#undef HEDGE_TERM
  };
  return kHelp[term];
}

void print_text(const Explained& e) {
  const route::Plan& plan = e.plan;
  const std::string detail = plan.gate->is_privacy ? e.finding.detail : e.over_budget;
  fmt::print("gate       {}{}\n", plan.gate->name, detail.empty() ? "" : " (" + printable(detail) + ")");
  if (e.finding.outcome == route::Privacy::kMasked)
    fmt::print("privacy    would leave masked: {}\n", printable(e.finding.detail));
  fmt::print("rule       {}\n", plan.rule == nullptr ? "none applies" : printable(plan.rule->name));
  fmt::print("strategy   {}\n", route::to_string(plan.strategy));
  fmt::print(
      "predicted  {:.0f} tokens read, {:.0f} written: {:.0f} ms here, {:.0f} ms upstream ({} speeds)\n",
      plan.prediction.prompt_tokens, plan.prediction.answer_tokens, plan.prediction.local_ms,
      plan.prediction.upstream_ms, e.speeds_recorded ? "recorded" : "guessed");
  fmt::print("formula    {}\n", plan.weighed ? "decides" : "for comparison; this strategy does not ask it");
  for (size_t i = 0; i < plan.terms.size(); ++i) {
    const std::string source = i == static_cast<size_t>(route::Term::kGain)
                                   ? fmt::format(" ({:.3f} by {})", plan.gain, e.situation.gain.source)
                                   : "";
    fmt::print("  {:<8} {:+.6f}  {}{}\n", route::kTermNames[i], plan.terms[i], help_of(i), source);
  }
  fmt::print("  {:<8} {:+.6f}  above zero the upstream is worth it\n", "net", plan.net);
  fmt::print("decision   {}: {}\n", plan.why, outcome(plan));
  for (const std::string& note : e.notes) fmt::print("note       {}\n", printable(note));
}

// Rules, gates and formula alone, on facts that are there; the privacy scan is not part of it.
void time_decision(const Explained& e, const route::Policy& policy, int repeat) {
  std::vector<double> micros(static_cast<size_t>(repeat));
  double sum = 0;  // so that nothing is left out
  for (double& one : micros) {
    const auto start = std::chrono::steady_clock::now();
    sum += route::make_plan(e.situation, policy).net;
    one = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  }
  std::sort(micros.begin(), micros.end());
  const auto at = [&](double q) {
    return micros[static_cast<size_t>(q * static_cast<double>(micros.size() - 1))];
  };
  fmt::print("timing     {} rules: p50 {:.2f} us, p99 {:.2f} us, most {:.2f} us over {} decisions{}\n",
             policy.rules.size(), at(0.5), at(0.99), at(1), repeat, sum == sum ? "" : " (no number)");
}

int run_explain(const Options& options) {
  const auto given = policy_from(options.config_path, options.data_dir);
  if (!given.ok()) return fail(given.error()), kExitUsage;
  const Settings& settings = *given;
  if (!options.tenant.empty() && route::find_tenant(settings.policy, options.tenant) == nullptr) {
    return fail(make_error(ErrorCode::kInvalidArgument,
                           fmt::format("--tenant: there is no [tenants.{}]{}", printable(options.tenant),
                                       options.config_path.empty() ? "; give --config FILE" : ""))),
           kExitUsage;
  }
  if (const Status tags = api::check_tags(options.tags, "--tag"); !tags.ok())
    return fail(tags.error()), kExitUsage;
  if (!options.data_dir.empty()) {
    if (const Status found = find_recorded(settings); !found.ok()) return fail(found.error());
  }
  const auto speeds = recorded_speeds(settings);
  if (!speeds.ok()) return fail(speeds.error());
  chat::Request request = request_of(options);
  const Explained explained = explain(options, settings, request, *speeds);
  if (options.as_json) {
    fmt::print("{}\n", to_json(explained).dump(2, ' ', false, json::error_handler_t::replace));
  } else {
    print_text(explained);
  }
  if (options.repeat > 0) time_decision(explained, settings.policy, options.repeat);
  return kExitOk;
}

}  // namespace

void add_route_explain(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("explain", "Say where a prompt would go, and why; nothing is sent anywhere");
  command->footer(kFooter);
  command->add_option("PROMPT", options->prompt, "The prompt, as a user's message")->required();
  command->add_option("-m,--model", options->model, "The model that the request names")->type_name("MODEL");
  command->add_option("--config", options->config_path, "TOML file of `hedge serve`")->type_name("FILE");
  command->add_option("--data-dir", options->data_dir, "Folder of the session database, for recorded speeds")
      ->type_name("DIR");
  command->add_option("--tenant", options->tenant, "Decide for this tenant")->type_name("NAME");
  command
      ->add_option("--tag", options->tags,
                   fmt::format("A tag of the request; may be given up to {} times", api::kTagsMax))
      ->type_name("TAG")
      ->allow_extra_args(false);
  command->add_option("--max-tokens", options->max_tokens, "The request's limit of its answer")
      ->type_name("N")
      ->transform(in_range(0, 1 << 24));
  command->add_flag("--private", options->is_private, "In a session that is marked private");
  command->add_flag("--assume-upstream", options->assume_upstream, "As if an upstream were configured");
  CLI::Option* gain =
      command->add_option("--gain", options->gain, "Expected gain of the upstream, instead of the estimate")
          ->type_name("X")
          ->transform(in_range(-1.0, 1.0));
  command->add_option("--repeat", options->repeat, "Also decide so many times more and say how long it took")
      ->type_name("N")
      ->transform(in_range(0, 10'000'000));
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, gain, &chosen] {
    options->gain_given = gain->count() > 0;
    chosen = [options] { return run_explain(*options); };
  });
}

}  // namespace hedge::cli
