#include "cli/stack.h"

#include "base/clock.h"
#include "cli/config/config.h"
#include "os/file.h"

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

Result<route::PromptScore> load_prompt_score(const std::string& path) {
  if (path.empty()) return route::PromptScore(route::PromptScore::embedded());
  HEDGE_TRY_SET(const std::string bytes, os::read_file(path, route::kWeightsBytesMax));
  return route::PromptScore::parse(bytes);
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
  if (settings.policy.prompt.enabled) {
    auto score = load_prompt_score(settings.policy.prompt.weights);
    if (!score.ok()) return wrong_value(settings, "policy.prompt", "weights", score.error().detail);
    stack->prompt_score = std::make_unique<route::PromptScore>(std::move(score).value());
  }
  HEDGE_TRY_SET(stack->store, session::Store::open(database_path));
  auto engine = engine::Engine::load(model_path, settings.engine);
  if (!engine.ok()) return located(settings, "model", std::move(engine).error());
  stack->engine = std::move(engine).value();
  stack->router = route::Router::create(*stack->engine, stack->upstream.get(), settings.policy,
                                        stack->prompt_score.get());
  HEDGE_TRY(restore_budget(*stack->store, *stack->router));
  stack->recorder = session::make_recorder(*stack->router, *stack->store);
  return stack;
}

}  // namespace hedge::cli
