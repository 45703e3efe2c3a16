#include "server/http.h"

#include <fmt/format.h>

#include <ctime>

namespace hedge::server {
namespace {

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 508:
      return "Loop Detected";
    case 504:
      return "Gateway Timeout";
    default:
      return "";
  }
}

std::string date_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[64];
  const size_t length = std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return std::string(text, length);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Reply error_reply(const api::ApiError& error) {
  Reply reply;
  reply.status = error.status;
  reply.body = api::error_body(error);
  if (error.retry_after_s > 0) reply.headers.emplace_back("Retry-After", std::to_string(error.retry_after_s));
  return reply;
}

Reply error_reply(const Error& error) { return error_reply(api::to_api_error(error)); }

Reply http_error(int status, std::string code, std::string message) {
  api::ApiError error;
  error.status = status;
  error.type = status >= 500 ? "server_error" : "invalid_request_error";
  error.code = std::move(code);
  error.message = std::move(message);
  return error_reply(error);
}

std::string head_text(const Reply& reply, const HeadForm& form) {
  std::string out =
      fmt::format("HTTP/1.{} {} {}\r\n", form.http11 ? 1 : 0, reply.status, reason(reply.status));
  const auto add = [&out](std::string_view name, std::string_view value) {
    out.append(name).append(": ").append(value).append("\r\n");
  };
  add("Server", "hedge");
  add("Date", date_text());
  if (reply.status != 204) {
    add("Content-Type", reply.content_type);
    add("X-Content-Type-Options", "nosniff");
    add("Cache-Control", "no-store");
  }
  if (form.chunked) add("Transfer-Encoding", "chunked");
  if (form.content_length && reply.status != 204) add("Content-Length", std::to_string(*form.content_length));
  add("Connection", form.keep_alive ? "keep-alive" : "close");
  for (const auto& [name, value] : reply.headers) add(name, value);
  return out + "\r\n";
}

Result<std::string> decode_path(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    char c = path[i];
    if (c == '%') {
      const int high = path.size() - i > 2 ? hex_digit(path[i + 1]) : -1;
      const int low = path.size() - i > 2 ? hex_digit(path[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return make_error(ErrorCode::kInvalidArgument,
                          "path: expected two hexadecimal digits after each '%', got something else");
      }
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return make_error(ErrorCode::kInvalidArgument, "path: expected no control characters, got one");
    }
    out += c;
  }
  return out;
}

std::string_view target_path(std::string_view target) {
  target = target.substr(0, target.find_first_of("?#"));
  if (target.starts_with("http://") || target.starts_with("https://")) {
    target.remove_prefix(target.find("//") + 2);
    const size_t slash = target.find('/');
    return slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  return target;
}

}  // namespace hedge::server
