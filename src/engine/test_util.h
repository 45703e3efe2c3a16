// For the engine's tests: engines over tiny models, and whole answers taken from a stream.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "model/tiny_model.h"

namespace hedge::engine {

// A model file that is deleted with the object.
class TinyFile {
 public:
  explicit TinyFile(const model::TinyModel& tiny) {
    static int count = 0;
    path_ = testing::TempDir() + "hedge-engine-" + std::to_string(getpid()) + "-" + std::to_string(count++) +
            ".gguf";
    const Status written = tiny.write_file(path_);
    EXPECT_TRUE(written.ok()) << written.error().to_text();
  }
  ~TinyFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TinyFile(const TinyFile&) = delete;
  TinyFile& operator=(const TinyFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline model::TinySpec engine_spec() {
  model::TinySpec spec;
  spec.layers = 2;
  spec.context = 1024;
  return spec;
}

inline Options one_thread(int slots = 4) {
  Options options;
  options.threads = 1;
  options.slots = slots;
  return options;
}

inline std::unique_ptr<Engine> load_engine(const TinyFile& file, const Options& options) {
  auto engine = Engine::load(file.path(), options);
  EXPECT_TRUE(engine.ok()) << engine.error().to_text();
  return std::move(engine).value();
}

// A greedy raw request.
inline chat::Request greedy(std::string prompt, int max_tokens) {
  chat::Request request;
  request.raw = true;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

// Long enough for any test on a loaded machine; only a hang reaches it.
inline Deadline patience() { return deadline_after(Milliseconds(60000)); }

struct Answer {
  chat::Started started;
  std::string text;
  std::vector<chat::TokenInfo> tokens;
  chat::Done done;

  std::vector<int32_t> ids() const {
    std::vector<int32_t> ids;
    for (const chat::TokenInfo& token : tokens) ids.push_back(token.chosen.id);
    return ids;
  }
};

// Takes a stream to its Done, which must be Started, Deltas, Done.
inline Answer take_all(chat::Stream& stream) {
  Answer answer;
  for (bool first = true;; first = false) {
    Result<chat::Event> event = stream.next(patience());
    if (!event.ok()) {
      ADD_FAILURE() << event.error().to_text();
      return answer;
    }
    EXPECT_EQ(std::holds_alternative<chat::Started>(*event), first);
    EXPECT_FALSE(std::holds_alternative<chat::Switched>(*event));
    if (auto* started = std::get_if<chat::Started>(&*event)) answer.started = std::move(*started);
    if (auto* delta = std::get_if<chat::Delta>(&*event)) {
      EXPECT_LE(delta->tokens.size(), 1u);
      answer.text += delta->text;
      for (chat::TokenInfo& token : delta->tokens) answer.tokens.push_back(std::move(token));
    }
    if (auto* done = std::get_if<chat::Done>(&*event)) {
      answer.done = std::move(*done);
      return answer;
    }
  }
}

inline std::unique_ptr<chat::Stream> start(Engine& engine, const chat::Request& request) {
  auto stream = engine.start(request);
  EXPECT_TRUE(stream.ok()) << stream.error().to_text();
  return std::move(stream).value();
}

inline Answer ask(Engine& engine, const chat::Request& request) { return take_all(*start(engine, request)); }

// Reads the first event, after which the request has a slot.
inline void expect_started(chat::Stream& stream) {
  const Result<chat::Event> event = stream.next(patience());
  ASSERT_TRUE(event.ok()) << event.error().to_text();
  EXPECT_TRUE(std::holds_alternative<chat::Started>(*event));
}

// Waits until the engine has got there by itself; false when it does not.
template <typename Condition>
bool eventually(Condition condition) {
  const Deadline end = patience();
  while (!condition()) {
    if (SteadyClock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace hedge::engine
