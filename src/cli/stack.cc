#include "cli/stack.h"

namespace hedge::cli {

Result<std::unique_ptr<Stack>> build_stack(const Settings& settings, const std::string& model_path,
                                           const std::string& database_path) {
  auto stack = std::make_unique<Stack>();
  // What is quick to refuse comes before what is slow to load.
  if (!settings.upstream.base_url.empty()) {
    HEDGE_TRY_SET(stack->upstream, upstream::OpenAiBackend::create(settings.upstream));
  }
  HEDGE_TRY_SET(stack->store, session::Store::open(database_path));
  HEDGE_TRY_SET(stack->engine, engine::Engine::load(model_path, settings.engine));
  stack->router = route::Router::create(*stack->engine, stack->upstream.get(), settings.policy);
  stack->recorder = session::make_recorder(*stack->router, *stack->store);
  return stack;
}

}  // namespace hedge::cli
