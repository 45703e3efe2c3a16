// What every part of the server shares: what it serves, its limits, its counters, its threads for work that
// blocks.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <random>
#include <string>

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

// 64 random bits from the system: two nodes of one name would take each other's requests for loops.
inline std::string random_node() {
  std::random_device device;
  const uint64_t bits = (static_cast<uint64_t>(device()) << 32) | device();
  return fmt::format("n-{:016x}", bits);
}

struct Context {
  explicit Context(const Options& options_in)
      : options(options_in),
        node(options_in.node.empty() ? random_node() : options_in.node),
        light(kLightThreads, options_in.connections_max),
        answers(options_in.requests_max + kSpareRunners, options_in.requests_max + kSpareRunners),
        slots(options_in.requests_max) {}

  const Options options;
  const std::string node;  // this Hedge's name in x-hedge-path
  Parts parts;             // once loading has ended well
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
