// The network thread owns the multi handle and all transfers; start() and state() talk to it through
// `shared_`, under one lock that nothing blocking happens under.

#include "upstream/openai_backend.h"

#include <algorithm>
#include <fstream>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "upstream/breaker.h"
#include "upstream/endpoint.h"
#include "upstream/transfer.h"

namespace hedge::upstream {
namespace {

// With nothing to wait for, the thread looks up this often; only wake-ups matter.
constexpr Milliseconds kIdleWait{60'000};
constexpr int kBusyRetryMs = 1000;

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

class HttpBackend final : public OpenAiBackend {
 public:
  HttpBackend(const Options& options, Endpoint endpoint, CURLM* multi)
      : options_(options),
        endpoint_(std::move(endpoint)),
        info_{endpoint_.name, endpoint_.model, 0},
        multi_(multi),
        waker_(std::make_shared<Waker>(multi)),
        shared_(options) {
    shared_.wire.continue_flags = options.send_continue_flags;
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
    std::lock_guard lock(mutex_);
    chat::BackendState state;
    state.available = shared_.breaker.allows_requests();
    if (!state.available) state.unavailable_reason = "breaker_open";
    state.active = shared_.active;
    return state;
  }

  Counters counters() const override {
    std::lock_guard lock(mutex_);
    return shared_.counters;
  }

  Result<std::unique_ptr<chat::Stream>> start(const chat::Request& request) override {
    WireOptions wire;
    {
      std::lock_guard lock(mutex_);
      HEDGE_TRY(admit());
      wire = shared_.wire;
    }
    HEDGE_TRY_SET(HttpRequest http, endpoint_.dialect->encode(request, endpoint_.model, wire));
    auto mailbox = std::make_shared<Mailbox>();
    auto transfer = std::make_unique<Transfer>(endpoint_, request, wire, std::move(http), mailbox,
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
    Expect& expect(const chat::Request& request) { return request.raw ? expect_raw : expect_chat; }
    Counters counters;
    int active = 0;
    bool stopping = false;
  };

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
    for (auto& transfer : transfers_) {
      transfer->fail(make_error(ErrorCode::kUnavailable, "shut down"));
      libcurl().multi_remove_handle(multi_.get(), transfer->easy());
    }
    transfers_.clear();
    end_probe();
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
      open(*transfer);
      transfers_.push_back(std::move(transfer));
    }
    return !stopping;
  }

  void open(Transfer& transfer) {
    Expect expect;
    {
      std::lock_guard lock(mutex_);
      expect = shared_.expect(transfer.request());
    }
    const Status opened = transfer.open(expect);
    if (!opened.ok()) {
      transfer.fail(opened.error());
    } else if (libcurl().multi_add_handle(multi_.get(), transfer.easy()) != CURLM_OK) {
      transfer.fail(make_error(ErrorCode::kInternal, "libcurl: the handle was not taken"));
    }
  }

  void handle_messages() {
    int left = 0;
    while (const CURLMsg* message = libcurl().multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* easy = message->easy_handle;
      const CURLcode code = message->data.result;  // `message` dies with the removal below
      if (easy == probe_.get()) {
        finish_probe(code);
        continue;
      }
      const auto at = std::find_if(transfers_.begin(), transfers_.end(),
                                   [&](const auto& t) { return t->easy() == easy; });
      if (at == transfers_.end()) continue;
      count_connections(easy);
      libcurl().multi_remove_handle(multi_.get(), easy);
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
    Deadline next = kNoDeadline;
    std::erase_if(transfers_, [&](std::unique_ptr<Transfer>& transfer) {
      if (transfer->abandoned()) transfer->drop();
      transfer->make_progress(now);
      const bool overdue = transfer->deadline() <= now;
      if (overdue) transfer->on_deadline();
      if (transfer->ended() && (overdue || !transfer->lingers())) {
        count_connections(transfer->easy());
        libcurl().multi_remove_handle(multi_.get(), transfer->easy());  // closes its connection
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
      const bool failed = counts_as_failure(transfer.error()->code);
      if (failed && !shared_.stopping && shared_.breaker.request_failed(SteadyClock::now()))
        ++counters.breaker_opened;
      return;
    }
    shared_.breaker.request_succeeded();
    counters.prompt_tokens += static_cast<uint64_t>(transfer.reader().usage().prompt_tokens);
    counters.completion_tokens += static_cast<uint64_t>(transfer.reader().usage().completion_tokens);
    if (transfer.retried()) {
      shared_.wire = transfer.wire();
      shared_.expect_chat = Expect::kUnknown;
    }
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
    probe_.reset(libcurl().easy_init());
    CURL* easy = probe_.get();
    if (easy != nullptr) {
      probe_headers_ = make_headers(endpoint_, false);
      apply_common(easy, endpoint_, endpoint_.dialect->probe_path);
      libcurl().easy_setopt(easy, CURLOPT_HTTPHEADER, probe_headers_.get());
      libcurl().easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                            static_cast<long>((endpoint_.connect_timeout + kProbeTimeout).count()));
      libcurl().easy_setopt(
          easy, CURLOPT_WRITEFUNCTION, +[](char*, size_t size, size_t count, void*) { return size * count; });
    }
    if (easy == nullptr || libcurl().multi_add_handle(multi_.get(), easy) != CURLM_OK) {
      shared_.breaker.probe_failed(now);
      return shared_.breaker.probe_at();
    }
    return now;  // let libcurl begin at once
  }

  // Any answer shows an endpoint that is well (404: it just has no such list), except that it is overloaded
  // or broken.
  void finish_probe(CURLcode code) {
    long status = 0;
    libcurl().easy_getinfo(probe_.get(), CURLINFO_RESPONSE_CODE, &status);
    count_connections(probe_.get());
    end_probe();
    std::lock_guard lock(mutex_);
    if (code == CURLE_OK && status >= 200 && status < 500 && status != 408 && status != 429) {
      shared_.breaker.probe_succeeded();
    } else {
      shared_.breaker.probe_failed(SteadyClock::now());
    }
  }

  void end_probe() {
    if (!probe_) return;
    libcurl().multi_remove_handle(multi_.get(), probe_.get());
    probe_.reset();
    probe_headers_.reset();
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
  const Endpoint endpoint_;
  const chat::BackendInfo info_;
  std::unique_ptr<CURLM, MultiCleanup> multi_;
  const std::shared_ptr<Waker> waker_;

  mutable std::mutex mutex_;
  Shared shared_;  // guarded by mutex_

  std::vector<std::unique_ptr<Transfer>> transfers_;  // network thread
  HeaderList probe_headers_;                          // network thread
  EasyHandle probe_;                                  // network thread; null when none is running
  std::thread thread_;
};

Status check_positive(int value, const char* field) {
  if (value > 0) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: expected a number above 0, got {}", field, value), field);
}

}  // namespace

Result<std::unique_ptr<OpenAiBackend>> OpenAiBackend::create(const Options& options) {
  HEDGE_TRY(load_libcurl());
  Endpoint endpoint;
  endpoint.dialect = find_dialect(options.dialect);
  if (endpoint.dialect == nullptr) {
    std::string known;
    for (const Dialect* dialect : all_dialects())
      known += (known.empty() ? "" : ", ") + std::string(dialect->name);
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("dialect: expected one of {}, got another", known), "dialect");
  }
  if (options.name.empty())
    return make_error(ErrorCode::kInvalidArgument, "name: expected one, got none", "name");
  if (options.model.empty())
    return make_error(ErrorCode::kInvalidArgument, "model: expected a name, got none", "model");
  HEDGE_TRY(check_positive(options.connect_timeout_ms, "connect_timeout_ms"));
  HEDGE_TRY(check_positive(options.first_token_timeout_ms, "first_token_timeout_ms"));
  HEDGE_TRY(check_positive(options.gap_timeout_ms, "gap_timeout_ms"));
  HEDGE_TRY(check_positive(options.in_flight_max, "in_flight_max"));
  HEDGE_TRY(check_positive(options.breaker_failures, "breaker_failures"));
  HEDGE_TRY(check_positive(options.breaker_open_ms, "breaker_open_ms"));
  HEDGE_TRY_SET(endpoint.base_url, normal_base_url(options.base_url, "base_url"));
  HEDGE_TRY_SET(endpoint.key, read_key(options.key_env, options.key_file));
  if (!options.ca_file.empty() && !std::ifstream(options.ca_file).good()) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("ca_file: expected a readable PEM file, got {}", options.ca_file),
                      "ca_file");
  }
  endpoint.ca_file = options.ca_file;
  endpoint.name = options.name;
  endpoint.model = options.model;
  endpoint.connect_timeout = Milliseconds(options.connect_timeout_ms);
  endpoint.first_token_timeout = Milliseconds(options.first_token_timeout_ms);
  endpoint.gap_timeout = Milliseconds(options.gap_timeout_ms);

  CURLM* multi = libcurl().multi_init();
  if (multi == nullptr) return make_error(ErrorCode::kInternal, "libcurl: no multi handle");
  libcurl().multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(options.in_flight_max));
  return std::unique_ptr<OpenAiBackend>(std::make_unique<HttpBackend>(options, std::move(endpoint), multi));
}

}  // namespace hedge::upstream
