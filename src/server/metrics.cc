#include "server/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

namespace hedge::server {
namespace {

class Writer {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <typename T>
  void sample(std::string_view name, std::string_view labels, T value) {
    out_ += fmt::format("{}{} {}\n", name, labels, value);
  }
  template <typename T>
  void counter(std::string_view name, std::string_view help, T value) {
    family(name, "counter", help);
    sample(name, "", value);
  }
  template <typename T>
  void gauge(std::string_view name, std::string_view help, T value) {
    family(name, "gauge", help);
    sample(name, "", value);
  }
  void histogram(std::string_view name, std::string_view help, const Histogram& histogram) {
    family(name, "histogram", help);
    histogram.write(out_, name);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

void write_engine(Writer& out, const engine::Counters& engine) {
  out.counter("hedge_engine_requests_total", "Requests that the local engine took on.", engine.requests);
  out.counter("hedge_engine_requests_cancelled_total", "Of these, cancelled before their end.",
              engine.requests_cancelled);
  out.counter("hedge_engine_requests_rejected_total", "Requests refused because the queue was full.",
              engine.requests_rejected);
  out.counter("hedge_prompt_tokens_total", "Prompt tokens of local answers.", engine.prompt_tokens);
  out.counter("hedge_prompt_tokens_cached_total", "Of these, found in the KV cache.", engine.cached_tokens);
  out.counter("hedge_completion_tokens_total", "Tokens that the local engine generated.",
              engine.completion_tokens);
  out.counter("hedge_draft_tokens_total", "Tokens that were drafted and verified (speculation).",
              engine.draft_tokens);
  out.counter("hedge_draft_tokens_accepted_total", "Of these, found right.", engine.draft_tokens_accepted);
  out.counter("hedge_prefill_seconds_total", "Time spent on prompts.", engine.prefill_seconds);
  out.counter("hedge_decode_seconds_total", "Time spent on generating.", engine.decode_seconds);
  out.counter("hedge_engine_steps_total", "Batches that the engine ran.", engine.steps);
  out.gauge("hedge_engine_active", "Sequences that are being decoded.", engine.active);
  out.gauge("hedge_engine_queued", "Requests that wait for a slot.", engine.queued);
  out.gauge("hedge_kv_bytes", "Bytes that the KV cache may take.", engine.kv_bytes_max);
  out.gauge("hedge_kv_used_bytes", "Bytes that it takes.", engine.kv_bytes_used);
  out.gauge("hedge_kv_cached_pages", "Its pages of 64 tokens that no running sequence uses.",
            engine.kv_pages_cached);
  out.counter("hedge_kv_hit_pages_total", "Pages that a request found in the KV cache or on disk.",
              engine.kv_pages_hit);
  out.counter("hedge_kv_evicted_pages_total", "Cached pages given up for others.", engine.kv_pages_evicted);
  out.gauge("hedge_kv_disk_bytes", "Bytes of cached pages on disk.", engine.kv_disk_bytes);
  out.counter("hedge_kv_disk_read_pages_total", "Pages read from disk.", engine.kv_disk_pages_read);
  out.counter("hedge_kv_disk_written_pages_total", "Pages written to disk.", engine.kv_disk_pages_written);
  out.counter("hedge_kv_disk_rejected_files_total", "Broken files of pages, removed.",
              engine.kv_disk_files_rejected);
}

void write_upstream(Writer& out, const upstream::OpenAiBackend& upstream) {
  const upstream::Counters counters = upstream.counters();
  out.gauge("hedge_upstream_available", "1 when the upstream takes requests, 0 when its breaker is open.",
            upstream.state().available ? 1 : 0);
  out.counter("hedge_upstream_requests_total", "Requests sent upstream.", counters.requests);
  out.counter("hedge_upstream_failures_total", "Of these, failed.", counters.failures);
  out.counter("hedge_upstream_breaker_opened_total", "Times that the circuit breaker opened.",
              counters.breaker_opened);
  out.counter("hedge_upstream_received_bytes_total", "Bytes received from upstream.",
              counters.bytes_received);
  out.counter("hedge_upstream_connections_total", "Connections opened to the upstream.",
              counters.connections_opened);
  out.counter("hedge_upstream_prompt_tokens_total", "Prompt tokens that the upstream counted.",
              counters.prompt_tokens);
  out.counter("hedge_upstream_completion_tokens_total", "Completion tokens that the upstream counted.",
              counters.completion_tokens);
}

void write_router(Writer& out, const route::Counters& router) {
  constexpr std::string_view kAnswers = "hedge_router_answers_total";
  out.family(kAnswers, "counter", "Answers, by who wrote them.");
  out.sample(kAnswers, "{route=\"local\"}", router.local);
  out.sample(kAnswers, "{route=\"upstream\"}", router.upstream);
  out.sample(kAnswers, "{route=\"mixed\"}", router.mixed);
  out.counter("hedge_router_failed_total", "Answers that ended in an error.", router.failed);
  out.counter("hedge_router_cancelled_total", "Answers that were cancelled.", router.cancelled);
  constexpr std::string_view kEscalations = "hedge_router_escalations_total";
  out.family(kEscalations, "counter", "Hand-overs to the upstream, by when.");
  out.sample(kEscalations, "{when=\"first\"}", router.escalated_first);
  out.sample(kEscalations, "{when=\"mid\"}", router.escalated_mid);
  out.counter("hedge_router_races_total", "Answers in which the local model began beside a silent upstream.",
              router.races);
  out.counter("hedge_router_races_won_total", "Of these, answered by the local model.", router.races_won);
  out.counter("hedge_router_upstream_failed_total", "Answers during which the upstream failed.",
              router.upstream_failed);
  out.counter("hedge_router_resumed_local_total", "Of these, finished by the local model.",
              router.resumed_local);
  out.counter("hedge_router_sent_masked_total", "Answers for which a masked request went upstream.",
              router.sent_masked);
  out.counter("hedge_router_kept_private_total", "Answers that a privacy gate kept here.",
              router.kept_private);
  out.counter("hedge_router_upstream_overbilled_total",
              "Answers for which the upstream reported more than its budget's reservation.",
              router.upstream_overbilled);
  out.gauge("hedge_router_upstream_tokens_today", "Upstream tokens used on this UTC day.",
            router.upstream_tokens_today);
}

}  // namespace

int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total_pages = 0;
  int64_t resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return statm ? resident_pages * sysconf(_SC_PAGESIZE) : 0;
}

void Histogram::observe(double seconds) {
  std::lock_guard lock(mutex_);
  ++count_;
  sum_ += seconds;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    if (seconds <= kBounds[i]) {
      ++counts_[i];
      return;
    }
  }
}

void Histogram::write(std::string& out, std::string_view name) const {
  std::lock_guard lock(mutex_);
  uint64_t up_to = 0;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    up_to += counts_[i];
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], up_to);
  }
  out += fmt::format("{}_bucket{{le=\"+Inf\"}} {}\n{}_sum {}\n{}_count {}\n", name, count_, name, sum_, name,
                     count_);
}

void Metrics::count_request(std::string_view route, int status) {
  std::lock_guard lock(mutex_);
  ++requests_[{std::string(route), status}];
}

void Metrics::count_statuses(int64_t& requests, int64_t& refused, int64_t& failed) const {
  std::lock_guard lock(mutex_);
  requests = refused = failed = 0;
  for (const auto& [key, number] : requests_) {
    const auto count = static_cast<int64_t>(number);
    requests += count;
    if (key.second >= 500) {
      failed += count;
    } else if (key.second >= 400) {
      refused += count;
    }
  }
}

std::string Metrics::text(const Parts& parts, int answers_running) const {
  Writer out;
  {
    constexpr std::string_view kRequests = "hedge_http_requests_total";
    out.family(kRequests, "counter", "HTTP requests, by route and status.");
    std::lock_guard lock(mutex_);
    for (const auto& [key, count] : requests_) {
      out.sample(kRequests, fmt::format("{{route=\"{}\",status=\"{}\"}}", key.first, key.second), count);
    }
  }
  out.gauge("hedge_http_connections", "Open connections.", connections.load());
  out.gauge("hedge_http_answers_running", "Answers in the making.", answers_running);
  out.counter("hedge_http_clients_gone_total", "Answers whose client left before their end.",
              clients_gone.load());
  out.histogram("hedge_first_token_seconds", "From the request to the first text of its answer.",
                first_token);
  out.histogram("hedge_answer_seconds", "From the request to the end of its answer.", answer);
  if (parts.engine != nullptr) write_engine(out, parts.engine->counters());
  if (parts.upstream != nullptr) write_upstream(out, *parts.upstream);
  if (parts.router != nullptr) write_router(out, parts.router->counters());
  out.gauge("hedge_process_resident_bytes", "Memory of this process that is in RAM.", resident_bytes());
  out.gauge("hedge_process_uptime_seconds", "Since the server was made.", uptime_s());
  return out.take();
}

}  // namespace hedge::server
