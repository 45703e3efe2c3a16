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
  if (f.asked == chat::Route::kLocal) return "gate.request_local";
  if (!f.has_upstream) return "gate.no_upstream";
  if (p.offline) return "gate.offline";
  if (!f.hops_left) return "gate.hops_used";
  if (!f.upstream_can_read) return "gate.upstream_cannot_read";
  if (!f.upstream_available) return "gate.upstream_unavailable";
  if (!f.budget_left) return "gate.budget_spent";
  if (f.policy_local) return "gate.policy_local";
  if (f.asked == chat::Route::kUpstream) return "gate.request_upstream";
  return "gate.none";
}

TEST(Gates, EveryCombinationOfFactsMeetsTheDocumentedOrder) {
  int combinations = 0;
  for (int bits = 0; bits < 1 << 10; ++bits) {
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
  EXPECT_EQ(combinations, 1024 * 12);
}

}  // namespace
}  // namespace hedge::route
