// Circuit breaker: after `failures_max` failures in a row the endpoint is left alone; after `open_ms` one
// probe (not a user's request) decides whether it is closed again. Pure: the time is passed in. Not
// thread-safe; its owner locks.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace hedge::upstream {

class Breaker {
 public:
  enum class State { kClosed, kOpen, kProbing };

  Breaker(int failures_max, Milliseconds open_for) : failures_max_(failures_max), open_for_(open_for) {}

  State state() const { return state_; }
  bool allows_requests() const { return state_ == State::kClosed; }

  // A request's outcome. While the breaker is not closed these are late reports of requests that began before
  // it opened; the probe alone decides then.
  void request_succeeded() {
    if (state_ == State::kClosed) failures_ = 0;
  }
  // True when this failure opened it.
  bool request_failed(Deadline now) {
    if (state_ != State::kClosed || ++failures_ < failures_max_) return false;
    open(now);
    return true;
  }

  // When the next probe is due; kNoDeadline while closed or while one is running.
  Deadline probe_at() const { return state_ == State::kOpen ? probe_at_ : kNoDeadline; }
  void probe_started() { state_ = State::kProbing; }
  void probe_succeeded() {
    state_ = State::kClosed;
    failures_ = 0;
  }
  void probe_failed(Deadline now) { open(now); }

  // How long a refused caller should wait at least; never 0.
  Milliseconds retry_after(Deadline now) const {
    const Milliseconds left = std::chrono::duration_cast<Milliseconds>(probe_at_ - now);
    return std::max(state_ == State::kOpen ? left : Milliseconds(0), Milliseconds(1));
  }

 private:
  void open(Deadline now) {
    state_ = State::kOpen;
    probe_at_ = now + open_for_;
  }

  const int failures_max_;
  const Milliseconds open_for_;
  State state_ = State::kClosed;
  int failures_ = 0;  // in a row
  Deadline probe_at_{};
};

}  // namespace hedge::upstream
