// Requests that came before the model was loaded. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace hedge::server {

class Loading {
 public:
  using Job = std::function<void()>;

  enum class State : uint8_t { kLoading, kLoaded, kFailed };

  State state() const { return state_.load(std::memory_order_acquire); }

  // Runs the job at the end of loading, on the thread that ends it. False when that has come: nothing is
  // kept. A connection has one request at a time, so their limit is this one's.
  bool wait(Job job) {
    std::lock_guard lock(mutex_);
    if (state() != State::kLoading) return false;
    waiting_.push_back(std::move(job));
    return true;
  }

  // Once.
  void end(State state) {
    std::vector<Job> jobs;
    {
      std::lock_guard lock(mutex_);
      state_.store(state, std::memory_order_release);
      jobs.swap(waiting_);
    }
    for (const Job& job : jobs) job();
  }

 private:
  std::mutex mutex_;
  std::vector<Job> waiting_;
  std::atomic<State> state_{State::kLoading};
};

}  // namespace hedge::server
