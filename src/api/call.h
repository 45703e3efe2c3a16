// A parsed request body, whatever wire form it came in: the answers to make, and how to send them back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/request.h"

namespace hedge::api {

// Limits on what a body may hold. Everything above is a 400 that says so.
inline constexpr int kJsonDepthMax = 64;            // the deepest body of the OpenAI forms uses 6
inline constexpr size_t kJsonValuesMax = 1u << 19;  // a parsed value costs up to 100 bytes
inline constexpr size_t kMessagesMax = 4096;
inline constexpr int kChoicesMax = 16;     // n
inline constexpr size_t kPromptsMax = 16;  // prompts of one /v1/completions call
inline constexpr size_t kAnswersMax = 32;  // prompts times n
inline constexpr size_t kStopsMax = 16;
inline constexpr size_t kStopBytesMax = 1024;
inline constexpr size_t kToolsMax = 128;  // offered by a request, or called by a message
inline constexpr size_t kTagsMax = 16;
inline constexpr size_t kTagBytesMax = 64;
inline constexpr int kTopLogprobsMax = 20;
inline constexpr size_t kSessionBytesMax = 128;
inline constexpr int kTokensMax = 1 << 24;  // any token count; far above every context

// Tags that a request may carry: names, for the policy's rules. They stand in the trace, so they are no text.
Status check_tags(std::span<const std::string> tags, const std::string& field);

struct Call {
  // One per answer, in the order of their index: prompt 0 with its n choices, then prompt 1, ... Their ids
  // are not set.
  std::vector<chat::Request> requests;
  int choices_per_prompt = 1;
  bool stream = false;
  bool include_usage = false;  // of a stream: a last chunk with the token counts
  bool echo = false;           // the text begins with the prompt
  // With echo: the prompt of each answer. Empty for prompts of token ids; whoever has a tokenizer fills those
  // in.
  std::vector<std::string> echo_texts;

  const std::string& model() const { return requests.front().model; }
};

}  // namespace hedge::api
