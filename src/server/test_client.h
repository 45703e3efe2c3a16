// A raw HTTP client for tests: it can be slow, rude or cut short where a library would not let it. Every wait
// has a limit.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace hedge::server {

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // without chunk framing
};

class TestClient {
 public:
  explicit TestClient(uint16_t port, int receive_buffer_bytes = 0) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer_bytes > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
    }
    const timeval limit = {10, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~TestClient() { close(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  // Closes the sending side alone, as `nc -N` does.
  void finish_sending() { ::shutdown(socket_, SHUT_WR); }
  // False when the server no longer takes bytes.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  // One whole response. `head_only`: to HEAD, which has no body whatever its headers say.
  std::optional<Response> read_response(bool head_only = false) {
    auto response = read_head();
    if (!response || head_only || response->status == 204) return response;
    if (response->headers.count("content-length") > 0) {
      const size_t length = std::strtoull(response->headers["content-length"].c_str(), nullptr, 10);
      while (buffer_.size() < length) {
        if (!fill()) return std::nullopt;
      }
      response->body = take(length);
    } else if (response->headers.contains("transfer-encoding")) {
      while (true) {
        const auto chunk = read_chunk();
        if (!chunk) return std::nullopt;
        if (chunk->empty()) break;
        response->body += *chunk;
      }
    } else {
      while (fill()) {
      }
      response->body = take(buffer_.size());
    }
    return response;
  }

  std::optional<Response> read_head() {
    size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return std::nullopt;
    }
    const std::string head = take(end + 4);
    Response response;
    response.status = std::atoi(head.substr(9, 3).c_str());
    size_t position = head.find("\r\n") + 2;
    while (position < head.size() - 2) {
      const size_t line_end = head.find("\r\n", position);
      const std::string line = head.substr(position, line_end - position);
      const size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      response.headers[name] = line.substr(colon + 2);
      position = line_end + 2;
    }
    return response;
  }

  // Empty: the last chunk. Nothing: the connection broke off.
  std::optional<std::string> read_chunk() {
    size_t end = 0;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!fill()) return std::nullopt;
    }
    const size_t size = std::strtoull(take(end + 2).c_str(), nullptr, 16);
    while (buffer_.size() < size + 2) {
      if (!fill()) return std::nullopt;
    }
    std::string chunk = take(size);
    take(2);
    return chunk;
  }

  // Reads on until the body of a stream holds `text`.
  bool read_stream_until(std::string_view text) {
    while (stream_.find(text) == std::string::npos) {
      const auto chunk = read_chunk();
      if (!chunk || chunk->empty()) return false;
      stream_ += *chunk;
    }
    return true;
  }
  const std::string& stream() const { return stream_; }

  // Whether the server closes the connection, after whatever it still sends.
  bool closed_by_server() {
    while (fill()) {
    }
    return ended_;
  }

 private:
  bool fill() {
    char bytes[16384];
    const ssize_t count = ::recv(socket_, bytes, sizeof(bytes), 0);
    if (count <= 0) {
      ended_ = count == 0 || errno == ECONNRESET;
      return false;
    }
    buffer_.append(bytes, static_cast<size_t>(count));
    return true;
  }
  std::string take(size_t count) {
    std::string out = buffer_.substr(0, count);
    buffer_.erase(0, count);
    return out;
  }

  int socket_ = -1;
  bool ended_ = false;
  std::string buffer_;
  std::string stream_;
};

inline std::string get(std::string_view path, std::string_view headers = {}) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers) + "\r\n";
}

inline std::string post(std::string_view path, std::string_view body, std::string_view headers = {}) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(body.size()) + "\r\n" + std::string(headers) + "\r\n" +
         std::string(body);
}

}  // namespace hedge::server
