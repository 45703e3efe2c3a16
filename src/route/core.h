// What the router and its running answers share. Answers hold it by shared_ptr, so one may end after the
// router is gone.
#pragma once

#include <algorithm>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "chat/outbound.h"
#include "privacy/outbound_gate.h"
#include "route/budget.h"
#include "route/cost.h"
#include "route/decision.h"
#include "route/router.h"

namespace hedge::route {

// The accounts of a policy's budget: the device, then the tenants in their order.
std::vector<Amount> limits_of(const Policy& policy);
// The most that a request may cost upstream, when up to `losers_max` other endpoints read its prompt as well.
Amount bound_of(const Policy& policy, int64_t prompt_tokens_max, int max_tokens, int losers_max);
// The tenants' own classes of personal data.
privacy::OutboundGate::Tenants classes_of(const Policy& policy);
// Of a tenant that the policy does not know: the device's.
size_t account_of(const Policy& policy, std::string_view tenant);

struct Core {
  Core(chat::Backend& local_backend, chat::Upstream* upstream_backend, const Policy& its_policy,
       Environment its_environment, const PromptScore* its_prompt_score)
      : local(local_backend),
        upstream(upstream_backend),
        policy(its_policy),
        gate(its_policy.privacy, classes_of(its_policy)),
        environment(std::move(its_environment)),
        prompt_score(its_prompt_score),
        budget(limits_of(its_policy), unix_time_ms) {}

  // Runs `change` on the counters, alone.
  template <typename Change>
  void count(Change&& change) {
    std::lock_guard lock(mutex);
    std::forward<Change>(change)(counters);
  }

  // For how long a silent upstream is waited for before the local model begins beside it; 0: for ever. The
  // 95th percentile is the usual delay of a hedged request (Dean and Barroso, The Tail at Scale, 2013); three
  // times that, because the local model's answer is the weaker one.
  Milliseconds race_after() const {
    if (policy.race_after_ms >= 0) return Milliseconds(policy.race_after_ms);
    constexpr double kMinMs = 1000, kMaxMs = 10'000;
    constexpr size_t kEnough = 8;
    const FirstTexts known = predictor.upstream_first_texts();
    if (known.count < kEnough) return Milliseconds(static_cast<int64_t>(kMaxMs));
    return Milliseconds(static_cast<int64_t>(std::clamp(3 * known.p95_ms, kMinMs, kMaxMs)));
  }

  chat::Backend& local;
  chat::Upstream* const upstream;  // may be null
  const Policy policy;
  const privacy::OutboundGate gate;
  const Environment environment;
  const PromptScore* const prompt_score;  // null only where policy.prompt is off
  Budget budget;                          // accounts: account_of()
  Predictor predictor;

  mutable std::mutex mutex;
  Counters counters;  // under `mutex`; upstream_tokens_today is the budget's
};

}  // namespace hedge::route
