// The machine's limits, measured in about a second: what decode (bandwidth) and prefill (arithmetic) can at
// most reach.
#pragma once

#include <string>

namespace hedge::optimize {

struct Roofline {
  int threads = 0;
  std::string isa;
  double read_gb_per_second = 0;         // all threads, sequential reads of memory far larger than the caches
  double read_gb_per_second_single = 0;  // one thread
  double int8_gop_per_second = 0;        // all threads; multiply and add count as two
  double f32_gflop_per_second = 0;
};

Roofline measure_roofline(int threads);

}  // namespace hedge::optimize
