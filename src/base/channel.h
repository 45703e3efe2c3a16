// Bounded queue between threads: the one place where producers and consumers meet. Any number of each.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace hedge {

template <typename T>
class Channel {
 public:
  enum class Pop { kValue, kTimeout, kClosed };

  explicit Channel(size_t capacity) : capacity_(capacity) {}

  // Never blocks. False when full or closed; `value` is untouched then.
  [[nodiscard]] bool try_push(T& value) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || items_.size() >= capacity_) return false;
      items_.push_back(std::move(value));
    }
    ready_.notify_one();
    return true;
  }
  [[nodiscard]] bool try_push(T&& value) { return try_push(value); }

  // Pushes even past the capacity: for the one closing item that must never be lost. False only when closed.
  bool push_final(T value) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return false;
      items_.push_back(std::move(value));
    }
    ready_.notify_one();
    return true;
  }

  // Blocks until an item, the close or the deadline. Items pushed before the close are still delivered.
  Pop pop(std::optional<T>& out, Deadline deadline) {
    std::unique_lock lock(mutex_);
    const auto has_news = [&] { return closed_ || !items_.empty(); };
    if (deadline == kNoDeadline) {
      ready_.wait(lock, has_news);
    } else if (!ready_.wait_until(lock, deadline, has_news)) {
      return Pop::kTimeout;
    }
    if (items_.empty()) return Pop::kClosed;
    out.emplace(std::move(items_.front()));
    items_.pop_front();
    return Pop::kValue;
  }

  // No item is accepted from here on; waiting consumers wake.
  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  bool closed() const {
    std::lock_guard lock(mutex_);
    return closed_;
  }

  size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }

  bool full() const {
    std::lock_guard lock(mutex_);
    return items_.size() >= capacity_;
  }

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace hedge
