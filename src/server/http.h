// An HTTP request and reply as plain data, so that what answers them needs neither sockets nor Boost.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/error.h"
#include "base/result.h"

namespace hedge::server {

struct HttpRequest {
  std::string method;
  std::string path;  // decoded, without the query
  std::string host;
  std::string origin;
  std::string authorization;
  std::string api_key;      // x-api-key
  std::string session;      // x-hedge-session
  std::string path_so_far;  // x-hedge-path
  std::string hops;         // x-hedge-hops
  std::string body;
};

struct Reply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // values are ours: no line ends
};

// The reply for an error, in OpenAI's form, with Retry-After where there is one.
Reply error_reply(const api::ApiError& error);
Reply error_reply(const Error& error);
// For faults of the HTTP layer itself: 404, 405, 413 ...
Reply http_error(int status, std::string code, std::string message);

struct HeadForm {
  bool http11 = true;
  bool keep_alive = true;
  bool chunked = false;  // else with a Content-Length, or none when the connection's close ends the body
  std::optional<size_t> content_length;
};
// Status line and headers with the empty line that ends them.
std::string head_text(const Reply& reply, const HeadForm& form);

// "%2F" to "/". kInvalidArgument for broken escapes and control characters.
Result<std::string> decode_path(std::string_view path);
// The path of a request target: without query, and of "http://host/path" what follows the host.
std::string_view target_path(std::string_view target);

}  // namespace hedge::server
