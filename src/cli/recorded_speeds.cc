#include "cli/recorded_speeds.h"

#include <fmt/format.h>

#include <charconv>

#include "base/clock.h"
#include "cli/session_store.h"
#include "cli/terminal.h"
#include "route/situation.h"

namespace hedge::cli {
namespace {

constexpr int64_t kHourMs = 60LL * 60 * 1000;
constexpr int64_t kDayMs = 24 * kHourMs;
constexpr int64_t kWeekMs = 7 * kDayMs;
constexpr int64_t kCountMax = 36500;  // a hundred years of days

}  // namespace

Result<int64_t> parse_since(const std::string& text) {
  int64_t count = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (failed == std::errc() && count >= 1 && count <= kCountMax && (unit == "h" || unit == "d"))
    return count * (unit == "h" ? kHourMs : kDayMs);
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("--since: expected hours or days like 36h or 7d, got '{}'", printable(text)));
}

Result<std::optional<route::Speeds>> recorded_speeds(const Settings& settings) {
  std::optional<route::Speeds> found;
  if (!find_recorded(settings).ok()) return found;
  HEDGE_TRY_SET(const std::unique_ptr<session::Store> store, open_recorded(settings));
  HEDGE_TRY_SET([[maybe_unused]] const int64_t passed_over,
                store->for_each_decision(unix_time_ms() - kWeekMs, [&](const chat::Trace& trace) {
                  route::RecordedSituation recorded;
                  if (route::read_facts(trace.facts, recorded)) found = recorded.situation.speeds;
                  return true;
                }));
  return found;
}

}  // namespace hedge::cli
