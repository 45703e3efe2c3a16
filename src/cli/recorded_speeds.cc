#include "cli/recorded_speeds.h"

#include "base/clock.h"
#include "cli/session_store.h"
#include "route/situation.h"

namespace hedge::cli {
namespace {

constexpr int64_t kWeekMs = 7LL * 24 * 60 * 60 * 1000;

}  // namespace

Result<std::optional<route::Speeds>> recorded_speeds(const Settings& settings) {
  HEDGE_TRY_SET(const std::unique_ptr<session::Store> store, open_recorded(settings));
  std::optional<route::Speeds> found;
  if (store == nullptr) return found;
  HEDGE_TRY_SET([[maybe_unused]] const int64_t passed_over,
                store->for_each_decision(unix_time_ms() - kWeekMs, [&](const chat::Trace& trace) {
                  route::RecordedSituation recorded;
                  if (route::read_facts(trace.facts, recorded)) found = recorded.situation.speeds;
                  return true;
                }));
  return found;
}

}  // namespace hedge::cli
