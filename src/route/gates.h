// The gates: plain facts about a request and the backends in, the first rule that matches out. Pure. The
// rules and their order are gate_list.inc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "chat/request.h"
#include "route/policy.h"

namespace hedge::route {

struct PrivacyFinding {
  Privacy privacy = Privacy::kClean;
  std::string detail;  // types found, or why it cannot be judged; never text of the request
};

// Texts of more bytes than this in sum are not scanned: 1 MiB takes some 30 ms, and no context of a small
// model holds it.
inline constexpr size_t kJudgedBytesMax = 1u << 20;

// Looks at every text of the request that could leave the device: all messages with their names, the raw
// prompt, the assistant's prefix, the stop strings.
PrivacyFinding judge_privacy(const chat::Request& request);
PrivacyFinding judge_privacy(std::string_view text);

struct Facts {
  bool private_session = false;
  Privacy privacy = Privacy::kClean;
  chat::Route asked = chat::Route::kAuto;
  bool has_upstream = false;
  bool upstream_available = false;
  bool upstream_can_read = true;  // false: the prompt is token ids of the local model
  bool budget_left = true;        // this request's upper bound still fits
  bool hops_left = true;          // it may be passed on to another node
  bool policy_local = false;      // the rule that applies, or the default, says local-only
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
