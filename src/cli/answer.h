// Asks a backend one thing and hands on the text as it comes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "chat/backend.h"

namespace hedge::cli {

struct Answer {
  std::string text;
  chat::FinishReason reason = chat::FinishReason::kStop;
  chat::Usage usage;
  bool stopped = false;  // by an interrupt or by the sink; `usage` is not known then
  double first_text_ms = 0;
  double total_ms = 0;
};

// `sink` gets each piece of text and returns false to stop. An interrupt (terminal.h) stops it too.
Result<Answer> stream_answer(chat::Backend& backend, const chat::Request& request,
                             const std::function<bool(std::string_view)>& sink);

// "25 tokens at 83.1/s; prompt of 31 (12 cached) read in 0.09 s".
std::string stats_line(const Answer& answer);

}  // namespace hedge::cli
