// Threads for work that blocks. A chat::Stream blocks its consumer, so a running answer has a thread of its
// own; threads are made when first needed and kept.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hedge::server {

class RunnerPool {
 public:
  using Job = std::function<void()>;

  // At most `threads_max` threads; at most `jobs_max` jobs that run or wait.
  RunnerPool(int threads_max, int jobs_max) : threads_max_(threads_max), jobs_max_(jobs_max) {}
  // Waits for the jobs that run; those that wait still run.
  ~RunnerPool() { join(); }

  // All of them or none. False when they do not fit, or after join().
  bool submit(std::vector<Job> jobs);
  bool submit(Job job);
  void join();

 private:
  bool add_thread();
  void work();

  const int threads_max_;
  const int jobs_max_;
  std::mutex mutex_;
  std::condition_variable news_;
  std::deque<Job> waiting_;
  std::vector<std::thread> threads_;
  int idle_ = 0;
  int jobs_ = 0;
  bool closed_ = false;
};

}  // namespace hedge::server
