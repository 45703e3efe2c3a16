// What every part of the server shares: what it serves, its limits, its counters, its threads for work that
// blocks.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"
#include "server/loading.h"
#include "server/metrics.h"
#include "server/runner_pool.h"
#include "server/server.h"
#include "server/slots.h"

namespace hedge::server {

// Tokenising, templates and the database: short, but not for an I/O thread.
inline constexpr int kLightThreads = 2;
// An answer gives its slot back before its last bytes, its thread a moment later; so threads outnumber slots.
inline constexpr int kSpareRunners = 16;

struct Context {
  explicit Context(const Options& options_in)
      : options(options_in),
        light(kLightThreads, options_in.connections_max),
        answers(options_in.requests_max + kSpareRunners, options_in.requests_max + kSpareRunners),
        slots(options_in.requests_max) {}

  const Options options;
  Parts parts;  // once loading has ended well
  Loading loading;
  bool loopback_only = false;  // bound to a loopback address: the Host header is checked
  const int64_t started_s = unix_time_ms() / 1000;
  std::atomic<bool> stopping = false;
  Metrics metrics;
  RunnerPool light;
  RunnerPool answers;
  Slots slots;
};

}  // namespace hedge::server
