// What a report says, added up while the decisions are read one by one: its memory does not grow with their
// number.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "chat/trace.h"
#include "route/policy.h"
#include "route/replay.h"

namespace hedge::cli {

// Whether answers were good, by the ids of their decisions. Of an id that comes twice the last line counts.
class Labels {
 public:
  static constexpr size_t kMax = 1'000'000;  // some 40 MB

  // False when there are too many; `id` is not kept then.
  bool set(std::string_view id, bool correct);
  std::optional<bool> find(std::string_view id) const;
  size_t size() const { return by_hash_.size(); }

 private:
  std::unordered_map<uint64_t, bool> by_hash_;  // FNV-1a of the id: of a million, one collision in 10^7 files
};

inline constexpr std::array<std::string_view, 3> kRouteNames = {"local", "upstream", "mixed"};

// Mean and spread of numbers, in one pass (Welford).
struct Mean {
  int64_t count = 0;
  double mean = 0, squares = 0;

  void add(double value);
  double half_width() const;  // of the 95 % interval of the mean, by the normal distribution
};

struct Share {
  int64_t hits = 0, count = 0;
  double value() const { return count > 0 ? static_cast<double>(hits) / static_cast<double>(count) : 0; }
  // Wilson's 95 % interval.
  double lo() const;
  double hi() const;
};

// Quantiles of times, from counts in buckets 2 % wide: right to 1 %.
class Times {
 public:
  void add(double ms);
  int64_t count() const { return count_; }
  double quantile(double share) const;  // nearest rank; 0 without values

 private:
  static constexpr double kRatio = 1.02;
  static constexpr size_t kBuckets = 1050;  // up to e^(1050 ln 1.02) ms, 300 hours
  std::array<int64_t, kBuckets> counts_ = {};
  int64_t count_ = 0;
};

// Sums over equal spans of time. There are at most kSpans of them: when more would be needed, they grow.
template <typename Sum>
class Timeline {
 public:
  static constexpr size_t kSpans = 62;

  explicit Timeline(int64_t least_ms) : span_ms_(least_ms) {}
  // REQUIRES: times do not fall.
  Sum& at(int64_t unix_ms) {
    if (spans_.empty()) first_ms_ = unix_ms;
    while ((unix_ms - unix_ms % span_ms_ - (first_ms_ - first_ms_ % span_ms_)) / span_ms_ >=
           static_cast<int64_t>(kSpans))
      grow();
    return spans_[unix_ms - unix_ms % span_ms_];
  }
  int64_t span_ms() const { return span_ms_; }
  const std::map<int64_t, Sum>& spans() const {
    return spans_;
  }  // by their beginning; none without sums is there

 private:
  void grow() {
    constexpr int64_t kMinute = 60'000, kHour = 60 * kMinute, kDay = 24 * kHour;
    constexpr int64_t kNice[] = {kMinute,   5 * kMinute, 15 * kMinute, kHour,     3 * kHour,
                                 6 * kHour, kDay,        7 * kDay,     28 * kDay, 364 * kDay};
    int64_t wider = 2 * span_ms_;
    for (const int64_t nice : kNice) {
      if (nice > span_ms_) {
        wider = nice;
        break;
      }
    }
    span_ms_ = wider;
    std::map<int64_t, Sum> old;
    old.swap(spans_);
    for (const auto& [begin, sum] : old) spans_[begin - begin % span_ms_] += sum;
  }

  int64_t span_ms_;
  int64_t first_ms_ = 0;
  std::map<int64_t, Sum> spans_;
};

struct RouteCounts {
  std::array<int64_t, 3> by_route = {};  // by kRouteNames
  RouteCounts& operator+=(const RouteCounts& other);
};

struct Spend {
  int64_t answers = 0, tokens = 0, nanos = 0;
  Spend& operator+=(const Spend& other);
};

// Upstream tokens and money of each tenant, by its place in Tally::tenants().
struct TenantSpend {
  std::vector<Spend> by_tenant;
  TenantSpend& operator+=(const TenantSpend& other);
};

struct PolicyResult {
  std::string name;
  int64_t up = 0;  // answers that the upstream wrote, wholly or in part
  Spend spend;
  double gain = 0;  // sum of the expected gains of the answers that went up
};

class Tally {
 public:
  static constexpr size_t kReasonsMax = 200, kTenantsMax = 12;  // what is more is counted as "other"
  static constexpr size_t kBins = 10;                           // of the calibration curve

  Tally(const route::Policy& policy, const Labels& labels);
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;

  // REQUIRES: in the order of their times.
  void add(const chat::Trace& trace);

  struct Route {
    int64_t answers = 0;
    Share labelled;  // hits: said to be good
    Mean right;      // the model's own probability that its answer is right, where it was recorded
    Times first_text, total;
  };
  struct Bin {
    Share wrong;           // hits: said to be wrong
    double predicted = 0;  // sum
  };

  int64_t answers() const { return answers_; }
  int64_t broken_off() const { return broken_off_; }
  int64_t without_facts() const { return without_facts_; }  // left out of the replay
  int64_t first_ms() const { return first_ms_; }
  int64_t last_ms() const { return last_ms_; }
  const std::array<Route, 3>& routes() const { return routes_; }
  const Timeline<RouteCounts>& over_time() const { return over_time_; }
  const std::map<std::string, int64_t>& reasons() const { return reasons_; }
  const std::array<Bin, kBins>& calibration() const { return calibration_; }
  int64_t predictions() const { return predictions_; }  // local answers with a probability, labelled or not
  const Times& upstream_first() const { return upstream_first_; }
  const std::vector<std::string>& tenants() const { return tenants_; }  // the first is nobody's
  const Timeline<TenantSpend>& spend() const { return spend_; }
  const std::vector<PolicyResult>& policies() const { return results_; }
  int64_t replayed() const { return replayed_; }

 private:
  void add_quality(const chat::Trace& trace, size_t route);
  void add_policies(const chat::Trace& trace);
  size_t tenant_place(const std::string& name);

  const Labels& labels_;
  int64_t answers_ = 0, broken_off_ = 0, without_facts_ = 0, replayed_ = 0, predictions_ = 0;
  int64_t first_ms_ = 0, last_ms_ = 0;
  std::array<Route, 3> routes_;
  Timeline<RouteCounts> over_time_;
  std::map<std::string, int64_t> reasons_;
  std::array<Bin, kBins> calibration_;
  Times upstream_first_;
  std::vector<std::string> tenants_ = {""};
  Timeline<TenantSpend> spend_;
  std::vector<std::unique_ptr<const route::Policy>> policies_;  // of the replays, which refer to them
  std::vector<std::unique_ptr<route::Replay>> replays_;
  std::vector<PolicyResult> results_;  // the recorded one first
};

}  // namespace hedge::cli
