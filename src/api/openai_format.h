// Private to api/: events to OpenAI's response objects and stream chunks, for chat and text completions.
#pragma once

#include <memory>

#include "api/dialect.h"

namespace hedge::api {

enum class OpenAiShape { kChat, kText };

std::unique_ptr<Formatter> make_openai_formatter(OpenAiShape shape, const Call& call, const AnswerHead& head);

}  // namespace hedge::api
