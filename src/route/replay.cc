#include "route/replay.h"

#include <algorithm>

#include "route/core.h"
#include "route/situation.h"

namespace hedge::route {
namespace {

double number_of(const chat::Trace& trace, std::string_view name, double otherwise) {
  const auto found = std::find_if(trace.facts.begin(), trace.facts.end(),
                                  [&](const chat::Fact& fact) { return fact.name == name && !fact.is_text; });
  return found == trace.facts.end() ? otherwise : found->number;
}

// The local model began and handed over, so that its doubt is on record.
bool handed_over(const chat::Trace& trace) {
  return std::any_of(trace.reasons.begin(), trace.reasons.end(), [](const std::string& reason) {
    return reason.starts_with("confidence.") || reason == "local.failed" || reason == "forced";
  });
}

std::string_view route_of(const Plan& plan, const chat::Trace& trace) {
  switch (plan.begin) {
    case Begin::kUpstream:
      return "upstream";
    case Begin::kRace:
      return plan.prediction.upstream_ms < plan.prediction.local_ms ? "upstream" : "local";
    case Begin::kLocal:
      break;
  }
  if (!plan.may_go_upstream || !handed_over(trace)) return "local";
  return trace.route == "mixed" ? "mixed" : trace.route == "upstream" ? "upstream" : "local";
}

}  // namespace

int64_t recorded_nanos(const chat::Trace& trace, const Prices& prices) {
  // An older program recorded its own estimate alone.
  const double known = number_of(trace, kUpstreamPromptFact, number_of(trace, "prompt_tokens", 0));
  const int64_t in = std::min(static_cast<int64_t>(std::clamp(known, 0.0, 1e9)), trace.upstream_tokens);
  return cost_nanos(prices, in, trace.upstream_tokens - in);
}

Replay::Replay(const Policy& policy)
    : policy_(policy), budget_(limits_of(policy), [this] { return now_ms_; }) {}

Replayed Replay::decide(const chat::Trace& trace) {
  Replayed out;
  now_ms_ = std::max(now_ms_, trace.created_ms);
  RecordedSituation recorded;
  if (!read_facts(trace.facts, recorded)) return out;
  out.has_facts = true;
  Situation& situation = recorded.situation;
  const auto answer_tokens = static_cast<int64_t>(
      std::clamp(number_of(trace, "answer_tokens", situation.speeds.answer_tokens), 0.0, 1e9));
  const auto prompt_tokens = static_cast<int64_t>(std::clamp(situation.load.prompt_tokens, 0.0, 1e9));
  const Amount cost(prompt_tokens + answer_tokens, cost_nanos(policy_.prices, prompt_tokens, answer_tokens));
  const size_t account = account_of(policy_, situation.rule.tenant);
  situation.facts.budget_left = budget_.fits(cost, account);

  const Plan plan = make_plan(situation, policy_);
  out.why = plan.why;
  if (plan.rule != nullptr) out.rule = plan.rule->name;
  out.route = route_of(plan, trace);
  out.predicted_ms = out.route == "local" ? plan.prediction.local_ms : plan.prediction.upstream_ms;
  const bool may_spend = plan.begin != Begin::kLocal || plan.may_go_upstream;
  Amount spent;
  if (!may_spend) {
    // Nothing, though the recorded answer may have paid for a race that the local model won.
  } else if (out.route == trace.route && trace.upstream_tokens > 0) {
    spent = {trace.upstream_tokens, recorded_nanos(trace, policy_.prices)};
  } else if (out.route != "local") {
    spent = cost;
  } else if (plan.begin == Begin::kRace) {
    spent = {prompt_tokens, cost_nanos(policy_.prices, prompt_tokens, 0)};
  }
  budget_.seed(spent, account);
  out.tokens = spent.tokens;
  out.nanos = spent.nanos;
  return out;
}

}  // namespace hedge::route
