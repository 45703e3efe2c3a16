// Stand-ins for engine and upstream in tests. A fake stream gives what the test puts into it, when it puts it
// in.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/channel.h"
#include "chat/backend.h"
#include "engine/engine.h"
#include "upstream/openai_backend.h"

namespace hedge::server {

constexpr Milliseconds kTestLimit(10000);

// Both ends of one stream: the test's and the server's.
class StreamScript {
 public:
  void push(chat::Event event) { EXPECT_TRUE(queue_.try_push(Result<chat::Event>(std::move(event)))); }
  void text(std::string text) { push(chat::Delta{std::move(text), {}}); }
  void fail(Error error) { EXPECT_TRUE(queue_.try_push(Result<chat::Event>(std::move(error)))); }
  void finish() { push(chat::Done{}); }

  Result<chat::Event> pop(Deadline deadline) {
    std::optional<Result<chat::Event>> item;
    switch (queue_.pop(item, deadline)) {
      case Channel<Result<chat::Event>>::Pop::kTimeout:
        return make_error(ErrorCode::kTimeout, "nothing yet");
      case Channel<Result<chat::Event>>::Pop::kClosed:
        return make_error(ErrorCode::kCancelled, "cancelled");
      case Channel<Result<chat::Event>>::Pop::kValue:
        break;
    }
    return is(cancelled_) ? Result<chat::Event>(make_error(ErrorCode::kCancelled, "cancelled"))
                          : std::move(*item);
  }
  void cancel() {
    set(cancelled_);
    queue_.close();
  }
  void destroy() { set(destroyed_); }

  bool wait_cancelled() { return wait(cancelled_); }
  bool wait_destroyed() { return wait(destroyed_); }
  bool cancelled() { return is(cancelled_); }
  bool wait_drained() {
    const Deadline deadline = deadline_after(kTestLimit);
    while (queue_.size() > 0 && SteadyClock::now() < deadline) std::this_thread::yield();
    return queue_.size() == 0;
  }

 private:
  void set(bool& flag) {
    {
      std::lock_guard lock(mutex_);
      flag = true;
    }
    news_.notify_all();
  }
  bool is(const bool& flag) {
    std::lock_guard lock(mutex_);
    return flag;
  }
  bool wait(const bool& flag) {
    std::unique_lock lock(mutex_);
    return news_.wait_for(lock, kTestLimit, [&] { return flag; });
  }

  Channel<Result<chat::Event>> queue_{100000};
  std::mutex mutex_;
  std::condition_variable news_;
  bool cancelled_ = false;
  bool destroyed_ = false;
};

class FakeStream : public chat::Stream {
 public:
  explicit FakeStream(std::shared_ptr<StreamScript> script) : script_(std::move(script)) {}
  ~FakeStream() override { script_->destroy(); }
  Result<chat::Event> next(Deadline deadline) override { return script_->pop(deadline); }
  void cancel() override { script_->cancel(); }

 private:
  const std::shared_ptr<StreamScript> script_;
};

// Answers "Hello, world" at once, unless `on_start` says otherwise.
class FakeBackend : public chat::Backend {
 public:
  using OnStart = std::function<Status(const chat::Request&, StreamScript&)>;

  OnStart on_start = [](const chat::Request&, StreamScript& script) -> Status {
    script.push(chat::Started{"local", "fake", 3, 1});
    script.text("Hello");
    script.text(", world");
    chat::Done done;
    done.usage.prompt_tokens = 3;
    done.usage.cached_tokens = 1;
    done.usage.completion_tokens = 2;
    script.push(done);
    return {};
  };
  // The test plays each stream by hand.
  void manual() {
    on_start = [](const chat::Request&, StreamScript&) -> Status { return {}; };
  }

  const chat::BackendInfo& info() const override { return info_; }
  chat::BackendState state() const override { return {}; }
  Result<std::unique_ptr<chat::Stream>> start(const chat::Request& request) override {
    auto script = std::make_shared<StreamScript>();
    HEDGE_TRY(on_start(request, *script));
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
      scripts_.push_back(script);
    }
    news_.notify_all();
    return std::unique_ptr<chat::Stream>(std::make_unique<FakeStream>(script));
  }

  // The stream number `index` since the beginning, as soon as there is one.
  std::shared_ptr<StreamScript> wait_stream(size_t index) {
    std::unique_lock lock(mutex_);
    if (!news_.wait_for(lock, kTestLimit, [&] { return scripts_.size() > index; })) {
      ADD_FAILURE() << "stream " << index << " was never started";
      std::abort();
    }
    return scripts_[index];
  }
  chat::Request request(size_t index) {
    std::lock_guard lock(mutex_);
    return requests_.at(index);
  }

 private:
  chat::BackendInfo info_{"local", "fake", 128};
  std::mutex mutex_;
  std::condition_variable news_;
  std::vector<chat::Request> requests_;
  std::vector<std::shared_ptr<StreamScript>> scripts_;
};

// One token per byte; id 256 is the control token "<end>".
class FakeTokenizer : public text::Tokenizer {
 public:
  FakeTokenizer() {
    for (int i = 0; i < 256; ++i) bytes_.push_back(std::string(1, static_cast<char>(i)));
    bytes_.push_back("<end>");
  }
  std::vector<text::TokenId> encode(std::string_view text, text::EncodeOptions options) const override {
    std::vector<text::TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    if (options.add_special) ids.push_back(256);
    return ids;
  }
  std::string with_controls_marked(std::string_view text, std::string_view) const override {
    return std::string(text);
  }
  std::string_view token_bytes(text::TokenId id, bool special) const override {
    return id == 256 && !special ? std::string_view() : std::string_view(bytes_[static_cast<size_t>(id)]);
  }
  int vocab_size() const override { return 257; }
  text::TokenType type(text::TokenId id) const override {
    return id == 256 ? text::TokenType::kControl : text::TokenType::kByte;
  }
  std::string_view token_name(text::TokenId id) const override { return token_bytes(id, true); }

 private:
  std::vector<std::string> bytes_;
};

class FakePromptFormat : public text::PromptFormat {
 public:
  Result<std::string> render(const std::vector<chat::Message>& messages,
                             std::string_view prefix) const override {
    if (!messages.empty() && messages.front().role == chat::Role::kTool) {
      return make_error(ErrorCode::kInvalidArgument, "the template takes no tool turns", "messages");
    }
    std::string out;
    for (const chat::Message& message : messages) out += "<" + message.content + ">";
    return out + "A:" + std::string(prefix);
  }
  const std::vector<std::string>& stops() const override { return stops_; }
  bool renders_bos() const override { return false; }
  bool has_template() const override { return true; }
  std::string_view template_source() const override { return ""; }

 private:
  std::vector<std::string> stops_;
};

class FakeEngine : public engine::Engine {
 public:
  const chat::BackendInfo& info() const override { return info_; }
  chat::BackendState state() const override { return {}; }
  Result<std::unique_ptr<chat::Stream>> start(const chat::Request&) override {
    return make_error(ErrorCode::kInternal, "answers come from the backend");
  }
  const text::Tokenizer& tokenizer() const override { return tokenizer_; }
  const text::PromptFormat& prompt_format() const override { return format_; }
  const gguf::File& file() const override { std::abort(); }
  const model::Config& config() const override { std::abort(); }
  engine::Counters counters() const override {
    engine::Counters counters;
    counters.prompt_tokens = 7;
    return counters;
  }
  std::vector<engine::Running> running() const override { return {{20, 8, 20, 5, 12.5, 2}}; }
  int slots() const override { return 4; }

 private:
  chat::BackendInfo info_{"local", "fake", 128};
  FakeTokenizer tokenizer_;
  FakePromptFormat format_;
};

class FakeUpstream : public upstream::OpenAiBackend {
 public:
  const chat::BackendInfo& info() const override { return info_; }
  chat::BackendState state() const override { return {}; }
  Result<std::unique_ptr<chat::Stream>> start(const chat::Outbound&) override {
    return make_error(ErrorCode::kInternal, "answers come from the backend");
  }
  upstream::Counters counters() const override { return {}; }

 private:
  chat::BackendInfo info_{"cloud", "org/big", 0};
};

}  // namespace hedge::server
