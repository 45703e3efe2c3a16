// The parts of a serving Hedge, put together: engine -> (upstream) -> router -> recorder. Composition only.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "cli/config/settings.h"
#include "cli/learned_file.h"
#include "engine/engine.h"
#include "route/prompt_score.h"
#include "route/router.h"
#include "session/recorder.h"
#include "session/store.h"
#include "upstream/openai_backend.h"

namespace hedge::cli {

// Members are destroyed from the last to the first, so each outlives what stands on it.
struct Stack {
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<upstream::OpenAiBackend> upstream;  // null: everything is answered here
  std::unique_ptr<session::Store> store;
  std::unique_ptr<route::PromptScore> prompt_score;  // null where [policy.prompt] is off
  std::unique_ptr<LearnedFile> learned;
  std::unique_ptr<route::Router> router;
  std::unique_ptr<chat::Backend> recorder;
};

Result<std::unique_ptr<Stack>> build_stack(const Settings& settings, const std::string& model_path,
                                           const std::string& data_folder);

}  // namespace hedge::cli
