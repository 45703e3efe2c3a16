// The decision before an answer begins: plain facts in; gate, rule, strategy, the formula's terms and how to
// begin out. Pure, and allocates nothing. The router, `hedge route explain` and `hedge route replay` all ask
// here.
#pragma once

#include <cstdint>
#include <string_view>

#include "route/cost.h"
#include "route/gates.h"
#include "route/policy.h"
#include "route/rules.h"

namespace hedge::route {

// Everything that a decision looks at. Texts live as long as what they were taken from.
struct Situation {
  Facts facts;  // policy_local is set by plan()
  RuleFacts rule;
  GainEstimate gain;
  size_t kind = 0;  // of prompts, learned.h
  double bias = 0;  // learned; held to policy.bias_max
  Speeds speeds;
  Load load;
  bool conversation_begun = false;  // an assistant's turn is there
  bool forced = false;              // the request says when to switch: no strategy, no formula
};

enum class Begin : uint8_t { kLocal, kUpstream, kRace };

struct Plan {
  const Gate* gate = nullptr;
  const Rule* rule = nullptr;  // null: none applied
  Strategy strategy = Strategy::kLocalOnly;
  Begin begin = Begin::kLocal;
  bool may_go_upstream = false;  // in mid-answer, or when the local model fails
  bool upstream_only = false;    // no other backend may answer: an error where it cannot
  bool weighed = false;          // the formula decided
  double deadline_ms = 0;        // of the strategy kDeadline
  double gain = 0;
  double bias = 0;
  Prediction prediction;
  Terms terms = {};
  double net = 0;
  // Stable name of what decided, for the trace: the gate's, or "policy.upstream_first", "policy.race",
  // "formula.net", "policy.deadline".
  std::string_view why;
};

Plan make_plan(const Situation& situation, const Policy& policy);

// The tenant of this name, or null.
const Tenant* find_tenant(const Policy& policy, std::string_view name);

}  // namespace hedge::route
