// For tests: a request as the privacy gate lets it pass when nothing is asked of it.
#pragma once

#include "privacy/outbound_gate.h"

namespace hedge::upstream {

inline chat::Outbound cleared(const chat::Request& request) {
  privacy::Policy open;
  open.private_sessions_stay_local = open.personal_data_stays_local = false;
  return *privacy::OutboundGate(open).pass(request).outbound;
}

}  // namespace hedge::upstream
