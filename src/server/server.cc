#include "server/server.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "server/connection.h"
#include "server/routes.h"

namespace hedge::server {
namespace {

namespace net = boost::asio;
using net::ip::tcp;

constexpr auto kAwait = net::as_tuple(net::use_awaitable);

constexpr int kIoThreads =
    2;  // They parse heads and copy bytes; one that is in a system call leaves the other.
constexpr int kListenBacklog = 512;
constexpr int kAcceptRetryMs = 50;  // after "too many open files"
// Stopping: running answers may end by themselves (stop_grace_ms), then are cancelled and may say so, then
// are cut.
constexpr Milliseconds kCancelLimit(2000);
constexpr Milliseconds kCutLimit(1000);

// The connections that are open. Thread-safe.
class Connections {
 public:
  void add(const std::shared_ptr<Connection>& connection) {
    std::lock_guard lock(mutex_);
    open_.emplace(connection.get(), connection);
  }
  void remove(const Connection* connection) {
    {
      std::lock_guard lock(mutex_);
      open_.erase(connection);
    }
    none_.notify_all();
  }
  size_t count() const {
    std::lock_guard lock(mutex_);
    return open_.size();
  }
  void for_each(void (Connection::*action)()) {
    std::lock_guard lock(mutex_);
    for (const auto& [key, weak] : open_) {
      if (const auto connection = weak.lock()) (connection.get()->*action)();
    }
  }
  bool wait_until_none(Milliseconds limit) {
    std::unique_lock lock(mutex_);
    return none_.wait_for(lock, limit, [this] { return open_.empty(); });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable none_;
  std::unordered_map<const Connection*, std::weak_ptr<Connection>> open_;
};

class HttpServer final : public Server {
 public:
  explicit HttpServer(const Options& options)
      : context_(options), io_(kIoThreads), acceptor_(net::make_strand(io_)) {}

  ~HttpServer() override { join(); }

  Status bind() {
    HEDGE_TRY_SET(const tcp::endpoint endpoint, resolve());
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(net::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(kListenBacklog, error);
    if (error) {
      return make_error(ErrorCode::kIo, fmt::format("cannot listen on {} port {}: {}", context_.options.host,
                                                    context_.options.port, error.message()));
    }
    port_ = acceptor_.local_endpoint(error).port();
    context_.loopback_only = endpoint.address().is_loopback();
    return {};
  }

  uint16_t port() const override { return port_; }

  void attach(const Parts& parts) override {
    HEDGE_CHECK(parts.engine != nullptr && parts.backend != nullptr);
    context_.parts = parts;
    context_.loading.end(Loading::State::kLoaded);
  }

  void give_up() override { context_.loading.end(Loading::State::kFailed); }

  void run() override {
    net::co_spawn(acceptor_.get_executor(), accept(), net::detached);
    for (int i = 0; i < kIoThreads; ++i) threads_.emplace_back([this] { io_.run(); });
    {
      std::unique_lock lock(stop_mutex_);
      stop_news_.wait(lock, [this] { return stop_asked_; });
    }
    shut_down();
  }

  void stop() override {
    {
      std::lock_guard lock(stop_mutex_);
      stop_asked_ = true;
    }
    stop_news_.notify_all();
  }

 private:
  Result<tcp::endpoint> resolve() {
    std::string host = context_.options.host;
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    // A resolver may put ::1 first, where half of the clients do not look.
    if (host == "localhost") host = "127.0.0.1";
    boost::system::error_code error;
    if (const auto address = net::ip::make_address(host, error); !error) {
      return tcp::endpoint(address, context_.options.port);
    }
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(host, std::to_string(context_.options.port), error);
    if (error || found.empty()) {
      return make_error(ErrorCode::kIo,
                        fmt::format("cannot listen on {}: {}", context_.options.host, error.message()));
    }
    return found.begin()->endpoint();
  }

  net::awaitable<void> accept() {
    net::steady_timer pause(acceptor_.get_executor());
    while (!context_.stopping) {
      net::any_io_executor strand = net::make_strand(io_);
      auto [ec, socket] = co_await acceptor_.async_accept(strand, kAwait);
      if (ec == net::error::operation_aborted || !acceptor_.is_open()) break;
      if (ec) {
        // Out of descriptors, most likely: wait until some connection has closed.
        pause.expires_after(Milliseconds(kAcceptRetryMs));
        const auto [wait_ec] = co_await pause.async_wait(kAwait);
        (void)wait_ec;
        continue;
      }
      take(std::move(socket));
    }
  }

  void take(tcp::socket socket) {
    if (static_cast<int>(connections_.count()) >= context_.options.connections_max) {
      refuse(std::move(socket));
      return;
    }
    const auto connection = std::make_shared<Connection>(std::move(socket), context_);
    connections_.add(connection);
    ++context_.metrics.connections;
    net::co_spawn(connection->executor(), connection->serve(), [this, connection](std::exception_ptr) {
      // Only bad_alloc could come here; the connection is closed and the server goes on.
      connections_.remove(connection.get());
      --context_.metrics.connections;
    });
  }

  // Says so in one write that does not wait, instead of leaving the client in the backlog.
  void refuse(tcp::socket socket) {
    Reply reply = http_error(
        503, "too_many_connections",
        fmt::format("{} connections are open, no more are taken", context_.options.connections_max));
    reply.headers.emplace_back("Retry-After", "1");
    HeadForm form;
    form.keep_alive = false;
    form.content_length = reply.body.size();
    const std::string text = head_text(reply, form) + reply.body;
    boost::system::error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(net::buffer(text), ignored);
    socket.shutdown(tcp::socket::shutdown_both, ignored);
    socket.close(ignored);
    context_.metrics.count_request(kOtherRoutes, reply.status);
  }

  void shut_down() {
    context_.stopping = true;
    net::post(acceptor_.get_executor(), [this] {
      boost::system::error_code ignored;
      acceptor_.close(ignored);
    });
    connections_.for_each(&Connection::close_if_idle);
    if (!connections_.wait_until_none(Milliseconds(context_.options.stop_grace_ms))) {
      connections_.for_each(&Connection::cancel_answer);
      if (!connections_.wait_until_none(kCancelLimit)) {
        connections_.for_each(&Connection::cut);
        connections_.wait_until_none(kCutLimit);
      }
    }
    join();
  }

  void join() {
    context_.answers.join();
    context_.light.join();
    io_.stop();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  Context context_;
  Connections connections_;
  net::io_context io_;
  tcp::acceptor acceptor_;
  uint16_t port_ = 0;
  std::vector<std::thread> threads_;

  std::mutex stop_mutex_;
  std::condition_variable stop_news_;
  bool stop_asked_ = false;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(const Options& options) {
  auto server = std::make_unique<HttpServer>(options);
  HEDGE_TRY(server->bind());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace hedge::server
