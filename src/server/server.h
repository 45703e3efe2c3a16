// The HTTP server: connections, SSE, life cycle. Composition only: what a request means is decided in api/,
// what happens to it in session/, route/ and engine/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/backend.h"
#include "engine/engine.h"
#include "route/learned.h"
#include "route/router.h"
#include "session/store.h"
#include "upstream/openai_backend.h"

namespace hedge::server {

// Whoever sends this key is the tenant.
struct TenantKey {
  std::string name;
  std::string key;
};

struct Options {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  // 0: the system picks one
  std::string api_key;   // empty: none asked for, unless tenants have theirs
  std::vector<TenantKey> tenants;
  // This Hedge's name among others (x-hedge-path), and how many times a request may be passed on from here.
  std::string node;  // empty: a random one, which tells other nodes nothing
  int hops_max = 4;
  size_t body_bytes_max = 8u << 20;
  int connections_max = 256;
  int requests_max = 64;  // answers in the making; more get 429
  int header_timeout_ms = 10000;
  int idle_timeout_ms = 75000;
  // Errors that come this soon after the start still get their own HTTP status; then a stream's head is sent
  // anyway, so that the client knows that it was heard. Enough for an upstream's refusal, short beside any
  // client's timeout.
  int head_wait_ms = 2000;
  int ping_ms = 15000;       // of silence in a stream; proxies give up on idle connections after 30 to 60 s
  int stop_grace_ms = 5000;  // for running answers to end by themselves, before they are cancelled
  int write_timeout_ms = 30000;  // a client that reads nothing for so long is gone
};

// What the routes are made of. All outlive the server; upstream may be null.
struct Parts {
  engine::Engine* engine = nullptr;
  upstream::OpenAiBackend* upstream = nullptr;
  route::Router* router = nullptr;
  session::Store* store = nullptr;
  chat::Backend* backend = nullptr;  // the top of the stack: the recorder
  // Answers that the engine takes on at once, in slots and queue; 0: not known.
  int engine_answers_max = 0;
  // Takes a vote about a decision (route/learned.h); null: nothing is learned here.
  std::function<Status(const std::string& decision, size_t kind, double vote)> learn;
  // Keeps what a user said of an answer, for reports; null: it is not kept.
  std::function<Status(const std::string& decision, route::Signal signal)> note_feedback;
};

class Server {
 public:
  // Binds and listens; kIo says which address and why. Serving begins with run(). Until attach(), GET /health
  // answers 503 "loading" and every other request waits.
  static Result<std::unique_ptr<Server>> listen(const Options& options);
  virtual ~Server() = default;
  virtual uint16_t port() const = 0;
  // Once, from any thread: gives what was loaded, or says that nothing could be; then all that waits gets a
  // 503.
  virtual void attach(const Parts& parts) = 0;
  virtual void give_up() = 0;
  // Blocks until stop(). Running answers get a few seconds to end.
  virtual void run() = 0;
  virtual void stop() = 0;  // from any thread
};

}  // namespace hedge::server
