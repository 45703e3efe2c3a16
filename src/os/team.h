// A fixed team of compute threads that run one program together (SPMD): the caller is worker 0, the others
// are started once. Between phases they meet at a barrier; inside a phase they take chunks from a shared
// counter, so that a busy core costs one chunk. Waiting spins for some microseconds and then sleeps: an idle
// or contended machine does not burn.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace hedge::os {

class Team;

// One thread's view of the running program. Every worker must reach the same barriers in the same order.
class Worker {
 public:
  int index() const { return index_; }
  int count() const;
  // The next chunk of this phase, from 0; the caller stops at its own chunk count.
  size_t take();
  // Ends the phase: waits for all, then opens the next phase with the counter at 0.
  void barrier();

 private:
  friend class Team;
  Team* team_ = nullptr;
  int index_ = 0;
  uint32_t phase_ = 0;
};

class Team {
 public:
  using Program = void (*)(void* context, Worker& worker);

  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return threads_; }
  // Runs the program on all workers and returns when all have ended. Call from one thread only.
  void run(Program program, void* context);

 private:
  friend class Worker;
  void serve(int index);
  void wait_for_change(const std::atomic<uint32_t>& word, uint32_t old) const;

  const int threads_;
  Program program_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> run_generation_{0};
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> barrier_generation_{0};
  struct alignas(64) Counter {
    std::atomic<size_t> value{0};
  };
  Counter counters_[2];
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace hedge::os
