// What the router and its running answers share. Answers hold it by shared_ptr, so one may end after the
// router is gone.
#pragma once

#include <mutex>
#include <utility>

#include "base/clock.h"
#include "chat/backend.h"
#include "route/budget.h"
#include "route/router.h"

namespace hedge::route {

struct Core {
  Core(chat::Backend& local_backend, chat::Backend* upstream_backend, const Policy& its_policy,
       const PromptScore* its_prompt_score)
      : local(local_backend),
        upstream(upstream_backend),
        policy(its_policy),
        prompt_score(its_prompt_score),
        budget(its_policy.upstream_tokens_per_day, unix_time_ms) {}

  // Runs `change` on the counters, alone.
  template <typename Change>
  void count(Change&& change) {
    std::lock_guard lock(mutex);
    std::forward<Change>(change)(counters);
  }

  chat::Backend& local;
  chat::Backend* const upstream;  // may be null
  const Policy policy;
  const PromptScore* const prompt_score;  // null only where policy.prompt is off
  Budget budget;

  mutable std::mutex mutex;
  Counters counters;  // under `mutex`; upstream_tokens_today is the budget's
};

}  // namespace hedge::route
