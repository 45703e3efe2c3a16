// An OpenAI-compatible endpoint (cloud provider, llama-server, vLLM, another Hedge) as a chat::Backend, over one libcurl
// multi handle on a thread of its own: connections are reused, answers are streamed, every wait has a deadline.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "chat/backend.h"

namespace hedge::upstream {

struct Options {
  std::string name = "upstream";
  std::string base_url;        // without "/v1"; http or https
  std::string model;           // the name the endpoint knows
  std::string key_env;         // environment variable with the API key; read at start
  std::string key_file;        // or a file with it; first line
  int connect_timeout_ms = 3000;
  int first_token_timeout_ms = 30000;
  int gap_timeout_ms = 10000;  // between two pieces of a stream
  int in_flight_max = 64;
  // Breaker: opens after this many failures in a row; a health probe (GET /v1/models, not a user's request) after
  // open_ms may close it again.
  int breaker_failures = 3;
  int breaker_open_ms = 5000;
  // Flags for endpoints that continue a trailing assistant message only when told so (vLLM).
  bool send_continue_flags = true;
};

struct Counters {
  uint64_t requests = 0;
  uint64_t failures = 0;
  uint64_t breaker_opened = 0;
  uint64_t bytes_received = 0;
  uint64_t connections_opened = 0;
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
};

class OpenAiBackend : public chat::Backend {
 public:
  // Checks the options (URL, key source); sends nothing to the network until the first request.
  static Result<std::unique_ptr<OpenAiBackend>> create(const Options& options);
  virtual Counters counters() const = 0;
};

}  // namespace hedge::upstream
