// Between the network thread, which fills it, and the one consumer of a stream. When the queue is full the
// network thread stops reading that connection (the endpoint feels it through TCP) until the consumer has
// made room.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "base/channel.h"
#include "base/result.h"
#include "chat/backend.h"

namespace hedge::upstream {

struct Mailbox {
  static constexpr size_t kEventsMax = 64;

  Channel<Result<chat::Event>> events{kEventsMax};
  std::atomic<bool> cancelled{false};   // set by the consumer's side
  std::atomic<bool> wants_room{false};  // set by the network thread while it holds events back

  // Half empty: worth waking the network thread for. Both sides ask the same question, so no wake-up is lost.
  bool has_room() const { return events.size() <= kEventsMax / 2; }
};

// Wakes the network thread; outlives it, since streams may outlive their backend.
class Waker {
 public:
  explicit Waker(void* multi) : multi_(multi) {}
  void wake();
  void detach();  // before the multi handle goes away

 private:
  std::mutex mutex_;
  void* multi_;  // CURLM*
};

std::unique_ptr<chat::Stream> make_stream(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Waker> waker);

}  // namespace hedge::upstream
