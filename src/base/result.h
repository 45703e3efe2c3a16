// Errors as values. What can fail returns Result<T> or Status; only our own bugs end the process (check.h).
// Error::detail is for people: it says what was expected and what came, and carries no prompt text, key or
// file content.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/check.h"

namespace hedge {

enum class ErrorCode : uint8_t {
  kInvalidArgument,  // The caller's request is wrong; retrying it unchanged fails again.
  kContextExceeded,  // Prompt plus answer do not fit the context; detail gives both lengths.
  kNotFound,         // The named thing does not exist.
  kCorrupt,          // Bytes from disk or network break their format.
  kUnsupported,      // Valid, but this build or model cannot do it.
  kPermission,       // Credentials are missing or wrong.
  kExhausted,        // A fixed limit is reached: queue slots, budget, KV cells. May work later.
  kUnavailable,      // An upstream or device is down; another route may work.
  kTimeout,          // A deadline passed.
  kCancelled,        // The consumer gave up.
  kIo,               // The operating system failed a call.
  kInternal,         // A bug of ours that was caught before it did harm.
};

// Stable lower-case name of a code, for logs and JSON ("invalid_argument").
const char* to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string detail;
  std::string field;       // The request field at fault ("messages[0].role"), empty when none is.
  int retry_after_ms = 0;  // For kExhausted and kUnavailable: when a retry may work; 0 when unknown.

  // "code: detail", for logs and the command line.
  std::string to_text() const;
};

[[nodiscard]] inline Error make_error(ErrorCode code, std::string detail, std::string field = {}) {
  return Error{code, std::move(detail), std::move(field), 0};
}

// A value or an error. Reading the one that is absent is a bug and aborts, in release builds too.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    HEDGE_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    HEDGE_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    HEDGE_CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    HEDGE_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    HEDGE_CHECK(!ok());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& {
    HEDGE_CHECK(!ok());
    return *error_;
  }
  Error&& error() && {
    HEDGE_CHECK(!ok());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace hedge

#define HEDGE_CONCAT_INNER(a, b) a##b
#define HEDGE_CONCAT(a, b) HEDGE_CONCAT_INNER(a, b)

// Returns the error of a Status or Result expression to the caller; goes on otherwise.
#define HEDGE_TRY(expression)                                               \
  do {                                                                      \
    auto hedge_try_status = (expression);                                   \
    if (!hedge_try_status.ok()) return std::move(hedge_try_status).error(); \
  } while (false)

// HEDGE_TRY_SET(const Header header, parse_header(bytes)): declares and sets, or returns the error.
#define HEDGE_TRY_SET(declaration, expression) \
  HEDGE_TRY_SET_INNER(HEDGE_CONCAT(hedge_try_, __LINE__), declaration, expression)
#define HEDGE_TRY_SET_INNER(name, declaration, expression) \
  auto name = (expression);                                \
  if (!name.ok()) return std::move(name).error();          \
  declaration = std::move(name).value()
