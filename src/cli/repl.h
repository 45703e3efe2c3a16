// The conversation at the terminal: `hedge run MODEL` without a prompt.
#pragma once

#include <string>

#include "base/result.h"
#include "chat/backend.h"
#include "chat/request.h"

namespace hedge::cli {

// What a conversation starts from and what /set changes.
struct ChatSettings {
  std::string system;
  chat::Sampling sampling;
  int max_tokens = -1;
};

// A name and a value as /set takes them ("temperature 0.2"). kInvalidArgument says what would be right.
Status set_parameter(ChatSettings& settings, const std::string& name, const std::string& value);
// All parameters with their values, one per line.
std::string parameters_text(const ChatSettings& settings);

// Talks until /bye or Ctrl-D; the exit status. `about` is shown by /show.
int run_repl(chat::Backend& backend, ChatSettings settings, const std::string& history_path,
             const std::string& about, bool show_stats);

}  // namespace hedge::cli
