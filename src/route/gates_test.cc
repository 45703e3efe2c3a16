#include "route/gates.h"

#include <gtest/gtest.h>

#include <string>

namespace hedge::route {
namespace {

// The order as the documentation states it, written down a second time.
std::string expected_gate(const Facts& f, const Policy& p) {
  if (p.privacy.private_sessions_stay_local && f.private_session) return "gate.private_session";
  if (p.privacy.personal_data_stays_local) {
    if (f.privacy == Privacy::kFound) return "gate.personal_data";
    if (f.privacy == Privacy::kUnjudged) return "gate.unjudged";
  }
  if (f.bound == Bound::kLocal) return "gate.tool_loop";
  if (f.asked == chat::Route::kLocal && f.bound == Bound::kNone) return "gate.request_local";
  if (!f.has_upstream) return "gate.no_upstream";
  if (p.offline) return "gate.offline";
  if (!f.hops_left) return "gate.hops_used";
  if (!f.upstream_can_read) return "gate.upstream_cannot_read";
  if (!f.upstream_available) return "gate.upstream_unavailable";
  if (!f.budget_left) return "gate.over_budget";
  if (f.policy_local) return "gate.policy_local";
  if (f.bound == Bound::kUpstream) return f.bound_by_state ? "gate.provider_state" : "gate.tool_loop";
  if (f.needs_tools) return "gate.tools";
  if (f.asked == chat::Route::kUpstream) return "gate.request_upstream";
  return "gate.none";
}

TEST(Gates, EveryCombinationOfFactsMeetsTheDocumentedOrder) {
  int combinations = 0;
  for (int bits = 0; bits < 1 << 14; ++bits) {
    for (const Privacy privacy : {Privacy::kClean, Privacy::kFound, Privacy::kUnjudged, Privacy::kMasked}) {
      for (const chat::Route asked : {chat::Route::kAuto, chat::Route::kLocal, chat::Route::kUpstream}) {
        const auto bit = [bits](int i) { return (bits >> i & 1) != 0; };
        Facts facts;
        facts.private_session = bit(0);
        facts.privacy = privacy;
        facts.asked = asked;
        facts.has_upstream = bit(1);
        facts.upstream_available = bit(2);
        facts.upstream_can_read = bit(3);
        facts.budget_left = bit(4);
        facts.policy_local = bit(8);
        Policy policy;
        policy.offline = bit(5);
        policy.privacy.private_sessions_stay_local = bit(6);
        policy.privacy.personal_data_stays_local = bit(7);
        facts.hops_left = bit(9);
        facts.bound = bit(10) ? Bound::kLocal : bit(11) ? Bound::kUpstream : Bound::kNone;
        facts.bound_by_state = bit(12);
        facts.needs_tools = bit(13);
        const Gate& gate = decide(facts, policy);
        EXPECT_EQ(gate.name, expected_gate(facts, policy));
        const bool leaves = gate.effect != Effect::kStayLocal;
        EXPECT_FALSE(leaves && facts.private_session && policy.privacy.private_sessions_stay_local);
        const bool held = privacy == Privacy::kFound || privacy == Privacy::kUnjudged;
        EXPECT_FALSE(leaves && held && policy.privacy.personal_data_stays_local);
        EXPECT_FALSE(leaves && (!facts.has_upstream || policy.offline || facts.policy_local));
        ++combinations;
      }
    }
  }
  EXPECT_EQ(combinations, (1 << 14) * 12);
}

}  // namespace
}  // namespace hedge::route
