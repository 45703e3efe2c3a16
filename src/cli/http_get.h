// One URL after another from one server, for commands that look at a running Hedge. Blocks; not thread-safe.
#pragma once

#include <curl/curl.h>

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace hedge::cli {

class HttpGet {
 public:
  struct Reply {
    long status = 0;
    std::string body;
  };

  static constexpr size_t kBodyBytesMax = 1u << 20;

  // `key` is sent as a bearer token where it is not empty. `stop` is asked while waiting, at least once a
  // second; true ends the request with kCancelled.
  static Result<std::unique_ptr<HttpGet>> create(std::string key, std::function<bool()> stop);
  HttpGet(std::string key, std::function<bool()> stop);
  ~HttpGet();

  // kUnavailable says why nothing came; every status that came is a Reply.
  Result<Reply> get(const std::string& url);

 private:
  const std::string key_;
  const std::function<bool()> stop_;
  CURL* curl_ = nullptr;  // keeps the connection
};

}  // namespace hedge::cli
