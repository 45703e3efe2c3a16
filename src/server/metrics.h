// Numbers for GET /metrics, in Prometheus' text form. The server's own are counted here; the others' are read
// when asked.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "server/recent.h"
#include "server/server.h"

namespace hedge::server {

// Memory of this process that is in RAM; 0 where the system does not say.
int64_t resident_bytes();

// Thread-safe.
class Histogram {
 public:
  // From a token of a small model on a fast machine to a long answer on a slow one; seconds.
  static constexpr std::array kBounds = {0.005, 0.01, 0.025, 0.05, 0.1,  0.25, 0.5,
                                         1.0,   2.5,  5.0,   10.0, 30.0, 60.0, 120.0};

  void observe(double seconds);
  void write(std::string& out, std::string_view name) const;

 private:
  mutable std::mutex mutex_;
  std::array<uint64_t, kBounds.size()> counts_ = {};  // of each bucket alone
  uint64_t count_ = 0;
  double sum_ = 0;
};

// Thread-safe.
class Metrics {
 public:
  // `route` is one of the table's paths, never what the client sent: labels must stay few.
  void count_request(std::string_view route, int status);
  Histogram first_token;
  Histogram answer;
  std::atomic<int> connections = 0;
  std::atomic<uint64_t> clients_gone = 0;  // answers whose client left before their end
  Recent recent;

  std::string text(const Parts& parts, int answers_running) const;
  double uptime_s() const { return seconds_since(start_); }
  // All requests; of these, those with a status of 400 to 499, and of 500 and more.
  void count_statuses(int64_t& requests, int64_t& refused, int64_t& failed) const;

 private:
  const SteadyClock::time_point start_ = SteadyClock::now();
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> requests_;
};

}  // namespace hedge::server
