#include "server/outbox.h"

#include <utility>

namespace hedge::server {

void Outbox::notify(std::unique_lock<std::mutex>& lock) {
  const bool wake = !std::exchange(woken_, true);
  lock.unlock();
  if (wake) wake_();
}

void Outbox::reply(Reply reply) {
  std::unique_lock lock(mutex_);
  head_ = std::move(reply);
  whole_ = true;
  finished_ = true;
  notify(lock);
}

void Outbox::begin_stream(Reply head, std::string_view keep_alive) {
  std::unique_lock lock(mutex_);
  keep_alive_ = keep_alive;
  head_ = std::move(head);
  notify(lock);
}

bool Outbox::write(std::string_view bytes) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [this] { return abandoned_ || bytes_.size() < kOutboxBytesMax; });
  if (abandoned_) return false;
  bytes_ += bytes;
  notify(lock);
  return true;
}

void Outbox::finish() {
  std::unique_lock lock(mutex_);
  finished_ = true;
  notify(lock);
}

bool Outbox::abandoned() const {
  std::lock_guard lock(mutex_);
  return abandoned_;
}

Outbox::Taken Outbox::take() {
  Taken taken;
  {
    std::lock_guard lock(mutex_);
    woken_ = false;
    taken.head = std::exchange(head_, std::nullopt);
    taken.whole = whole_;
    taken.keep_alive = keep_alive_;
    taken.bytes = std::exchange(bytes_, {});
    taken.finished = finished_;
  }
  room_.notify_all();
  return taken;
}

void Outbox::abandon() {
  // Before the writer can see it: a runner that finds its outbox abandoned lets its streams go, and they
  // would end without ever having been cancelled.
  streams_.cancel_all();
  {
    std::lock_guard lock(mutex_);
    abandoned_ = true;
  }
  room_.notify_all();
}

}  // namespace hedge::server
