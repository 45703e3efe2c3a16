#include "server/status.h"

#include <nlohmann/json.hpp>

#include "os/sensors.h"
#include "server/context.h"

namespace hedge::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPerNano = 1e-9;

class Writer;
class Reader;

// Every field under its name, for both directions. `fields` is a Writer or a Reader.
template <typename Fields>
void describe(Fields& fields, HttpStatus& s) {
  fields("connections", s.connections);
  fields("answers_running", s.answers_running);
  fields("answers_max", s.answers_max);
  fields("requests", s.requests);
  fields("refused", s.refused);
  fields("failed", s.failed);
  fields("clients_gone", s.clients_gone);
}

template <typename Fields>
void describe(Fields& fields, engine::Counters& s) {
  fields("active", s.active);
  fields("queued", s.queued);
  fields("requests", s.requests);
  fields("requests_cancelled", s.requests_cancelled);
  fields("requests_rejected", s.requests_rejected);
  fields("prompt_tokens", s.prompt_tokens);
  fields("cached_tokens", s.cached_tokens);
  fields("completion_tokens", s.completion_tokens);
  fields("draft_tokens", s.draft_tokens);
  fields("draft_tokens_accepted", s.draft_tokens_accepted);
  fields("prefill_seconds", s.prefill_seconds);
  fields("decode_seconds", s.decode_seconds);
  fields("steps", s.steps);
  fields("kv_bytes_max", s.kv_bytes_max);
  fields("kv_bytes_used", s.kv_bytes_used);
  fields("kv_pages_cached", s.kv_pages_cached);
  fields("kv_pages_hit", s.kv_pages_hit);
  fields("kv_pages_evicted", s.kv_pages_evicted);
  fields("kv_disk_bytes", s.kv_disk_bytes);
  fields("kv_disk_pages_read", s.kv_disk_pages_read);
  fields("kv_disk_pages_written", s.kv_disk_pages_written);
  fields("kv_disk_files_rejected", s.kv_disk_files_rejected);
}

template <typename Fields>
void describe(Fields& fields, engine::Running& s) {
  fields("prompt_tokens", s.prompt_tokens);
  fields("cached_tokens", s.cached_tokens);
  fields("prompt_read", s.prompt_read);
  fields("answer_tokens", s.answer_tokens);
  fields("tokens_per_second", s.tokens_per_second);
  fields("age_seconds", s.age_seconds);
}

template <typename Fields>
void describe(Fields& fields, route::Counters& s) {
  fields("local", s.local);
  fields("upstream", s.upstream);
  fields("mixed", s.mixed);
  fields("failed", s.failed);
  fields("cancelled", s.cancelled);
  fields("escalated_first", s.escalated_first);
  fields("escalated_mid", s.escalated_mid);
  fields("races", s.races);
  fields("races_won", s.races_won);
  fields("upstream_failed", s.upstream_failed);
  fields("resumed_local", s.resumed_local);
  fields("kept_private", s.kept_private);
  fields("upstream_overbilled", s.upstream_overbilled);
}

template <typename Fields>
void describe(Fields& fields, ReasonCount& s) {
  fields("name", s.name);
  fields("count", s.count);
}

template <typename Fields>
void describe(Fields& fields, RecentAnswers& s) {
  fields("window_s", s.window_s);
  fields("local", s.local);
  fields("upstream", s.upstream);
  fields("mixed", s.mixed);
  fields("reasons", s.reasons);
  fields("first_text_p50_ms", s.first_text_p50_ms);
  fields("first_text_p95_ms", s.first_text_p95_ms);
  fields("total_p50_ms", s.total_p50_ms);
  fields("total_p95_ms", s.total_p95_ms);
}

template <typename Fields>
void describe(Fields& fields, UpstreamStatus& s) {
  fields("name", s.name);
  fields("model", s.model);
  fields("available", s.available);
  fields("why", s.why);
  fields("requests", s.requests);
  fields("failures", s.failures);
  fields("breaker_opened", s.breaker_opened);
  fields("prompt_tokens", s.prompt_tokens);
  fields("completion_tokens", s.completion_tokens);
  fields("first_text_p50_ms", s.first_text_p50_ms);
  fields("first_text_p95_ms", s.first_text_p95_ms);
}

template <typename Fields>
void describe(Fields& fields, BudgetStatus& s) {
  fields("tenant", s.tenant);
  fields("tokens", s.tokens);
  fields("tokens_max", s.tokens_max);
  fields("money", s.money);
  fields("money_max", s.money_max);
  fields("tokens_beyond", s.tokens_beyond);
  fields("money_beyond", s.money_beyond);
}

template <typename Fields>
void describe(Fields& fields, DeviceStatus& s) {
  fields("resident_bytes", s.resident_bytes);
  fields("online", s.online);
  fields("on_battery", s.on_battery);
  fields("battery_percent", s.battery_percent);
  fields("temperature_c", s.temperature_c);
}

template <typename Fields>
void describe(Fields& fields, StatusReport& s) {
  fields("version", s.version);
  fields("uptime_s", s.uptime_s);
  fields("model", s.model);
  fields("context_tokens", s.context_tokens);
  fields("slots", s.slots);
  fields("http", s.http);
  fields("engine", s.engine);
  fields("running", s.running);
  fields("router", s.router);
  fields("recent", s.recent);
  fields("upstream", s.upstream);
  fields("budgets", s.budgets);
  fields("device", s.device);
}

template <typename T>
constexpr bool kIsPlain = std::is_arithmetic_v<T> || std::is_same_v<T, std::string>;

class Writer {
 public:
  template <typename T>
  void operator()(const char* name, T& value) {
    out_[name] = json_of(value);
  }
  template <typename T>
  static Json json_of(T& value) {
    if constexpr (kIsPlain<T>) {
      return value;
    } else {
      Writer inner;
      describe(inner, value);
      return std::move(inner.out_);
    }
  }
  template <typename T>
  static Json json_of(std::vector<T>& values) {
    Json list = Json::array();
    for (T& value : values) list.push_back(json_of(value));
    return list;
  }
  template <typename T>
  static Json json_of(std::optional<T>& value) {
    return value ? json_of(*value) : Json();
  }

 private:
  Json out_ = Json::object();
};

class Reader {
 public:
  explicit Reader(const Json& in) : in_(in) {
    if (!in_.is_object()) wrong_ = "an object was expected";
  }
  template <typename T>
  void operator()(const char* name, T& value) {
    if (!wrong_.empty()) return;
    const auto found = in_.find(name);
    if (found == in_.end() || found->is_null()) return;
    if (!read(*found, value) && wrong_.empty()) wrong_ = name;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  template <typename T>
  static bool read(const Json& json, T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      if (!json.is_string()) return false;
      value = json.get<std::string>();
      return true;
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!json.is_boolean()) return false;
      value = json.get<bool>();
      return true;
    } else if constexpr (std::is_arithmetic_v<T>) {
      if (!json.is_number()) return false;
      value = json.get<T>();
      return true;
    } else {
      Reader inner(json);
      describe(inner, value);
      return inner.wrong().empty();
    }
  }
  template <typename T>
  static bool read(const Json& json, std::vector<T>& values) {
    if (!json.is_array()) return false;
    values.resize(json.size());
    for (size_t i = 0; i < json.size(); ++i) {
      if (!read(json[i], values[i])) return false;
    }
    return true;
  }
  template <typename T>
  static bool read(const Json& json, std::optional<T>& value) {
    return read(json, value.emplace());
  }

  const Json& in_;
  std::string wrong_;  // the first field that is of another type
};

UpstreamStatus upstream_of(const Parts& parts) {
  UpstreamStatus out;
  const chat::BackendInfo& info = parts.upstream->info();
  const chat::BackendState state = parts.upstream->state();
  const upstream::Counters counters = parts.upstream->counters();
  out.name = info.name;
  out.model = info.model;
  out.available = state.available;
  out.why = state.unavailable_reason;
  out.requests = static_cast<int64_t>(counters.requests);
  out.failures = static_cast<int64_t>(counters.failures);
  out.breaker_opened = static_cast<int64_t>(counters.breaker_opened);
  out.prompt_tokens = static_cast<int64_t>(counters.prompt_tokens);
  out.completion_tokens = static_cast<int64_t>(counters.completion_tokens);
  return out;
}

}  // namespace

StatusReport status_of(Context& context, std::string_view tenant) {
  StatusReport out;
  const Parts& parts = context.parts;
  out.version = HEDGE_VERSION;
  out.uptime_s = context.metrics.uptime_s();
  out.model = parts.engine->info().model;
  out.context_tokens = parts.engine->info().context_tokens;
  out.slots = parts.engine->slots();
  out.http.connections = context.metrics.connections.load();
  out.http.answers_running = context.slots.taken();
  out.http.answers_max = context.options.requests_max;
  context.metrics.count_statuses(out.http.requests, out.http.refused, out.http.failed);
  out.http.clients_gone = static_cast<int64_t>(context.metrics.clients_gone.load());
  out.engine = parts.engine->counters();
  out.running = parts.engine->running();
  out.recent = context.metrics.recent.look();
  if (parts.upstream != nullptr) out.upstream = upstream_of(parts);
  if (parts.router != nullptr) {
    out.router = parts.router->counters();
    for (const route::Account& account : parts.router->accounts()) {
      if (!tenant.empty() && account.tenant != tenant) continue;
      out.budgets.push_back({account.tenant, account.used.tokens, account.limit.tokens,
                             static_cast<double>(account.used.nanos) * kPerNano,
                             static_cast<double>(account.limit.nanos) * kPerNano, account.beyond.tokens,
                             static_cast<double>(account.beyond.nanos) * kPerNano});
    }
    if (out.upstream) {
      const route::FirstTexts first = parts.router->upstream_first_texts();
      out.upstream->first_text_p50_ms = first.p50_ms;
      out.upstream->first_text_p95_ms = first.p95_ms;
    }
  }
  const os::Sensors sensors = os::read_sensors();
  out.device = {resident_bytes(), sensors.online, sensors.on_battery, sensors.battery_percent,
                sensors.temperature_c};
  return out;
}

std::string status_json(const StatusReport& report) {
  StatusReport copy = report;
  return Writer::json_of(copy).dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<StatusReport> parse_status(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return make_error(ErrorCode::kCorrupt, "a server's status: expected JSON");
  StatusReport out;
  Reader reader(json);
  describe(reader, out);
  if (!reader.wrong().empty())
    return make_error(ErrorCode::kCorrupt, "a server's status: wrong type: " + reader.wrong());
  for (const char* field : {"version", "http", "engine"}) {
    if (!json.contains(field))
      return make_error(ErrorCode::kCorrupt,
                        std::string("a server's status: expected a field \"") + field + "\", got none");
  }
  return out;
}

}  // namespace hedge::server
