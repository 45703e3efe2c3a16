#include "route/router.h"

#include <algorithm>
#include <utility>

#include "route/core.h"
#include "route/hybrid_stream.h"

namespace hedge::route {
namespace {

class HybridRouter final : public Router {
 public:
  HybridRouter(chat::Backend& local, chat::Backend* upstream, const Policy& policy,
               const PromptScore* prompt_score)
      : core_(std::make_shared<Core>(local, upstream, policy, prompt_score)), info_(local.info()) {
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
    counters.upstream_tokens_today = core_->budget.used_today();
    return counters;
  }

  void seed_upstream_tokens_today(int64_t tokens) override { core_->budget.seed(tokens); }

 private:
  const std::shared_ptr<Core> core_;
  chat::BackendInfo info_;
};

}  // namespace

std::unique_ptr<Router> Router::create(chat::Backend& local, chat::Backend* upstream, Policy policy,
                                       const PromptScore* prompt_score) {
  HEDGE_CHECK(!policy.prompt.enabled || prompt_score != nullptr);
  return std::make_unique<HybridRouter>(local, upstream, policy, prompt_score);
}

}  // namespace hedge::route
