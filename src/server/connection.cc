#include "server/connection.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <utility>

#include "server/routes.h"

namespace hedge::server {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using net::ip::tcp;

constexpr Milliseconds kForever(24 * 3600 * 1000);
constexpr auto kAwait = net::as_tuple(net::use_awaitable);

std::string text(beast::string_view view) { return std::string(view.data(), view.size()); }

bool is_http_error(const boost::system::error_code& error) {
  return error.category() == http::make_error_code(http::error::bad_method).category();
}

// What a client is told whose head could not be read; nothing when it only went away.
std::optional<Reply> head_error(const boost::system::error_code& error, size_t body_bytes_max) {
  if (error == http::error::end_of_stream || error == http::error::partial_message) return std::nullopt;
  if (error == http::error::header_limit) {
    return http_error(431, "headers_too_large",
                      fmt::format("headers: expected at most {} bytes", kHeaderBytesMax));
  }
  if (error == http::error::body_limit) {
    return http_error(413, "body_too_large", fmt::format("body: expected at most {} bytes", body_bytes_max));
  }
  if (!is_http_error(error)) return std::nullopt;
  return http_error(400, "bad_http", "not a valid HTTP request: " + error.message());
}

Result<HttpRequest> read_head(const http::request_header<>& head) {
  HttpRequest request;
  request.method = text(head.method_string());
  const std::string target = text(head.target());
  HEDGE_TRY_SET(request.path, decode_path(target_path(target)));
  request.host = text(head[http::field::host]);
  request.origin = text(head[http::field::origin]);
  request.authorization = text(head[http::field::authorization]);
  request.api_key = text(head["x-api-key"]);
  request.session = text(head["x-hedge-session"]);
  request.path_so_far = text(head["x-hedge-path"]);
  request.hops = text(head["x-hedge-hops"]);
  const size_t hosts = head.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && head.version() >= 11)) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("headers: expected one Host header, got {}", hosts));
  }
  return request;
}

// A compressed body would be told that it is not JSON.
std::optional<Reply> encoding_error(const http::request_header<>& head) {
  const auto encoding = head[http::field::content_encoding];
  if (encoding.empty() || beast::iequals(encoding, "identity")) return std::nullopt;
  Reply reply = http_error(415, "unsupported_content_encoding",
                           "Content-Encoding: expected none, got one; send the body as it is");
  reply.headers.emplace_back("Accept-Encoding", "identity");
  return reply;
}

std::string chunk_of(std::string_view bytes) { return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes); }

}  // namespace

Connection::Connection(tcp::socket socket, Context& context)
    : context_(context), stream_(std::move(socket)), news_(stream_.get_executor()) {
  boost::system::error_code ignored;
  stream_.socket().set_option(tcp::no_delay(true), ignored);  // Tokens go out when they are made.
}

net::awaitable<void> Connection::serve() {
  bool first = true;
  while (true) {
    const Next next = co_await serve_one(first);
    if (next == Next::kClose || context_.stopping) break;
    first = false;
  }
  close_socket();
}

net::awaitable<Connection::Next> Connection::serve_one(bool first) {
  const bool came =
      co_await wait_for_bytes(first ? context_.options.header_timeout_ms : context_.options.idle_timeout_ms);
  if (!came) co_return Next::kClose;

  Parser parser;
  parser.header_limit(static_cast<uint32_t>(kHeaderBytesMax));
  parser.body_limit(context_.options.body_bytes_max);
  http11_ = true;
  keep_alive_ = false;
  head_only_ = false;
  stream_.expires_after(Milliseconds(context_.options.header_timeout_ms));
  const auto [head_ec, head_bytes] = co_await http::async_read_header(stream_, buffer_, parser, kAwait);
  if (head_ec) {
    auto reply = head_error(head_ec, context_.options.body_bytes_max);
    if (!reply) co_return Next::kClose;
    const Next next = co_await refuse(std::move(*reply), kOtherRoutes, true);
    co_return next;
  }
  http11_ = parser.get().version() >= 11;
  keep_alive_ = parser.keep_alive();
  head_only_ = parser.get().method() == http::verb::head;
  auto head = read_head(parser.get());
  std::optional<Reply> refusal;
  if (head.ok()) {
    refusal = answer_head(context_, head.value());
    if (!refusal) refusal = encoding_error(parser.get());
  } else {
    refusal = error_reply(head.error());
  }
  if (refusal) {
    const std::string_view refused = head.ok() ? route_label(head->path) : kOtherRoutes;
    const Next next = co_await refuse(std::move(*refusal), refused, !parser.is_done());
    co_return next;
  }

  if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    const bool written = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!written) co_return Next::kClose;
  }
  stream_.expires_after(Milliseconds(kBodyTimeoutMs));
  const auto [body_ec, body_bytes] = co_await http::async_read(stream_, buffer_, parser, kAwait);
  if (body_ec) {
    auto reply = head_error(body_ec, context_.options.body_bytes_max);
    if (!reply) co_return Next::kClose;
    const Next next = co_await refuse(std::move(*reply), kOtherRoutes, true);
    co_return next;
  }
  stream_.expires_never();

  auto request = std::make_shared<HttpRequest>(std::move(head).value());
  request->body = std::move(parser.get().body());
  const std::string_view label = route_label(request->path);
  status_sent_ = 0;
  client_gone_ = false;
  answering_ = make_outbox();
  // Short work is not worth stopping, and a client that closed its sending side still gets its reply.
  if (makes_answer(*request)) watch(answering_);
  dispatch(context_, request, answering_);
  const Next next = co_await send_answer(answering_);
  answering_.reset();
  boost::system::error_code ignored;
  stream_.socket().cancel(ignored);  // The watch.
  if (client_gone_) ++context_.metrics.clients_gone;
  context_.metrics.count_request(label, status_sent_ != 0 ? status_sent_ : 499);
  co_return next;
}

net::awaitable<bool> Connection::wait_for_bytes(int timeout_ms) {
  if (buffer_.size() > 0) co_return true;
  stream_.expires_after(Milliseconds(timeout_ms));
  const auto room = buffer_.prepare(4096);
  const auto [ec, count] = co_await stream_.async_read_some(room, kAwait);
  buffer_.commit(count);
  co_return !ec;
}

// An answer without reading the body, if there is one: the connection cannot go on then.
net::awaitable<Connection::Next> Connection::refuse(Reply reply, std::string_view route, bool body_follows) {
  if (body_follows || context_.stopping) keep_alive_ = false;
  context_.metrics.count_request(route, reply.status);
  const bool written = co_await send_reply(std::move(reply));
  if (!written) co_return Next::kClose;
  if (keep_alive_) co_return Next::kGoOn;
  co_await linger();
  co_return Next::kClose;
}

net::awaitable<Connection::Next> Connection::send_answer(std::shared_ptr<Outbox> outbox) {
  const Milliseconds ping_after(context_.options.ping_ms);
  bool streaming = false;
  while (true) {
    Outbox::Taken taken = outbox->take();
    if (client_gone_) co_return Next::kClose;
    std::string out;
    if (taken.head && taken.whole) {
      if (context_.stopping) keep_alive_ = false;
      const bool written = co_await send_reply(std::move(*taken.head));
      if (!written) outbox->abandon();
      const bool go_on = written && keep_alive_;
      co_return go_on ? Next::kGoOn : Next::kClose;
    }
    if (taken.head) {
      streaming = true;
      // HTTP/1.0 knows no chunks: the close ends the stream.
      if (!http11_ || context_.stopping) keep_alive_ = false;
      status_sent_ = taken.head->status;
      out =
          head_text(*taken.head,
                    {.http11 = http11_, .keep_alive = keep_alive_, .chunked = http11_, .content_length = {}});
    }
    if (!taken.bytes.empty()) out += http11_ ? chunk_of(taken.bytes) : taken.bytes;
    if (streaming && taken.finished && http11_) out += "0\r\n\r\n";
    if (!out.empty()) {
      const bool written = co_await write(out);
      if (!written) {
        client_gone_ = true;
        outbox->abandon();
        co_return Next::kClose;
      }
    }
    if (taken.finished) co_return keep_alive_ ? Next::kGoOn : Next::kClose;
    if (!out.empty()) continue;  // More may have come during the write.
    const bool pings = streaming && !taken.keep_alive.empty();
    const auto silent_since = SteadyClock::now();
    co_await wait_for_news(pings ? ping_after : kForever);
    if (pings && SteadyClock::now() - silent_since >= ping_after) {
      const std::string ping = http11_ ? chunk_of(taken.keep_alive) : std::string(taken.keep_alive);
      const bool written = co_await write(ping);
      if (!written) client_gone_ = true;
      if (!written) outbox->abandon();
    }
  }
}

net::awaitable<bool> Connection::send_reply(Reply reply) {
  HeadForm form;
  form.http11 = http11_;
  form.keep_alive = keep_alive_;
  form.content_length = reply.body.size();
  std::string out = head_text(reply, form);
  if (!head_only_) out += reply.body;
  status_sent_ = reply.status;
  const bool written = co_await write(out);
  co_return written;
}

net::awaitable<bool> Connection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kWritePieceBytes);
    const auto buffer = net::buffer(piece.data(), piece.size());
    stream_.expires_after(Milliseconds(context_.options.write_timeout_ms));
    const auto [ec, count] = co_await net::async_write(stream_, buffer, kAwait);
    if (ec) co_return false;
    bytes.remove_prefix(piece.size());
  }
  stream_.expires_never();
  co_return true;
}

// Returns on news_.cancel() or after `limit`.
net::awaitable<void> Connection::wait_for_news(Milliseconds limit) {
  news_.expires_after(limit);
  const auto [ec] = co_await news_.async_wait(kAwait);
  (void)ec;
}

// Closing with unread bytes would reset the connection, and the client might never see why it was refused.
net::awaitable<void> Connection::linger() {
  boost::system::error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  const Deadline end = deadline_after(Milliseconds(kLingerMs));
  const size_t limit = context_.options.body_bytes_max + kLingerBytesOver;
  size_t drained = 0;
  while (drained < limit && SteadyClock::now() < end) {
    buffer_.clear();
    const auto room = buffer_.prepare(kLingerPieceBytes);
    stream_.expires_after(Milliseconds(kLingerSilenceMs));
    const auto [ec, count] = co_await stream_.async_read_some(room, kAwait);
    if (ec) break;
    drained += count;
  }
}

std::shared_ptr<Outbox> Connection::make_outbox() {
  // The outbox may outlive the connection, in the hands of a runner; so it holds it weakly.
  return std::make_shared<Outbox>([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    net::post(self->stream_.get_executor(), [self] { self->news_.cancel(); });
  });
}

// Looks at the socket while an answer is being made: its end means that nobody waits for the answer any more
// (a client that closes only its sending side counts as gone, as in other servers). Bytes are the beginning
// of the next request and are kept.
void Connection::watch(std::shared_ptr<Outbox> outbox) {
  auto on_event = [self = shared_from_this(), outbox](boost::system::error_code error) {
    self->on_readable(error, outbox);
  };
  stream_.socket().async_wait(tcp::socket::wait_read, std::move(on_event));
}

void Connection::on_readable(boost::system::error_code error, const std::shared_ptr<Outbox>& outbox) {
  if (error || answering_ != outbox) return;
  if (buffer_.size() >= kAheadBytesMax) return;
  stream_.socket().non_blocking(true, error);
  const size_t count = error ? 0 : stream_.socket().read_some(buffer_.prepare(4096), error);
  if (!error || error == net::error::would_block) {
    buffer_.commit(count);
    watch(outbox);
    return;
  }
  client_gone_ = true;
  outbox->abandon();
  news_.cancel();
}

void Connection::close_if_idle() {
  net::post(stream_.get_executor(), [self = shared_from_this()] {
    if (self->answering_ == nullptr) self->close_socket();
  });
}

void Connection::cancel_answer() {
  net::post(stream_.get_executor(), [self = shared_from_this()] {
    if (self->answering_ != nullptr) self->answering_->streams().cancel_all();
  });
}

void Connection::cut() {
  net::post(stream_.get_executor(), [self = shared_from_this()] {
    if (self->answering_ != nullptr) self->answering_->abandon();
    self->close_socket();
    self->client_gone_ = true;
    self->news_.cancel();
  });
}

void Connection::close_socket() {
  boost::system::error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  stream_.close();
}

}  // namespace hedge::server
