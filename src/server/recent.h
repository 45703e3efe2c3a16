// The last answers, for those who watch: routes, reasons and times of the last minutes. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "chat/trace.h"

namespace hedge::server {

struct ReasonCount {
  std::string name;
  int64_t count = 0;
};

struct RecentAnswers {
  int64_t window_s = 0;
  int64_t local = 0, upstream = 0, mixed = 0;
  std::vector<ReasonCount> reasons;  // most frequent first
  // Nearest rank; 0 without answers.
  double first_text_p50_ms = 0, first_text_p95_ms = 0;
  double total_p50_ms = 0, total_p95_ms = 0;
};

class Recent {
 public:
  static constexpr size_t kAnswersMax = 1024;  // some 100 KB; older ones are forgotten
  static constexpr Milliseconds kWindow{10 * 60 * 1000};

  void note(const chat::Trace& trace, SteadyClock::time_point now = SteadyClock::now());
  RecentAnswers look(SteadyClock::time_point now = SteadyClock::now()) const;

 private:
  struct Answer {
    SteadyClock::time_point at;
    std::string route;
    std::vector<std::string> reasons;
    double first_text_ms;  // 0: it had no text
    double total_ms;
  };
  mutable std::mutex mutex_;
  std::deque<Answer> answers_;
};

}  // namespace hedge::server
