// Speed of a model on this machine: prefill and decode in tokens per second, as llama-bench measures them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hedge::optimize {

struct BenchmarkOptions {
  std::string model_path;
  std::vector<int> prompt_tokens = {512};     // one test "ppN" each
  std::vector<int> generated_tokens = {128};  // one test "tgN" each
  int depth_tokens = 0;                       // stand in the context before each test's own
  std::string kv_type = "q8";
  int threads = 0;
  int repetitions = 5;
  int chunk_rows = 512;  // prompt rows per step
};

struct BenchmarkResult {
  std::string test;              // "pp512", "tg128", "tg128@d8192"
  double tokens_per_second = 0;  // median of the runs
  std::vector<double> runs;      // tokens per second each, in order
  int threads = 0;
  std::string isa;  // kernel level
};

// One warm-up run per test, then the counted ones, the tests in turn.
Result<std::vector<BenchmarkResult>> benchmark(const BenchmarkOptions& options);

}  // namespace hedge::optimize
