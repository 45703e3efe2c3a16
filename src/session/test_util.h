// Shared by this folder's tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "chat/request.h"
#include "chat/trace.h"
#include "session/store.h"

namespace hedge::session {

// A folder of its own, removed at the end. In memory where the system has that: the tests sync hundreds of
// times, and none of them depends on a real disk (power_loss_test.cc keeps its own account of what was
// synced).
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = "/dev/shm/hedge-session-XXXXXX";
    if (!mkdtemp(pattern.data())) {
      pattern = (std::filesystem::temp_directory_path() / "hedge-session-XXXXXX").string();
      if (!mkdtemp(pattern.data())) std::abort();
    }
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::unique_ptr<Store> open_or_die(const std::string& path) {
  Result<std::unique_ptr<Store>> store = Store::open(path);
  if (!store.ok()) ADD_FAILURE() << store.error().to_text();
  return std::move(store).value();
}

inline chat::Message user(std::string content) { return {chat::Role::kUser, std::move(content), ""}; }
inline chat::Message assistant(std::string content) {
  return {chat::Role::kAssistant, std::move(content), ""};
}

inline chat::Request request_of(std::vector<chat::Message> messages, std::string session = "") {
  chat::Request request;
  request.messages = std::move(messages);
  request.routing.session = std::move(session);
  return request;
}

inline chat::Trace trace_of(std::string id, std::vector<chat::Segment> segments = {}) {
  chat::Trace trace;
  trace.id = std::move(id);
  trace.route = "local";
  trace.segments = std::move(segments);
  return trace;
}

// "role:content" of each turn.
inline std::vector<std::string> contents(Store& store, const std::string& session) {
  Result<std::vector<Turn>> turns = store.turns(session);
  if (!turns.ok()) return {turns.error().to_text()};
  std::vector<std::string> out;
  for (const Turn& turn : turns.value()) {
    out.push_back(std::string(chat::to_string(turn.message.role)) + ":" + turn.message.content);
  }
  return out;
}

#define ASSERT_OK(expression)                                                 \
  do {                                                                        \
    const auto& assert_ok_result = (expression);                              \
    ASSERT_TRUE(assert_ok_result.ok()) << assert_ok_result.error().to_text(); \
  } while (false)

// Of all tenants.
inline int64_t tokens_spent_since(Store& store, int64_t unix_ms) {
  int64_t tokens = 0;
  const std::vector<Spent> all = store.upstream_spent_since(unix_ms).value();
  for (const Spent& spent : all) tokens += spent.tokens;
  return tokens;
}

}  // namespace hedge::session
