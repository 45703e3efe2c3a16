// A fixed team of compute threads that run one program together (SPMD): the caller is worker 0, the others
// are started once. Between phases they meet at a barrier; inside a phase they take chunks from
// shares with a counter each, and from others' when their own is done, so that a busy core costs one chunk.
// Waiting spins for some microseconds and then sleeps: an idle or contended machine does not burn.
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
  // The next of this phase's `chunks`, which every caller of the phase names alike; `chunks` when none is
  // left. First those of the worker's own share, neighbours in order, so that it reads memory in one stream;
  // then what others have not got to.
  size_t take(size_t chunks);
  // Ends the phase: waits for all, then opens the next phase with nothing taken.
  void barrier();

 private:
  friend class Team;
  Team* team_ = nullptr;
  int index_ = 0;
  uint32_t phase_ = 0;
  int helped_ = 0;  // in this phase, workers whose shares are done, this one first
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
  struct alignas(64) Counter {
    std::atomic<size_t> value{0};
  };
  Counter* counters_of(uint32_t phase) { return &counters_[(phase & 1) * static_cast<size_t>(threads_)]; }
  void wait_for_change(const std::atomic<uint32_t>& word, uint32_t old) const;

  const int threads_;
  Program program_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> run_generation_{0};
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> barrier_generation_{0};
  std::vector<Counter> counters_;  // [2 (phases, by turns), threads] chunks taken of each share
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace hedge::os
