#include "route/router.h"

#include <algorithm>
#include <utility>

#include "route/core.h"
#include "route/hybrid_stream.h"

namespace hedge::route {
namespace {

class HybridRouter final : public Router {
 public:
  HybridRouter(chat::Backend& local, chat::Upstream* upstream, const Policy& policy, Environment environment,
               const PromptScore* prompt_score)
      : core_(std::make_shared<Core>(local, upstream, policy, std::move(environment), prompt_score)),
        info_(local.info()) {
    info_.name = "hedge";
  }

  const chat::BackendInfo& info() const override { return info_; }

  // The local backend's: it answers whatever may not leave.
  chat::BackendState state() const override { return core_->local.state(); }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Request& request) override {
    return HybridStream::start(core_, request);
  }

  Counters counters() const override {
    Counters counters;
    {
      std::lock_guard lock(core_->mutex);
      counters = core_->counters;
    }
    const Amount used = core_->budget.used();
    counters.upstream_tokens_today = used.tokens;
    counters.upstream_nanos_today = used.nanos;
    return counters;
  }

  std::vector<Account> accounts() const override {
    const auto account = [&](std::string tenant, size_t index) {
      const Budget& budget = core_->budget;
      return Account{std::move(tenant), budget.used(index), budget.limit(index), budget.beyond(index)};
    };
    std::vector<Account> out = {account({}, Budget::kDevice)};
    for (const Tenant& tenant : core_->policy.tenants)
      out.push_back(account(tenant.name, account_of(core_->policy, tenant.name)));
    return out;
  }

  Speeds speeds() const override { return core_->predictor.speeds(); }
  FirstTexts upstream_first_texts() const override { return core_->predictor.upstream_first_texts(); }

  void seed_upstream_today(Amount used, const std::string& tenant) override {
    core_->budget.seed(used, account_of(core_->policy, tenant));
  }

 private:
  const std::shared_ptr<Core> core_;
  chat::BackendInfo info_;
};

}  // namespace

std::vector<Amount> limits_of(const Policy& policy) {
  std::vector<Amount> limits = {{policy.upstream_tokens_per_day, to_nanos(policy.upstream_money_per_day)}};
  for (const Tenant& tenant : policy.tenants)
    limits.emplace_back(tenant.upstream_tokens_per_day, to_nanos(tenant.upstream_money_per_day));
  return limits;
}

privacy::OutboundGate::Tenants classes_of(const Policy& policy) {
  privacy::OutboundGate::Tenants out;
  for (const Tenant& tenant : policy.tenants) out.emplace(tenant.name, tenant.privacy);
  return out;
}

Amount bound_of(const Policy& policy, int64_t prompt_tokens_max, int max_tokens, int losers_max) {
  const int answer_max = max_tokens >= 0 ? max_tokens : policy.upstream_answer_tokens_max;
  const int64_t read_max = prompt_tokens_max * (1 + losers_max);
  return {read_max + answer_max, cost_nanos(policy.prices, read_max, answer_max)};
}

size_t account_of(const Policy& policy, std::string_view tenant) {
  const Tenant* found = find_tenant(policy, tenant);
  return found == nullptr ? Budget::kDevice : static_cast<size_t>(found - policy.tenants.data()) + 1;
}

std::unique_ptr<Router> Router::create(chat::Backend& local, chat::Upstream* upstream, Policy policy,
                                       Environment environment, const PromptScore* prompt_score) {
  HEDGE_CHECK(!policy.prompt.enabled || prompt_score != nullptr);
  return std::make_unique<HybridRouter>(local, upstream, policy, std::move(environment), prompt_score);
}

}  // namespace hedge::route
