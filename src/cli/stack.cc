#include "cli/stack.h"

#include "base/clock.h"
#include "cli/config/config.h"

namespace hedge::cli {
namespace {

constexpr int64_t kDayMs = 24 * 60 * 60 * 1000;

// What this UTC day has cost already, so that a restart does not open the budget anew.
Status restore_budget(session::Store& store, route::Router& router) {
  const int64_t now_ms = unix_time_ms();
  HEDGE_TRY_SET(const int64_t tokens, store.upstream_tokens_since(now_ms - now_ms % kDayMs));
  router.seed_upstream_tokens_today(tokens);
  return {};
}

}  // namespace

Result<std::unique_ptr<Stack>> build_stack(const Settings& settings, const std::string& model_path,
                                           const std::string& database_path) {
  auto stack = std::make_unique<Stack>();
  // What is quick to refuse comes before what is slow to load.
  if (!settings.upstream.base_url.empty()) {
    auto upstream = upstream::OpenAiBackend::create(settings.upstream);
    if (!upstream.ok()) return located(settings, "upstream", std::move(upstream).error());
    stack->upstream = std::move(upstream).value();
  }
  HEDGE_TRY_SET(stack->store, session::Store::open(database_path));
  auto engine = engine::Engine::load(model_path, settings.engine);
  if (!engine.ok()) return located(settings, "model", std::move(engine).error());
  stack->engine = std::move(engine).value();
  stack->router = route::Router::create(*stack->engine, stack->upstream.get(), settings.policy);
  HEDGE_TRY(restore_budget(*stack->store, *stack->router));
  stack->recorder = session::make_recorder(*stack->router, *stack->store);
  return stack;
}

}  // namespace hedge::cli
