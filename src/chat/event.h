// What an answer is made of. A stream is Started, then any number of Delta and Switched, then Done; or it
// ends in an error. Nothing comes after Done or an error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "chat/request.h"
#include "chat/trace.h"

namespace hedge::chat {

enum class FinishReason : uint8_t { kStop, kLength, kContentFilter, kToolCalls };
const char* to_string(FinishReason reason);  // "stop", "length", "content_filter", "tool_calls"

struct Usage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, found in the KV cache
  int completion_tokens = 0;
  double prefill_ms = 0;
  double decode_ms = 0;
  int draft_tokens = 0;           // proposed by speculation and verified
  int draft_tokens_accepted = 0;  // of these, right
};

struct TokenLogprob {
  int32_t id = -1;
  std::string bytes;  // the token's own bytes, not necessarily whole characters
  float logprob = 0;
};

// Facts about one generated token, from the local model's distribution before any sampling filter.
struct TokenInfo {
  TokenLogprob chosen;
  float margin =
      0;  // probability of the best token minus that of the second best, 0..1 (with want_confidence)
  float entropy = 0;  // of the next-token distribution, in nats (with want_confidence)
  std::vector<TokenLogprob> top;
};

// What probes read: the local model's residual stream after some of its blocks, which were chosen when it was
// loaded.
struct States {
  // So many of the prompt's last tokens stand for its end: more than a chat template writes after the
  // question.
  static constexpr size_t kPromptEnd = 16;

  // [2, blocks, dim]: at the last token of the prompt, then the mean over its last kPromptEnd (or all)
  std::vector<float> prompt;
  std::vector<float> answer;  // [blocks, dim] mean over the answer's tokens that went through the model
  int tokens = 0;             // so many; the newest token is not among them. 0: `answer` is all zeros
};

struct Started {
  std::string backend;  // "local" or the upstream's name
  std::string model;
  int prompt_tokens = 0;
  int cached_tokens = 0;
  std::string endpoint{};  // BackendInfo::endpoint of the backend
};

// A piece of the answer. `text` is whole UTF-8 characters, and empty while a character or a possible stop
// string is still incomplete. A local engine sends one Delta per token (tokens.size() == 1); upstreams may
// know no tokens.
struct Delta {
  std::string text;
  std::vector<TokenInfo> tokens;
  // With Request::states_every, else null; of the tokens before this one.
  std::shared_ptr<const States> states{};
  // Probability that the answer is wrong, by the model's states before this token and by its probability;
  // with Request::want_confidence, from an engine with a probe, at the tokens that the probe chooses. At the
  // first token it is what is known at the end of the prompt.
  std::optional<float> p_wrong{};
};

// From here on another backend writes.
struct Switched {
  std::string from;
  std::string to;
  std::string reason;
  std::string endpoint{};  // of `to`, as in Started
};

struct Done {
  FinishReason reason = FinishReason::kStop;
  Usage usage;
  std::shared_ptr<const Trace> trace;      // set by the router; null from a plain backend
  std::shared_ptr<const States> states{};  // of the whole answer, with Request::states_every; else null
  std::vector<ToolCall> tool_calls{};      // that the answer ends in, all of one backend
  std::optional<float> p_wrong{};          // of the whole answer, where a Delta would have it
};

using Event = std::variant<Started, Delta, Switched, Done>;

}  // namespace hedge::chat
