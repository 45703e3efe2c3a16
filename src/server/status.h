// GET /v1/hedge/status: what the server is doing now, as one JSON object. Written here for the server, read
// here for those who watch it (`hedge top`), so that every field is named once. No prompt text, keys or
// addresses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "route/router.h"
#include "server/recent.h"

namespace hedge::server {

struct Context;

struct HttpStatus {
  int64_t connections = 0;
  int64_t answers_running = 0, answers_max = 0;
  int64_t requests = 0;             // of all routes, answered
  int64_t refused = 0, failed = 0;  // of these, with a status of 400 to 499, of 500 and more
  int64_t clients_gone = 0;
};

struct UpstreamStatus {
  std::string name, model;
  bool available = false;
  std::string why;  // it is not
  int64_t requests = 0, failures = 0, breaker_opened = 0;
  int64_t prompt_tokens = 0, completion_tokens = 0;
  double first_text_p50_ms = 0, first_text_p95_ms = 0;  // of its last answers; 0: none yet
};

struct BudgetStatus {
  std::string tenant;                  // empty: the whole device
  int64_t tokens = 0, tokens_max = 0;  // of this UTC day; a limit of 0: none
  double money = 0, money_max = 0;
  int64_t tokens_beyond = 0;  // reported by upstreams when there was no room left; not in `tokens`
  double money_beyond = 0;
};

struct DeviceStatus {
  int64_t resident_bytes = 0;  // of this process
  std::optional<bool> online, on_battery;
  std::optional<double> battery_percent, temperature_c;
};

struct StatusReport {
  std::string version;
  double uptime_s = 0;
  std::string model;
  int64_t context_tokens = 0;
  int64_t slots = 0;
  HttpStatus http;
  engine::Counters engine;
  std::vector<engine::Running> running;
  route::Counters router;
  RecentAnswers recent;
  std::optional<UpstreamStatus> upstream;
  std::vector<BudgetStatus> budgets;  // the device's, then the tenants'; of a tenant that asks its own alone
  DeviceStatus device;
};

// For whoever has the key of `tenant`; empty: the server's own.
StatusReport status_of(Context& context, std::string_view tenant);
std::string status_json(const StatusReport& report);
// Absent fields keep their defaults, but for those by which a Hedge is known: version, http and engine.
// kCorrupt: no such object, or a field of another type.
Result<StatusReport> parse_status(std::string_view json);

}  // namespace hedge::server
