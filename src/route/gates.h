// The gates: plain facts about a request and the backends in, the first rule that matches out. Pure. The
// rules and their order are gate_list.inc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "chat/request.h"
#include "route/policy.h"

namespace hedge::route {

// Whose tool loop the conversation stands in, or whose state it carries: that backend alone may answer.
enum class Bound : uint8_t { kNone, kLocal, kUpstream };

struct Facts {
  bool private_session = false;
  Privacy privacy = Privacy::kClean;
  chat::Route asked = chat::Route::kAuto;
  bool has_upstream = false;
  bool upstream_available = false;
  bool upstream_can_read = true;  // false: the prompt is token ids of the local model
  bool budget_left = true;        // this request's upper bound still fits
  bool hops_left = true;          // it may be passed on to another node
  Bound bound = Bound::kNone;
  bool bound_by_state = false;  // rather than by a tool loop
  bool needs_tools = false;     // tools that may be called, which the local model cannot
  bool policy_local = false;    // the rule that applies, or the default, says local-only
};

enum class Effect : uint8_t {
  kStayLocal,   // never upstream, whatever happens
  kGoUpstream,  // from the first token; local when the upstream fails
  kOpen,        // local; the confidence rule or `escalate_after` may hand over
};

struct Gate {
  std::string_view name;  // stable, stands in the trace: "gate.personal_data"
  Effect effect = Effect::kOpen;
  bool is_privacy = false;
};

// The gate that decides. With none of them matching: "gate.none", kOpen.
const Gate& decide(const Facts& facts, const Policy& policy);

}  // namespace hedge::route
