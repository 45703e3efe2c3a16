// One client connection: a loop of read, answer, write. Private to server/; the only files that know Asio are
// this one, connection.cc and server.cc.
//
// Everything here runs on the connection's strand. Coroutine rules: one co_await per statement, its result
// named, no lambda with captures in that expression (g++ 12 miscompiles more).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "server/context.h"
#include "server/http.h"
#include "server/outbox.h"

namespace hedge::server {

// A body comes within this time.
inline constexpr int kBodyTimeoutMs = 60000;
// What a refused client is still sending is read and thrown away, so that it gets to reading why: many send
// all of a body before they look. Until it is silent for kLingerSilenceMs, and never longer than kLingerMs or
// for more than the longest body and kLingerBytesOver.
inline constexpr int kLingerSilenceMs = 1000;
inline constexpr int kLingerMs = 10000;
inline constexpr size_t kLingerBytesOver = 64u << 20;
inline constexpr size_t kLingerPieceBytes = 64u << 10;
inline constexpr size_t kHeaderBytesMax = 16u << 10;  // room for a long bearer token and a proxy's additions
// Bytes that a client may send ahead while its answer is being made; more stay in the kernel.
inline constexpr size_t kAheadBytesMax = 64u << 10;
inline constexpr size_t kWritePieceBytes = 64u << 10;  // each has the write timeout for itself

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, Context& context);

  // The whole life of the connection.
  boost::asio::awaitable<void> serve();

  auto executor() { return stream_.get_executor(); }

  // For stopping, from any thread: close if no answer is being made; make the running answers end; close in
  // any case.
  void close_if_idle();
  void cancel_answer();
  void cut();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  enum class Next { kGoOn, kClose };

  boost::asio::awaitable<Next> serve_one(bool first);
  boost::asio::awaitable<bool> wait_for_bytes(int timeout_ms);
  boost::asio::awaitable<Next> refuse(Reply reply, std::string_view route, bool body_follows);
  boost::asio::awaitable<Next> send_answer(std::shared_ptr<Outbox> outbox);
  boost::asio::awaitable<bool> send_reply(Reply reply);
  boost::asio::awaitable<bool> write(std::string_view bytes);
  boost::asio::awaitable<void> wait_for_news(std::chrono::milliseconds limit);
  boost::asio::awaitable<void> linger();

  std::shared_ptr<Outbox> make_outbox();
  void watch(std::shared_ptr<Outbox> outbox);
  void on_readable(boost::system::error_code error, const std::shared_ptr<Outbox>& outbox);
  void close_socket();

  Context& context_;
  boost::beast::tcp_stream stream_;
  boost::asio::steady_timer news_;
  boost::beast::flat_buffer buffer_;  // read and not yet parsed
  // Of the request that is being served.
  bool http11_ = true;
  bool keep_alive_ = true;
  bool head_only_ = false;  // HEAD
  int status_sent_ = 0;
  bool client_gone_ = false;
  std::shared_ptr<Outbox> answering_;  // while an answer is being made
};

}  // namespace hedge::server
