#include "route/decision.h"

#include <algorithm>

namespace hedge::route {
namespace {

Strategy choose_strategy(const Situation& situation, const Policy& policy, const Rule* rule) {
  if (rule != nullptr) return rule->use;
  const Tenant* tenant = find_tenant(policy, situation.rule.tenant);
  if (tenant != nullptr && tenant->use) return *tenant->use;
  return parse_strategy(policy.use).value_or(Strategy::kLocalOnly);
}

void begin_by_strategy(Plan& plan) {
  switch (plan.strategy) {
    case Strategy::kLocalOnly:  // gate.policy_local stands before
      plan.may_go_upstream = false;
      return;
    case Strategy::kLocalFirst:
      return;
    case Strategy::kUpstreamFirst:
      plan.begin = Begin::kUpstream;
      plan.why = "policy.upstream_first";
      return;
    case Strategy::kRace:
      plan.begin = Begin::kRace;
      plan.why = "policy.race";
      return;
    case Strategy::kCheapestSufficient:
      plan.weighed = true;
      plan.begin = plan.net > 0 ? Begin::kUpstream : Begin::kLocal;
      plan.why = "formula.net";
      return;
    case Strategy::kDeadline: {
      const Prediction& soon = plan.prediction;
      const bool sooner_upstream = soon.local_ms > plan.deadline_ms && soon.upstream_ms < soon.local_ms;
      plan.begin = sooner_upstream ? Begin::kUpstream : Begin::kLocal;
      plan.why = "policy.deadline";
      return;
    }
  }
}

}  // namespace

const Tenant* find_tenant(const Policy& policy, std::string_view name) {
  const auto found = std::find_if(policy.tenants.begin(), policy.tenants.end(),
                                  [&](const Tenant& tenant) { return tenant.name == name; });
  return found == policy.tenants.end() ? nullptr : &*found;
}

Plan make_plan(const Situation& situation, const Policy& policy) {
  Plan plan;
  plan.rule = find_rule(policy.rules, situation.rule);
  plan.strategy = choose_strategy(situation, policy, plan.rule);

  Prices prices = policy.prices;
  plan.deadline_ms = policy.deadline_ms;
  if (plan.rule != nullptr) {
    plan.deadline_ms = plan.rule->deadline_ms.value_or(plan.deadline_ms);
    prices.value_per_answer = plan.rule->value_per_answer.value_or(prices.value_per_answer);
  }
  plan.gain = std::clamp(situation.gain.value, -1.0, 1.0);
  plan.bias = std::clamp(situation.bias, -policy.bias_max, policy.bias_max);
  plan.prediction = predict(situation.speeds, situation.load);
  plan.terms = cost_terms(plan.prediction, prices, plan.gain, plan.bias, situation.conversation_begun);
  plan.net = net_of(plan.terms);

  Facts facts = situation.facts;
  facts.policy_local = plan.strategy == Strategy::kLocalOnly;
  plan.gate = &decide(facts, policy);
  plan.why = plan.gate->name;
  plan.upstream_only = facts.bound == Bound::kUpstream || facts.needs_tools;
  plan.may_go_upstream = plan.gate->effect != Effect::kStayLocal;
  switch (plan.gate->effect) {
    case Effect::kStayLocal:
      break;
    case Effect::kGoUpstream:
      plan.begin = Begin::kUpstream;
      break;
    case Effect::kOpen:
      if (!situation.forced) begin_by_strategy(plan);
      break;
  }
  return plan;
}

}  // namespace hedge::route
