// The network thread owns the multi handle and all transfers; start() and state() talk to it through
// `shared_`, under one lock that nothing blocking happens under.

#include "upstream/openai_backend.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "os/network.h"
#include "upstream/breaker.h"
#include "upstream/continuation.h"
#include "upstream/endpoint.h"
#include "upstream/transfer.h"

namespace hedge::upstream {
namespace {

// With nothing to wait for, the thread looks up this often; only wake-ups matter.
constexpr Milliseconds kIdleWait{60'000};
constexpr int kBusyRetryMs = 1000;
// While answers run: how often the routes are looked at, so that a lost network is noticed within a quarter
// of a second; and how long one look is believed.
constexpr Milliseconds kRouteCheck{100};
// Finding out how an endpoint continues: longest time of one test request, and how long an endpoint that gave
// no clear answer is taken to be one that continues a trailing message, before it is asked again.
constexpr Milliseconds kTestTimeout{10'000};
constexpr Milliseconds kTestAgain{60'000};
constexpr size_t kTestReplyBytesMax = 256u << 10;

struct MultiCleanup {
  void operator()(CURLM* multi) const { libcurl().multi_cleanup(multi); }
};

// What an error says about the endpoint's health. A wrong request, a wrong key or an unknown model says
// nothing.
bool counts_as_failure(ErrorCode code) {
  switch (code) {
    case ErrorCode::kCorrupt:
    case ErrorCode::kExhausted:
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kIo:
      return true;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kContextExceeded:
    case ErrorCode::kNotFound:
    case ErrorCode::kUnsupported:
    case ErrorCode::kPermission:
    case ErrorCode::kCancelled:
    case ErrorCode::kInternal:
      return false;
  }
  return false;
}

// Whether the base URL's host is this machine itself, by what stands there.
bool is_on_this_machine(std::string_view base_url) {
  const std::string_view rest = base_url.substr(base_url.find("://") + 3);
  const std::string_view host = rest.substr(0, rest.find('/'));
  return host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
}

// A proxy may be on this machine and have ways of its own.
bool has_proxy() {
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return true;
  }
  return false;
}

class HttpBackend final : public OpenAiBackend {
 public:
  HttpBackend(const Options& options, Endpoint endpoint, CURLM* multi, std::function<bool()> network_up)
      : options_(options),
        network_up_(std::move(network_up)),
        endpoint_(std::move(endpoint)),
        info_{endpoint_.name, endpoint_.model, 0, 0, endpoint_.id()},
        multi_(multi),
        waker_(std::make_shared<Waker>(multi)),
        shared_(options) {
    shared_.wire.continue_flags = options.send_continue_flags;
    if (const auto how = parse_continuation(options.continuation))
      shared_.found = Detector::Found{*how, options.send_continue_flags};
    thread_ = std::thread([this] { run(); });
  }

  ~HttpBackend() override {
    {
      std::lock_guard lock(mutex_);
      shared_.stopping = true;
    }
    waker_->wake();
    thread_.join();
    waker_->detach();
  }

  const chat::BackendInfo& info() const override { return info_; }

  chat::BackendState state() const override {
    const bool up = is_network_up();
    std::lock_guard lock(mutex_);
    chat::BackendState state;
    state.available = up && shared_.breaker.allows_requests();
    if (!state.available) state.unavailable_reason = up ? "breaker_open" : "no_network";
    state.active = shared_.active;
    return state;
  }

  void set_renderer(Renderer renderer) override { renderer_ = std::move(renderer); }

  Counters counters() const override {
    std::lock_guard lock(mutex_);
    return shared_.counters;
  }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Outbound& outbound) override {
    const chat::Request& request = outbound.request();
    if (const std::string& bound = request.routing.bound_to;
        !bound.empty() && !chat::is_writer(info(), bound)) {
      return make_error(
          ErrorCode::kUnavailable,
          fmt::format(
              "the conversation is bound to the upstream {}, and this one is {}{}", bound, info().name,
              info().name == chat::name_of_writer(bound) ? " at another address or with another model" : ""));
    }
    if (!is_network_up()) return no_network();
    {
      std::lock_guard lock(mutex_);
      HEDGE_TRY(admit());
    }
    HEDGE_TRY_SET(Letter letter, write(outbound));
    auto mailbox = std::make_shared<Mailbox>();
    auto transfer = std::make_unique<Transfer>(endpoint_, outbound, std::move(letter), mailbox,
                                               [this](const Transfer& ended) { settle(ended); });
    {
      std::lock_guard lock(mutex_);
      HEDGE_TRY(admit());  // others may have come while this one was encoded
      ++shared_.active;
      ++shared_.counters.requests;
      shared_.inbox.push_back(std::move(transfer));
    }
    waker_->wake();
    return make_stream(std::move(mailbox), waker_);
  }

 private:
  // What the network thread shares with callers.
  struct Shared {
    explicit Shared(const Options& options)
        : breaker(options.breaker_failures, Milliseconds(options.breaker_open_ms)) {}
    std::vector<std::unique_ptr<Transfer>> inbox;
    Breaker breaker;
    WireOptions wire;                       // what the endpoint was found to accept
    Expect expect_chat = Expect::kUnknown;  // what it was found to do with a start
    Expect expect_raw = Expect::kUnknown;   // ... of a raw prompt: another route, often another manner
    std::optional<Detector::Found> found;   // how it continues; none: not known yet
    Expect& expect(const chat::Request& request) { return request.raw ? expect_raw : expect_chat; }
    Counters counters;
    int active = 0;
    bool stopping = false;
  };

  static Error no_network() {
    return make_error(ErrorCode::kUnavailable,
                      "network: expected a route beyond this machine, the system has none");
  }

  bool is_network_up() const { return !network_up_ || network_up_(); }

  // Network thread: ends what runs when the network has gone, which would otherwise be found out by a
  // deadline.
  Deadline check_network(Deadline now) {
    if (!network_up_ || (transfers_.empty() && waiting_.empty())) return kNoDeadline;
    if (now >= route_check_at_) {
      route_check_at_ = now + kRouteCheck;
      network_down_ = !is_network_up();
      if (network_down_) {
        for (auto* list : {&transfers_, &waiting_})
          for (auto& transfer : *list) transfer->fail(no_network());
      }
      network_down_ = false;
    }
    return route_check_at_;
  }

  // Whether it matters how the endpoint continues.
  static bool continues(const chat::Request& request) { return !request.raw && !turn_start(request).empty(); }

  // The request as it is to be sent, by what is known of the endpoint.
  Result<Letter> write(const chat::Outbound& outbound) const {
    WireOptions wire;
    Continuation how = Continuation::kPrefix;
    {
      std::lock_guard lock(mutex_);
      wire = shared_.wire;
      if (continues(outbound.request()) && shared_.found) how = shared_.found->how;
    }
    return Letter::write(endpoint_, outbound, how, renderer_, wire);
  }

  // Under the lock: whether one more request may begin.
  Status admit() const {
    if (!shared_.breaker.allows_requests()) {
      Error error =
          make_error(ErrorCode::kUnavailable, fmt::format("{}: breaker open after {} failures in a row",
                                                          endpoint_.name, options_.breaker_failures));
      error.retry_after_ms = static_cast<int>(shared_.breaker.retry_after(SteadyClock::now()).count());
      return error;
    }
    if (shared_.active >= options_.in_flight_max) {
      Error error = make_error(ErrorCode::kExhausted,
                               fmt::format("{}: expected fewer than {} answers in flight, got {}",
                                           endpoint_.name, options_.in_flight_max, shared_.active));
      error.retry_after_ms = kBusyRetryMs;
      return error;
    }
    return {};
  }

  // ---- Network thread

  void run() {
    while (true) {
      if (!take_inbox()) break;
      int running = 0;
      libcurl().multi_perform(multi_.get(), &running);
      handle_messages();
      const Deadline wake_at = visit_transfers();
      const Deadline probe_at = maybe_probe();
      wait_until(std::min(wake_at, probe_at));
    }
    for (auto& transfer : waiting_) transfer->fail(make_error(ErrorCode::kUnavailable, "shut down"));
    waiting_.clear();
    end_test();
    for (auto& transfer : transfers_) {
      transfer->fail(make_error(ErrorCode::kUnavailable, "shut down"));
      transfer->exchange().close(multi_.get());
    }
    transfers_.clear();
    probe_.close(multi_.get());
  }

  // False when the backend is to stop.
  bool take_inbox() {
    std::vector<std::unique_ptr<Transfer>> fresh;
    bool stopping;
    {
      std::lock_guard lock(mutex_);
      fresh.swap(shared_.inbox);
      stopping = shared_.stopping;
    }
    for (auto& transfer : fresh) {
      if (transfer->abandoned()) {
        transfer->drop();
        continue;
      }
      if (must_wait(*transfer)) {
        waiting_.push_back(std::move(transfer));
        continue;
      }
      open(*transfer);
      transfers_.push_back(std::move(transfer));
    }
    return !stopping;
  }

  // ---- How the endpoint continues an answer: found out when the first one is to be continued, which waits.

  bool must_wait(const Transfer& transfer) {
    if (!continues(transfer.request())) return false;
    {
      std::lock_guard lock(mutex_);
      if (shared_.found) return false;
    }
    if (detector_) return true;
    if (SteadyClock::now() < test_again_at_) return false;
    detector_.emplace(endpoint_.model, renderer_);
    test_next();
    return detector_.has_value();
  }

  void test_next() {
    test_.close(multi_.get());
    test_letter_ = Letter::test(*detector_);
    if (!test_letter_) return end_test();
    test_reply_.clear();
    const Receiver receiver{+[](char* data, size_t size, size_t count, void* self) -> size_t {
                              auto& reply = *static_cast<std::string*>(self);
                              if (reply.size() + size * count > kTestReplyBytesMax)
                                return CURL_WRITEFUNC_ERROR;
                              reply.append(data, size * count);
                              return size * count;
                            },
                            nullptr, &test_reply_};
    const Milliseconds timeout = std::min(kTestTimeout, endpoint_.first_token_timeout);
    if (!test_.open(endpoint_, *test_letter_, receiver, timeout).ok() || !test_.send(multi_.get()).ok())
      end_test();
  }

  void finish_exchange(CURLcode code) {
    long status = 0;
    libcurl().easy_getinfo(test_.easy(), CURLINFO_RESPONSE_CODE, &status);
    count_connections(test_.easy());
    detector_->take(code == CURLE_OK ? static_cast<int>(status) : 0, test_reply_);
    test_next();
  }

  // Books what was found and lets those that waited go.
  void end_test() {
    test_.close(multi_.get());
    if (!detector_) return;
    const std::optional<Detector::Found> found = detector_->found();
    detector_.reset();
    test_again_at_ = SteadyClock::now() + kTestAgain;
    if (found) {
      std::lock_guard lock(mutex_);
      shared_.found = found;
      shared_.wire.continue_flags = found->continue_flags;
    }
    for (auto& transfer : std::exchange(waiting_, {})) {
      if (transfer->abandoned()) {
        transfer->drop();
        continue;
      }
      if (Result<Letter> anew = write(transfer->outbound()); anew.ok())
        transfer->rewrite(std::move(anew).value());
      open(*transfer);
      transfers_.push_back(std::move(transfer));
    }
  }

  void open(Transfer& transfer) {
    Expect expect;
    {
      std::lock_guard lock(mutex_);
      expect = shared_.expect(transfer.request());
    }
    Status opened = transfer.open(expect);
    if (opened.ok()) opened = transfer.exchange().send(multi_.get());
    if (!opened.ok()) transfer.fail(opened.error());
  }

  void handle_messages() {
    int left = 0;
    while (const CURLMsg* message = libcurl().multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* easy = message->easy_handle;
      const CURLcode code = message->data.result;  // `message` dies with the removal below
      if (easy == test_.easy()) {
        finish_exchange(code);
        continue;
      }
      if (easy == probe_.easy()) {
        finish_probe(code);
        continue;
      }
      const auto at = std::find_if(transfers_.begin(), transfers_.end(),
                                   [&](const auto& t) { return t->easy() == easy; });
      if (at == transfers_.end()) continue;
      count_connections(easy);
      (*at)->exchange().stop(multi_.get());
      if ((*at)->on_complete(code)) {
        open(**at);
      } else {
        transfers_.erase(at);
      }
    }
  }

  // Cancels, deadlines and consumers that made room. Gives the next deadline.
  Deadline visit_transfers() {
    const Deadline now = SteadyClock::now();
    Deadline next = check_network(now);
    std::erase_if(waiting_, [&](std::unique_ptr<Transfer>& transfer) {
      if (transfer->abandoned()) transfer->drop();
      return transfer->ended();
    });
    std::erase_if(transfers_, [&](std::unique_ptr<Transfer>& transfer) {
      if (transfer->abandoned()) transfer->drop();
      transfer->make_progress(now);
      const bool overdue = transfer->deadline() <= now;
      if (overdue) transfer->on_deadline();
      if (transfer->ended() && (overdue || !transfer->lingers())) {
        count_connections(transfer->easy());
        transfer->exchange().close(multi_.get());  // closes its connection
        return true;
      }
      next = std::min(next, transfer->deadline());
      return false;
    });
    return next;
  }

  // Books the outcome of a transfer, as it ends.
  void settle(const Transfer& transfer) {
    std::lock_guard lock(mutex_);
    Counters& counters = shared_.counters;
    counters.bytes_received += transfer.received_bytes();
    --shared_.active;
    if (transfer.cancelled()) return;
    if (transfer.error()) {
      ++counters.failures;
      // Without a network nothing is known of the endpoint.
      const bool failed = counts_as_failure(transfer.error()->code) && !network_down_;
      if (failed && !shared_.stopping && shared_.breaker.request_failed(SteadyClock::now()))
        ++counters.breaker_opened;
      return;
    }
    shared_.breaker.request_succeeded();
    counters.prompt_tokens += static_cast<uint64_t>(transfer.reader().usage().prompt_tokens);
    counters.completion_tokens += static_cast<uint64_t>(transfer.reader().usage().completion_tokens);
    if (transfer.retried()) {
      shared_.wire = transfer.wire();
      shared_.wire.token_prompts = false;
      shared_.expect_chat = Expect::kUnknown;
    }
    if (transfer.how() != Continuation::kPrefix) return;
    if (const Expect learned = transfer.reader().learned(); learned != Expect::kUnknown)
      shared_.expect(transfer.request()) = learned;
  }

  void count_connections(CURL* easy) {
    long opened = 0;
    if (easy == nullptr || libcurl().easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &opened) != CURLE_OK) return;
    std::lock_guard lock(mutex_);
    shared_.counters.connections_opened += static_cast<uint64_t>(opened);
  }

  // Starts the probe when it is due; gives the time of the next.
  Deadline maybe_probe() {
    std::lock_guard lock(mutex_);
    const Deadline now = SteadyClock::now();
    if (shared_.breaker.probe_at() > now) return shared_.breaker.probe_at();
    shared_.breaker.probe_started();
    const Receiver discard{+[](char*, size_t size, size_t count, void*) { return size * count; }};
    if (!probe_.open(endpoint_, probe_letter_, discard, endpoint_.connect_timeout + kProbeTimeout).ok() ||
        !probe_.send(multi_.get()).ok()) {
      probe_.close(multi_.get());
      shared_.breaker.probe_failed(now);
      return shared_.breaker.probe_at();
    }
    return now;  // let libcurl begin at once
  }

  // Any answer shows an endpoint that is well (404: it just has no such list), except that it is overloaded
  // or broken.
  void finish_probe(CURLcode code) {
    long status = 0;
    libcurl().easy_getinfo(probe_.easy(), CURLINFO_RESPONSE_CODE, &status);
    count_connections(probe_.easy());
    probe_.close(multi_.get());
    std::lock_guard lock(mutex_);
    if (code == CURLE_OK && status >= 200 && status < 500 && status != 408 && status != 429) {
      shared_.breaker.probe_succeeded();
    } else {
      shared_.breaker.probe_failed(SteadyClock::now());
    }
  }

  void wait_until(Deadline deadline) {
    const Deadline now = SteadyClock::now();
    Milliseconds wait = kIdleWait;
    if (deadline != kNoDeadline) wait = std::min(wait, std::chrono::ceil<Milliseconds>(deadline - now));
    // libcurl shortens the wait for timers of its own.
    if (wait.count() > 0)
      libcurl().multi_poll(multi_.get(), nullptr, 0, static_cast<int>(wait.count()), nullptr);
  }

  const Options options_;
  const std::function<bool()> network_up_;  // empty: the endpoint needs no network
  const Endpoint endpoint_;
  const chat::BackendInfo info_;
  std::unique_ptr<CURLM, MultiCleanup> multi_;
  const std::shared_ptr<Waker> waker_;
  Renderer renderer_;  // set before the first request

  mutable std::mutex mutex_;
  Shared shared_;  // guarded by mutex_

  std::vector<std::unique_ptr<Transfer>> transfers_;  // network thread
  // Network thread: finding out how the endpoint continues, and who waits for it.
  std::optional<Detector> detector_;
  std::optional<Letter> test_letter_;
  std::string test_reply_;
  Exchange test_;  // open while a test request is under way
  Deadline test_again_at_{};
  Deadline route_check_at_{};
  bool network_down_ = false;  // while answers are ended because of it
  std::vector<std::unique_ptr<Transfer>> waiting_;
  const Letter probe_letter_ = Letter::probe(endpoint_);
  Exchange probe_;  // network thread; open while a probe is running
  std::thread thread_;
};

Status check_positive(int value, const char* field) {
  if (value > 0) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: expected a number above 0, got {}", field, value), field);
}

}  // namespace

Status check_options(const Options& options) {
  if (find_dialect(options.dialect) == nullptr) {
    std::string known;
    for (const Dialect* dialect : all_dialects())
      known += (known.empty() ? "" : ", ") + std::string(dialect->name);
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("dialect: expected one of {}, got another", known), "dialect");
  }
  if (options.continuation != "auto" && !parse_continuation(options.continuation)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "continuation: expected auto, prefix, tokens, raw or instruct, got another",
                      "continuation");
  }
  HEDGE_TRY(check_positive(options.connect_timeout_ms, "connect_timeout_ms"));
  HEDGE_TRY(check_positive(options.first_token_timeout_ms, "first_token_timeout_ms"));
  HEDGE_TRY(check_positive(options.gap_timeout_ms, "gap_timeout_ms"));
  HEDGE_TRY(check_positive(options.in_flight_max, "in_flight_max"));
  HEDGE_TRY(check_positive(options.breaker_failures, "breaker_failures"));
  HEDGE_TRY(check_positive(options.breaker_open_ms, "breaker_open_ms"));
  if (!options.ca_file.empty() && !std::ifstream(options.ca_file).good()) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("ca_file: expected a readable PEM file, got {}", options.ca_file),
                      "ca_file");
  }
  return {};
}

Result<std::unique_ptr<OpenAiBackend>> OpenAiBackend::create(const Options& options,
                                                             std::function<bool()> network_up) {
  HEDGE_TRY(load_libcurl());
  HEDGE_TRY(check_options(options));
  if (options.name.empty())
    return make_error(ErrorCode::kInvalidArgument, "name: expected one, got none", "name");
  if (options.model.empty())
    return make_error(ErrorCode::kInvalidArgument, "model: expected a name, got none", "model");
  Endpoint endpoint;
  endpoint.dialect = find_dialect(options.dialect);
  HEDGE_TRY_SET(endpoint.base_url, normal_base_url(options.base_url, "base_url"));
  HEDGE_TRY_SET(endpoint.key, read_key(options.key_env, options.key_file));
  endpoint.ca_file = options.ca_file;
  endpoint.name = options.name;
  endpoint.model = options.model;
  endpoint.connect_timeout = Milliseconds(options.connect_timeout_ms);
  endpoint.first_token_timeout = Milliseconds(options.first_token_timeout_ms);
  endpoint.gap_timeout = Milliseconds(options.gap_timeout_ms);

  CURLM* multi = libcurl().multi_init();
  if (multi == nullptr) return make_error(ErrorCode::kInternal, "libcurl: no multi handle");
  libcurl().multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(options.in_flight_max));
  if (!network_up && !is_on_this_machine(endpoint.base_url) && !has_proxy())
    network_up = [] { return os::has_route_beyond(); };
  return std::unique_ptr<OpenAiBackend>(
      std::make_unique<HttpBackend>(options, std::move(endpoint), multi, std::move(network_up)));
}

}  // namespace hedge::upstream
