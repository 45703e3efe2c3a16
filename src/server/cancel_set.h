// The running streams behind one HTTP request, so that a client that has gone can stop them from another
// thread.
#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include "chat/backend.h"

namespace hedge::server {

// Thread-safe. A stream is removed before it dies; one that is added after cancel_all() is cancelled at once.
class CancelSet {
 public:
  void add(chat::Stream* stream) {
    std::lock_guard lock(mutex_);
    streams_.push_back(stream);
    if (cancelled_) stream->cancel();
  }
  void remove(chat::Stream* stream) {
    std::lock_guard lock(mutex_);
    std::erase(streams_, stream);
  }
  void cancel_all() {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (chat::Stream* stream : streams_) stream->cancel();
  }

 private:
  std::mutex mutex_;
  std::vector<chat::Stream*> streams_;
  bool cancelled_ = false;
};

}  // namespace hedge::server
