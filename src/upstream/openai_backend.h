// An OpenAI-compatible endpoint (cloud provider, llama-server, vLLM, another Hedge) as a chat::Upstream, over
// one libcurl multi handle on a thread of its own: connections are reused, answers are streamed, every wait
// has a deadline.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "chat/outbound.h"
#include "upstream/rendered.h"

namespace hedge::upstream {

struct Options {
  std::string name = "upstream";
  std::string dialect = "openai";  // one of dialects/dialect_list.inc
  std::string base_url;            // http or https; a "/v1" at its end is left out
  std::string model;               // the name the endpoint knows
  std::string key_env;             // environment variable with the API key; read by create()
  std::string key_file;            // or a file with it; first line. The variable wins when both are named
  std::string ca_file;             // PEM file of the authorities to trust with https; empty: the system's
  int connect_timeout_ms = 3000;
  int first_token_timeout_ms = 30000;  // from start() to the first piece of the answer
  int gap_timeout_ms =
      10000;  // between two pieces of a stream; a consumer that does not read stops this clock
  int in_flight_max = 64;
  // Breaker: opens after this many failures in a row; a health probe (GET /v1/models, not a user's request)
  // after open_ms may close it again.
  int breaker_failures = 3;
  int breaker_open_ms = 5000;
  // How it goes on with an answer that the local model has begun: "prefix", "tokens", "raw", "instruct", or
  // "auto", found out with a few small test requests when it first matters (continuation.h).
  std::string continuation = "auto";
  // Flags for endpoints that continue a trailing assistant message only when told so (vLLM).
  bool send_continue_flags = true;
  // With several upstreams: when the first text takes longer, the next one is asked too (tiers.h); 0: never.
  int hedge_after_ms = 0;
};

// What create() refuses whichever endpoint it is: words, limits and files. Error::field is the option's name.
Status check_options(const Options& options);

struct Counters {
  uint64_t requests = 0;  // streams that start() gave out
  uint64_t failures = 0;  // those that ended in an error; cancelled ones are none
  uint64_t breaker_opened = 0;
  uint64_t bytes_received = 0;
  uint64_t connections_opened = 0;
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
};

// start() gives kUnavailable at once while the breaker is open. A stream's errors say what they expected; a
// deadline that passed at the endpoint is kUnavailable, since kTimeout from next() means "nothing yet".
// kUnsupported is an endpoint that began the answer anew where it was to continue one (align.h). Text that
// came before an error stands. Streams may outlive the backend; they end in kUnavailable then.
class OpenAiBackend : public chat::Upstream {
 public:
  // Checks the options (URL, key source); sends nothing to the network until the first request. `network_up`
  // says whether any route leads beyond this machine (the system's own tables, unless a test has others);
  // without one an endpoint that is not on this machine is unavailable at once, running answers included.
  static Result<std::unique_ptr<OpenAiBackend>> create(const Options& options,
                                                       std::function<bool()> network_up = {});
  virtual Counters counters() const = 0;
  // How the local model reads a conversation, for endpoints that read the same tokens. Before the first
  // request.
  virtual void set_renderer(Renderer) {}
};

}  // namespace hedge::upstream
