// The router: a chat::Backend over a local one and a chat::Upstream. Gates first (gates.h), then a confidence
// rule on the local model's own token probabilities (confidence.h), which may hand over before the first
// token or in mid-answer; and back when the upstream dies (hybrid_stream.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/outbound.h"
#include "route/budget.h"
#include "route/cost.h"
#include "route/policy.h"
#include "route/thresholds.h"

namespace hedge::route {

// A budget of this UTC day; a limit of 0: none.
struct Account {
  std::string tenant;  // empty: of the whole device
  Amount used, limit;
  Amount beyond{};  // reported by upstreams and not in `used`: there was no room for it
};

struct Counters {
  uint64_t local = 0, upstream = 0, mixed = 0;      // answers that ended in Done, by who wrote them
  uint64_t failed = 0, cancelled = 0;               // answers that did not
  uint64_t escalated_first = 0, escalated_mid = 0;  // switches to the upstream, by when
  uint64_t upstream_failed = 0, resumed_local = 0;
  uint64_t races = 0, races_won = 0;  // local beside a silent upstream; of these, won by the local model
  uint64_t kept_private = 0;
  uint64_t sent_masked = 0;
  uint64_t upstream_overbilled = 0;  // answers for which more was reported than was reserved
  int64_t upstream_tokens_today = 0;
  int64_t upstream_nanos_today = 0;
};

// What the router is told of the world, beside the backends. A null function: nothing is known.
struct Environment {
  std::function<DeviceFacts()> device;
  std::function<GainEstimate(const chat::Request&)> gain;  // null: the policy's prior
  // What was learned of a kind of prompts (learned.h), and a vote that is to be learned; null: nothing.
  std::function<double(size_t kind)> bias;
  std::function<void(const std::string& decision, size_t kind, double vote)> learn;
  // What the local backend's probe says is held against these; null: nobody looks at it.
  std::shared_ptr<const Thresholds> thresholds{};
};

class PromptScore;

class Router : public chat::Backend {
 public:
  // `upstream` may be null: everything is answered locally. `prompt_score` is asked where policy.prompt is
  // on, and may be null where it is off. All of them outlive the router and its streams.
  static std::unique_ptr<Router> create(chat::Backend& local, chat::Upstream* upstream, Policy policy,
                                        Environment environment = {},
                                        const PromptScore* prompt_score = nullptr);

  virtual Counters counters() const = 0;
  // The device's, then the tenants'.
  virtual std::vector<Account> accounts() const = 0;
  virtual Speeds speeds() const = 0;
  virtual FirstTexts upstream_first_texts() const = 0;
  // What this UTC day has used before the process began, so that a budget survives a restart. Of a tenant
  // that the policy does not know it counts in the device's budget alone.
  virtual void seed_upstream_today(Amount used, const std::string& tenant) = 0;
};

}  // namespace hedge::route
