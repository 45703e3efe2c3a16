// A scripted chat::Backend, and chat::Upstream, for the tests of this folder: what each start() gives is
// computed from the request.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/outbound.h"

namespace hedge::route {

// One stream: its events in order. A kTimeout error among them is given only to a caller with a deadline.
// After the last one the stream hangs until cancelled, which a script that ends in Done or an error never
// shows.
struct FakePlan {
  std::vector<Result<chat::Event>> events;
  int losers = 0;  // Stream::losers()
};

inline chat::Delta token_delta(std::string text, float margin = 1, float entropy = 0) {
  chat::TokenInfo token;
  token.chosen.bytes = text;
  token.margin = margin;
  token.entropy = entropy;
  return chat::Delta{std::move(text), {token}};
}

class FakeBackend : public chat::Backend, public chat::Upstream {
 public:
  using Plan = std::function<Result<FakePlan>(const chat::Request&)>;

  FakeBackend(std::string name, Plan plan) : info_{std::move(name), "fake", 0}, plan_(std::move(plan)) {}

  const chat::BackendInfo& info() const override { return info_; }
  chat::BackendState state() const override {
    std::lock_guard lock(mutex_);
    return state_;
  }
  void set_state(chat::BackendState state) {
    std::lock_guard lock(mutex_);
    state_ = std::move(state);
  }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Request& request) override {
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    Result<FakePlan> plan = plan_(request);
    if (!plan.ok()) return std::move(plan).error();
    return std::unique_ptr<chat::Stream>(std::make_unique<FakeStream>(std::move(plan).value(), running_));
  }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Outbound& outbound) override {
    return start(outbound.request());
  }

  // Before the first request.
  void set_losers_max(int losers_max) { info_.losers_max = losers_max; }

  // Every request that start() was given, refused ones too.
  std::vector<chat::Request> requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  // Streams that are neither at their end nor cancelled.
  int running() const { return *running_; }

 private:
  class FakeStream final : public chat::Stream {
   public:
    FakeStream(FakePlan plan, std::shared_ptr<std::atomic<int>> running)
        : plan_(std::move(plan)), running_(std::move(running)) {
      ++*running_;
    }
    ~FakeStream() override { cancel(); }

    Result<chat::Event> next(Deadline deadline) override {
      std::unique_lock lock(mutex_);
      while (!ended_ && position_ < plan_.events.size()) {
        Result<chat::Event> event = std::move(plan_.events[position_++]);
        const bool timeout = !event.ok() && event.error().code == ErrorCode::kTimeout;
        if (timeout && deadline == kNoDeadline) continue;
        if (!timeout && (!event.ok() || std::holds_alternative<chat::Done>(event.value()))) end_locked();
        return event;
      }
      const auto ended = [this] { return ended_; };
      if (deadline == kNoDeadline) {
        changed_.wait(lock, ended);
      } else if (!changed_.wait_until(lock, deadline, ended)) {
        return make_error(ErrorCode::kTimeout, "nothing yet");
      }
      return make_error(ErrorCode::kCancelled, "cancelled");
    }

    void cancel() override {
      std::lock_guard lock(mutex_);
      end_locked();
    }

    int losers() const override { return plan_.losers; }

   private:
    void end_locked() {
      if (ended_) return;
      ended_ = true;
      --*running_;
      changed_.notify_all();
    }

    FakePlan plan_;
    const std::shared_ptr<std::atomic<int>> running_;
    std::mutex mutex_;
    std::condition_variable changed_;
    size_t position_ = 0;
    bool ended_ = false;
  };

  chat::BackendInfo info_;
  const Plan plan_;
  mutable std::mutex mutex_;
  chat::BackendState state_;
  std::vector<chat::Request> requests_;
  const std::shared_ptr<std::atomic<int>> running_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace hedge::route
