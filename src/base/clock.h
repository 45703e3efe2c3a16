// Time is passed in, so that tests control it. Deadlines are points of the steady clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace hedge {

using SteadyClock = std::chrono::steady_clock;
using Deadline = SteadyClock::time_point;
using Milliseconds = std::chrono::milliseconds;

inline constexpr Deadline kNoDeadline = Deadline::max();

inline Deadline deadline_after(Milliseconds delay) { return SteadyClock::now() + delay; }

inline double seconds_between(SteadyClock::time_point start, SteadyClock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}
inline double seconds_since(SteadyClock::time_point start) {
  return seconds_between(start, SteadyClock::now());
}

// Milliseconds since 1970-01-01 UTC.
inline int64_t unix_time_ms() {
  return std::chrono::duration_cast<Milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace hedge
