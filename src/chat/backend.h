// The waist of Hedge. The local engine, every upstream, the router over them, the session recorder over the
// router and every test fake are a Backend; nothing above knows which.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "chat/event.h"
#include "chat/request.h"

namespace hedge::chat {

// A running answer. One thread consumes it; cancel() may come from any thread. The destructor cancels and
// lets go of everything the answer held; it does not wait for the network.
class Stream {
 public:
  virtual ~Stream() = default;

  // Blocks until the next event or the deadline. kTimeout means that none came yet and the stream goes on;
  // any other error ends it. After Done, an error or cancel() every call gives kCancelled.
  virtual Result<Event> next(Deadline deadline) = 0;

  // Stops the work within one decode step or network read; a blocked next() returns kCancelled.
  virtual void cancel() = 0;

  // How many other endpoints have been asked for this answer so far and write no part of it: each has read
  // the prompt, and nobody will report its usage. For the consumer; at most BackendInfo::losers_max.
  virtual int losers() const { return 0; }

  // Why an answer that ended without Done took its way, and what it cost; null where nobody keeps that. For
  // the consumer, once next() has given the error.
  virtual std::shared_ptr<const Trace> trace() const { return nullptr; }
};

// A snapshot for deciding, cheap to take from any thread.
struct BackendState {
  bool available = true;
  std::string unavailable_reason;  // "breaker_open", "loading", ...
  int active = 0;
  int queued = 0;
};

struct BackendInfo {
  std::string name;        // "local" or the configured name of the upstream
  std::string model;       // served model name
  int context_tokens = 0;  // 0: unknown
  int losers_max = 0;      // Stream::losers() of its answers is at most this
  std::string endpoint{};  // which machine and model an upstream is, whatever its name; empty: this device
};

// Who wrote an answer, as it is kept with it: the backend's name and, of an upstream, its endpoint, since on
// another machine the same name may be another's.
inline std::string writer_of(const std::string& name, const std::string& endpoint) {
  return endpoint.empty() ? name : name + "#" + endpoint;
}
// Whether the backend is the writer. One that was kept without its endpoint is known by its name.
inline bool is_writer(const BackendInfo& info, std::string_view writer) {
  return writer == info.name || writer == writer_of(info.name, info.endpoint);
}
// The name, for people.
inline std::string_view name_of_writer(std::string_view writer) {
  return writer.substr(0, writer.rfind('#'));
}

// Thread-safe: start() may be called by many threads at once.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const BackendInfo& info() const = 0;
  virtual BackendState state() const = 0;

  // Checks and enqueues the request; does not wait for the first token. kExhausted when the queue is full,
  // kContextExceeded when the prompt is too long, kInvalidArgument when a field is wrong.
  virtual Result<std::unique_ptr<Stream>> start(const Request& request) = 0;
};

}  // namespace hedge::chat
