#include "optimize/roofline.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "kernels/dispatch.h"

namespace hedge::optimize {
namespace {

// Far beyond the last-level cache share of one process; split among the threads.
constexpr size_t kReadBytes = size_t{256} << 20;
constexpr int kRepeats = 5;

// Runs work(thread index) on all threads at once; returns the seconds until the last one is done.
double timed(int threads, const std::function<void(int)>& work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> team;
  for (int i = 0; i < threads; ++i) {
    team.emplace_back([&, i] {
      ready.fetch_add(1);
      go.wait(false);
      work(i);
    });
  }
  while (ready.load() < threads) std::this_thread::yield();
  const auto start = SteadyClock::now();
  go.store(true);
  go.notify_all();
  for (std::thread& thread : team) thread.join();
  return seconds_since(start);
}

double best_of(const std::function<double()>& measure) {
  double best = 0;
  for (int i = 0; i < kRepeats; ++i) best = std::max(best, measure());
  return best;
}

double read_speed(int threads, const std::vector<uint64_t>& memory) {
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
  const size_t share = memory.size() / static_cast<size_t>(threads);
  const double seconds = timed(threads, [&](int index) {
    const uint64_t* words = memory.data() + static_cast<size_t>(index) * share;
    uint64_t lanes[8] = {};
    for (size_t i = 0; i + 8 <= share; i += 8) {
      for (size_t j = 0; j < 8; ++j) lanes[j] += words[i + j];
    }
    for (const uint64_t lane : lanes) sums[static_cast<size_t>(index) * 8] += lane;
  });
  return static_cast<double>(share * static_cast<size_t>(threads) * 8) / seconds / 1e9;
}

double peak(int threads, double (*kernel)(size_t, float*), size_t iterations) {
  std::vector<float> sinks(static_cast<size_t>(threads) * 16);
  std::vector<double> operations(static_cast<size_t>(threads) * 8);
  const double seconds = timed(threads, [&](int index) {
    operations[static_cast<size_t>(index) * 8] = kernel(iterations, &sinks[static_cast<size_t>(index) * 16]);
  });
  double total = 0;
  for (const double n : operations) total += n;
  return total / seconds / 1e9;
}

}  // namespace

Roofline measure_roofline(int threads) {
  Roofline result;
  result.threads = threads > 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
  const kernels::Table& table = kernels::active();
  result.isa = table.name;
  const std::vector<uint64_t> memory(kReadBytes / 8, 1);
  result.read_gb_per_second = best_of([&] { return read_speed(result.threads, memory); });
  result.read_gb_per_second_single = best_of([&] { return read_speed(1, memory); });
  constexpr size_t kIterations = 2'000'000;  // some 5 to 50 ms a run
  result.int8_gop_per_second = best_of([&] { return peak(result.threads, table.int8_peak, kIterations); });
  result.f32_gflop_per_second = best_of([&] { return peak(result.threads, table.f32_peak, kIterations); });
  return result;
}

}  // namespace hedge::optimize
