// A running server over fakes, for tests. Private to them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "server/server.h"
#include "server/test_client.h"
#include "server/test_fakes.h"
#include "session/recorder.h"

namespace hedge::server {

using Json = nlohmann::json;

inline constexpr const char* kChat = R"({"messages":[{"role":"user","content":"Hi"}]})";
inline constexpr const char* kChatStream = R"({"messages":[{"role":"user","content":"Hi"}],"stream":true})";

class ServerTest : public ::testing::Test {
 protected:
  // Before start().
  Options options;
  FakeBackend backend;
  FakeUpstream upstream;
  FakeEngine engine;
  route::Router* router = nullptr;
  bool with_upstream = false;
  bool with_store = false;
  int engine_answers_max = 0;

  ServerTest() {
    options.port = 0;
    options.stop_grace_ms = 100;
  }

  void start() {
    listen();
    attach();
  }

  void attach() {
    Parts parts;
    parts.engine = &engine;
    parts.backend = &backend;
    parts.router = router;
    parts.engine_answers_max = engine_answers_max;
    if (with_upstream) parts.upstream = &upstream;
    if (with_store) {
      folder_ = std::filesystem::temp_directory_path() / ("hedge_server_test_" + std::to_string(getpid()));
      std::filesystem::remove_all(folder_);
      std::filesystem::create_directory(folder_);
      auto opened = session::Store::open((folder_ / "sessions.db").string());
      ASSERT_TRUE(opened.ok()) << opened.error().to_text();
      store_ = std::move(opened).value();
      recorder_ = session::make_recorder(backend, *store_);
      parts.store = store_.get();
      parts.backend = recorder_.get();
    }
    server_->attach(parts);
  }

  // Without a model yet.
  void listen() {
    auto listening = Server::listen(options);
    ASSERT_TRUE(listening.ok()) << listening.error().to_text();
    server_ = std::move(listening).value();
    thread_ = std::thread([this] { server_->run(); });
  }

  void stop() {
    if (server_ != nullptr) server_->stop();
    if (thread_.joinable()) thread_.join();
  }

  ~ServerTest() override {
    stop();
    server_.reset();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  uint16_t port() const { return server_->port(); }
  Server& server() { return *server_; }

  // One exchange on a connection of its own.
  Response ask(const std::string& request, bool head_only = false) {
    TestClient client(port());
    EXPECT_TRUE(client.send(request));
    auto response = client.read_response(head_only);
    EXPECT_TRUE(response.has_value()) << request.substr(0, 200);
    return response.value_or(Response{});
  }
  Json ask_json(const std::string& request, int status = 200) {
    const Response response = ask(request);
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_EQ(response.headers.at("content-type"), "application/json");
    return Json::parse(response.body, nullptr, false);
  }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<session::Store> store_;
  std::unique_ptr<chat::Backend> recorder_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

// The objects of a stream in order; "[DONE]" as a string.
inline std::vector<Json> stream_objects(const std::string& stream) {
  std::vector<Json> out;
  size_t position = 0;
  while (position < stream.size()) {
    const size_t end = stream.find("\n\n", position);
    const std::string event = stream.substr(position, end - position);
    position = end + 2;
    if (event == "data: [DONE]") {
      out.push_back("[DONE]");
    } else if (event.starts_with("data: ")) {
      out.push_back(Json::parse(event.substr(6)));
    }
  }
  return out;
}

inline std::string stream_text(const std::vector<Json>& objects, int index = 0) {
  std::string text;
  for (const Json& object : objects) {
    if (!object.is_object() || !object.contains("choices")) continue;
    for (const Json& choice : object["choices"]) {
      if (choice["index"] == index) text += choice["delta"].value("content", "");
    }
  }
  return text;
}

}  // namespace hedge::server
