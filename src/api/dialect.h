// A wire form: how the body of one endpoint becomes requests, and how events become bytes. Pure; no sockets,
// no clock. A new form is one file that defines a Dialect and one line in dialect_list.inc.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "api/call.h"
#include "api/error.h"
#include "base/result.h"
#include "chat/event.h"

namespace hedge::api {

// What every part of one answer repeats.
struct AnswerHead {
  std::string id;         // of the decision, "hd-..."
  std::string model;      // as the client knows it
  int64_t created_s = 0;  // unix time
};

// Turns the events of all answers of one call into bytes. One thread at a time.
class Formatter {
 public:
  virtual ~Formatter() = default;

  // Takes the next event of answer `index` (REQUIRES: of Call::requests, and no event after its Done). For a
  // stream: the bytes to send now, often none; with the last Done they end the stream properly. Otherwise
  // always empty.
  virtual std::string add(size_t index, const chat::Event& event) = 0;
  // Whether every answer has had its Done.
  virtual bool complete() const = 0;
  // The whole body of a call that does not stream. REQUIRES: complete().
  virtual std::string body() = 0;
  // The end of a stream that failed after its head was sent.
  virtual std::string stream_error(const ApiError& error) = 0;
};

struct Dialect {
  std::string_view path;
  std::string_view stream_content_type;
  std::string_view keep_alive;  // bytes that say "still there" in a stream and mean nothing else; empty: none
  Result<Call> (*parse)(std::string_view body);
  std::unique_ptr<Formatter> (*make_formatter)(const Call& call, const AnswerHead& head);
  std::string (*error_body)(const ApiError& error);
};

#define HEDGE_DIALECT(name) extern const Dialect name;
#include "api/dialect_list.inc"
#undef HEDGE_DIALECT

std::span<const Dialect* const> dialects();

}  // namespace hedge::api
