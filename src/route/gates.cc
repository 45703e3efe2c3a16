#include "route/gates.h"

namespace hedge::route {
namespace {

using Condition = bool (*)(const Facts& facts, const Policy& policy);

struct GateRule {
  Gate gate;
  Condition matches;
};

constexpr GateRule kRules[] = {
#define HEDGE_GATE(name, effect, is_privacy, condition)                                             \
  GateRule{Gate{name, effect, is_privacy},                                                          \
           []([[maybe_unused]] const Facts& facts, [[maybe_unused]] const Policy& policy) -> bool { \
             return condition;                                                                      \
           }},
#include "route/gate_list.inc"
#undef HEDGE_GATE
};

constexpr Gate kNoGate{"gate.none", Effect::kOpen, false};

}  // namespace

const Gate& decide(const Facts& facts, const Policy& policy) {
  for (const GateRule& rule : kRules) {
    if (rule.matches(facts, policy)) return rule.gate;
  }
  return kNoGate;
}

}  // namespace hedge::route
