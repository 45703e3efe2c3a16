// How an endpoint is asked to go on with an answer that another model has begun, and how that is found out:
// by a few small requests with a fixed text, sent the first time that it matters. Nothing of a user's stands
// in them.
//
// Pure: gives the next request, takes its reply. One thread.
//
// The manners, best first:
//   tokens   token ids on /v1/completions: the model sees the very tokens that the local one wrote. For
//   endpoints
//            that tokenize and template as the local model does, which a fixed conversation shows.
//   prefix   a trailing assistant message, with vLLM's flags or without (llama-server, Hedge).
//   raw      the rendered conversation as text on /v1/completions, where the template is the same but neither
//   ids
//            nor a trailing message are taken.
//   instruct a trailing assistant message and the instruction to go on from it, for whoever has none of
//   these.
// What comes back is aligned to what was sent (align.h), whatever the manner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "upstream/dialects/dialect.h"
#include "upstream/rendered.h"

namespace hedge::upstream {

// Null when there is no manner of that name.
std::optional<Continuation> parse_continuation(std::string_view name);
const char* to_string(Continuation how);

// The fixed conversation of the test requests, and the start of the assistant's turn in it: a count that no
// new turn would take up in the middle.
std::vector<chat::Message> test_conversation();
std::string_view test_start();
// Whether an answer goes on with the count: after a repeated start, or from where it stopped.
bool goes_on(std::string_view answer);

// `request` written anew for that manner; none when it cannot be: without a renderer, or where
// log-probabilities are asked for, which completions give in another form. kPrefix is the request as it is.
std::optional<chat::Request> in_manner(Continuation how, const chat::Request& request,
                                       const Renderer& renderer);

class Detector {
 public:
  // `renderer`: as the local model reads the test conversation; null without a local model.
  Detector(std::string model, const Renderer& renderer);

  // The next request; none when everything is known.
  std::optional<HttpRequest> next() const;
  // Its reply; status 0 when none came.
  void take(int status, std::string_view body);

  // What was found; none while nothing certain is known (an endpoint that did not answer).
  struct Found {
    Continuation how = Continuation::kPrefix;
    bool continue_flags = true;  // of kPrefix
  };
  std::optional<Found> found() const { return found_; }

 private:
  enum class Step : uint8_t { kTemplateIds, kTemplateText, kTextIds, kTokens, kFlags, kPlain, kRaw, kDone };

  void finish(Continuation how, bool continue_flags);

  const std::string model_;
  const std::optional<Rendered> local_;
  Step step_;
  bool same_text_ = false;  // the endpoint renders the conversation as the local model does
  bool answered_ = false;   // it answered some test request with text
  std::optional<Found> found_;
};

}  // namespace hedge::upstream
