// The way back of one HTTP request: runner threads fill it, the connection empties it. It is bounded, so a
// client that reads slowly slows its own answer and nothing else; and it carries the news that the client has
// gone the other way.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/cancel_set.h"
#include "server/http.h"

namespace hedge::server {

// Stream bytes that wait for the socket. A token's chunk is about 250 bytes, so this is some thousand tokens.
inline constexpr size_t kOutboxBytesMax = 256u << 10;

class Outbox {
 public:
  // `wake` is called, from any thread and outside the lock, when there is something to take.
  explicit Outbox(std::function<void()> wake) : wake_(std::move(wake)) {}

  // --- The side that answers.

  // The whole answer. REQUIRES: nothing was sent before.
  void reply(Reply reply);
  // The head of a stream; bytes follow. REQUIRES: nothing was sent before. `keep_alive` (static text, may be
  // empty) is what the connection sends when there was nothing else for a while.
  void begin_stream(Reply head, std::string_view keep_alive);
  // Blocks while the outbox is full. False when the client has gone: then nothing more need be made.
  bool write(std::string_view bytes);
  void finish();
  bool abandoned() const;
  CancelSet& streams() { return streams_; }

  // --- The side of the connection.

  struct Taken {
    std::optional<Reply> head;  // the first time there is one
    bool whole = false;         // head is the whole answer
    std::string_view keep_alive;
    std::string bytes;
    bool finished = false;
  };
  Taken take();
  // The client has gone: cancels the streams, and write() returns false from here on.
  void abandon();

 private:
  void notify(std::unique_lock<std::mutex>& lock);

  const std::function<void()> wake_;
  CancelSet streams_;
  mutable std::mutex mutex_;
  std::condition_variable room_;
  std::optional<Reply> head_;
  bool whole_ = false;
  std::string_view keep_alive_;
  std::string bytes_;
  bool finished_ = false;
  bool abandoned_ = false;
  bool woken_ = false;  // a wake-up is under way and take() has not come yet
};

}  // namespace hedge::server
