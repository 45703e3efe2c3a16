#include "optimize/roofline.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "kernels/dispatch.h"
#include "os/memory.h"

namespace hedge::optimize {
namespace {

// Far beyond the last-level cache share of one process.
constexpr size_t kReadBytes = size_t{256} << 20;
constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr int kRepeats = 7;

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

double read_speed(int threads, const kernels::Table& table, const uint8_t* memory) {
  std::vector<float> sinks(static_cast<size_t>(threads) * 16);
  std::vector<double> bytes(static_cast<size_t>(threads) * 8);
  // In pieces, as a model's weights are shared out.
  std::atomic<size_t> next{0};
  const double seconds = timed(threads, [&](int index) {
    const size_t at = static_cast<size_t>(index);
    for (size_t piece = next++; piece < kReadBytes / kPieceBytes; piece = next++) {
      bytes[at * 8] += table.read_all(memory + piece * kPieceBytes, kPieceBytes, &sinks[at * 16]);
    }
  });
  double total = 0;
  for (const double n : bytes) total += n;
  return total / seconds / 1e9;
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
  if (const Result<uint8_t*> memory = os::reserve_memory(kReadBytes); memory.ok()) {
    os::prefer_large_pages(*memory, kReadBytes);
    std::memset(*memory, 1, kReadBytes);
    result.read_gb_per_second = best_of([&] { return read_speed(result.threads, table, *memory); });
    result.read_gb_per_second_single = best_of([&] { return read_speed(1, table, *memory); });
    os::free_memory(*memory, kReadBytes);
  }
  constexpr size_t kIterations = 2'000'000;  // some 5 to 50 ms a run
  result.int8_gop_per_second = best_of([&] { return peak(result.threads, table.int8_peak, kIterations); });
  result.f32_gflop_per_second = best_of([&] { return peak(result.threads, table.f32_peak, kIterations); });
  return result;
}

}  // namespace hedge::optimize
