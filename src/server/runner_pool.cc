#include "server/runner_pool.h"

#include <system_error>
#include <utility>

namespace hedge::server {

bool RunnerPool::submit(Job job) {
  std::vector<Job> jobs;
  jobs.push_back(std::move(job));
  return submit(std::move(jobs));
}

bool RunnerPool::submit(std::vector<Job> jobs) {
  {
    std::lock_guard lock(mutex_);
    if (closed_ || static_cast<int>(jobs.size()) > jobs_max_ - jobs_) return false;
    const int wanted = static_cast<int>(waiting_.size() + jobs.size()) - idle_;
    for (int i = 0; i < wanted && static_cast<int>(threads_.size()) < threads_max_; ++i) {
      if (!add_thread()) break;
    }
    if (threads_.empty()) return false;
    jobs_ += static_cast<int>(jobs.size());
    for (Job& job : jobs) waiting_.push_back(std::move(job));
  }
  news_.notify_all();
  return true;
}

// False when the system has no thread to give; the jobs wait for those that are there.
bool RunnerPool::add_thread() {
  try {
    threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    return false;
  }
  ++idle_;
  return true;
}

void RunnerPool::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    news_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    --idle_;
    lock.unlock();
    job();
    job = nullptr;  // What it held is freed before its place is.
    lock.lock();
    --jobs_;
    ++idle_;
  }
}

void RunnerPool::join() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  news_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace hedge::server
