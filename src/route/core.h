// What the router and its running answers share. Answers hold it by shared_ptr, so one may end after the
// router is gone.
#pragma once

#include <algorithm>
#include <array>
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

  // How long the upstream took to its first text, of its last answers.
  void note_first_text(double ms) {
    std::lock_guard lock(mutex);
    first_text_ms[first_text_count++ % first_text_ms.size()] = ms;
  }
  // For how long a silent upstream is waited for before the local model begins beside it; 0: for ever. The
  // 95th percentile is the usual delay of a hedged request (Dean and Barroso, The Tail at Scale, 2013); three
  // times that, because the local model's answer is the weaker one.
  Milliseconds race_after() const {
    if (policy.race_after_ms >= 0) return Milliseconds(policy.race_after_ms);
    constexpr double kMinMs = 1000, kMaxMs = 10'000;
    constexpr size_t kEnough = 8;
    std::lock_guard lock(mutex);
    const size_t known = std::min(first_text_count, first_text_ms.size());
    if (known < kEnough) return Milliseconds(static_cast<int64_t>(kMaxMs));
    std::array<double, 64> sorted = first_text_ms;
    const size_t at = known * 95 / 100;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(at),
                     sorted.begin() + static_cast<ptrdiff_t>(known));
    return Milliseconds(static_cast<int64_t>(std::clamp(3 * sorted[at], kMinMs, kMaxMs)));
  }

  chat::Backend& local;
  chat::Upstream* const upstream;  // may be null
  const Policy policy;
  const privacy::OutboundGate gate;
  const Environment environment;
  const PromptScore* const prompt_score;  // null only where policy.prompt is off
  Budget budget;                          // accounts: account_of()
  Predictor predictor;

  std::array<double, 64> first_text_ms{};  // under `mutex`; a ring
  size_t first_text_count = 0;

  mutable std::mutex mutex;
  Counters counters;  // under `mutex`; upstream_tokens_today is the budget's
};

}  // namespace hedge::route
