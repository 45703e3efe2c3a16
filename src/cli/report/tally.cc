#include "cli/report/tally.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "session/recorder.h"

namespace hedge::cli {
namespace {

constexpr double k95 = 1.959964;  // the normal distribution's 97.5 % quantile
constexpr int64_t kMinuteMs = 60'000, kDayMs = 24LL * 60 * kMinuteMs;
constexpr std::string_view kOther = "other";
// Steps in a trace that hold the probability that the local answer is wrong.
constexpr std::string_view kProbeStep = "confidence.probe";

const chat::Fact* find_number(const chat::Trace& trace, std::string_view name) {
  for (const chat::Fact& fact : trace.facts) {
    if (fact.name == name && !fact.is_text && std::isfinite(fact.number)) return &fact;
  }
  return nullptr;
}

double number_of(const chat::Trace& trace, std::string_view name) {
  const chat::Fact* fact = find_number(trace, name);
  return fact == nullptr ? 0 : fact->number;
}

// The last one counts: it knew most of the answer.
std::optional<double> p_wrong_of(const chat::Trace& trace) {
  std::optional<double> found;
  for (const chat::Step& step : trace.steps) {
    if (step.what.starts_with(kProbeStep) && step.value >= 0 && step.value <= 1) found = step.value;
  }
  return found;
}

size_t route_of(const chat::Trace& trace) {
  const auto found = std::find(kRouteNames.begin(), kRouteNames.end(), trace.route);
  return found == kRouteNames.end() ? 0 : static_cast<size_t>(found - kRouteNames.begin());
}

// Wilson (1927): the shares that a test at the 5 % level does not reject.
double wilson(const Share& share, double side) {
  if (share.count == 0) return side < 0 ? 0 : 1;
  const auto n = static_cast<double>(share.count);
  const double p = share.value(), z2 = k95 * k95;
  const double middle = p + z2 / (2 * n);
  const double half = k95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return std::clamp((middle + side * half) / (1 + z2 / n), 0.0, 1.0);
}

// The same policy with one strategy for everything that the gates leave open.
route::Policy with_strategy(route::Policy policy, std::string_view use) {
  policy.use = use;
  policy.rules.clear();
  for (route::Tenant& tenant : policy.tenants) tenant.use.reset();
  return policy;
}

}  // namespace

bool Labels::set(std::string_view id, bool correct) {
  const uint64_t hash = fnv1a(id);
  if (by_hash_.size() >= kMax && !by_hash_.contains(hash)) return false;
  by_hash_[hash] = correct;
  return true;
}

std::optional<bool> Labels::find(std::string_view id) const {
  const auto found = by_hash_.find(fnv1a(id));
  return found == by_hash_.end() ? std::nullopt : std::optional(found->second);
}

void Mean::add(double value) {
  ++count;
  const double before = value - mean;
  mean += before / static_cast<double>(count);
  squares += before * (value - mean);
}

double Mean::half_width() const {
  if (count < 2) return 0;
  const auto n = static_cast<double>(count);
  return k95 * std::sqrt(squares / (n - 1) / n);
}

double Share::lo() const { return wilson(*this, -1); }
double Share::hi() const { return wilson(*this, 1); }

void Times::add(double ms) {
  if (!std::isfinite(ms) || ms < 0) return;
  const double place = std::log(std::max(ms, 1.0)) / std::log(kRatio);
  ++counts_[std::min(static_cast<size_t>(place), kBuckets - 1)];
  ++count_;
}

double Times::quantile(double share) const {
  if (count_ == 0) return 0;
  const auto rank = static_cast<int64_t>(std::ceil(share * static_cast<double>(count_)));
  int64_t below = 0;
  for (size_t i = 0; i < kBuckets; ++i) {
    below += counts_[i];
    if (below >= std::max<int64_t>(rank, 1)) return std::pow(kRatio, static_cast<double>(i) + 0.5);
  }
  return 0;
}

RouteCounts& RouteCounts::operator+=(const RouteCounts& other) {
  for (size_t i = 0; i < by_route.size(); ++i) by_route[i] += other.by_route[i];
  return *this;
}

Spend& Spend::operator+=(const Spend& other) {
  answers += other.answers;
  tokens += other.tokens;
  nanos += other.nanos;
  return *this;
}

TenantSpend& TenantSpend::operator+=(const TenantSpend& other) {
  by_tenant.resize(std::max(by_tenant.size(), other.by_tenant.size()));
  for (size_t i = 0; i < other.by_tenant.size(); ++i) by_tenant[i] += other.by_tenant[i];
  return *this;
}

Tally::Tally(const route::Policy& policy, const Labels& labels)
    : labels_(labels), over_time_(kMinuteMs), spend_(kDayMs) {
  results_.push_back({"recorded", 0, {}, 0});
  const auto add = [&](std::string name, route::Policy its_policy) {
    policies_.push_back(std::make_unique<const route::Policy>(std::move(its_policy)));
    replays_.push_back(std::make_unique<route::Replay>(*policies_.back()));
    results_.push_back({std::move(name), 0, {}, 0});
  };
  add("this configuration", policy);
  for (const std::string_view use : {"local-only", "local-first", "cheapest-sufficient", "upstream-first"})
    add(std::string(use), with_strategy(policy, use));
}

size_t Tally::tenant_place(const std::string& name) {
  const auto found = std::find(tenants_.begin(), tenants_.end(), name);
  if (found != tenants_.end()) return static_cast<size_t>(found - tenants_.begin());
  if (tenants_.size() + 1 < kTenantsMax) {
    tenants_.push_back(name);
  } else if (tenants_.size() < kTenantsMax) {
    tenants_.emplace_back(kOther);
  }
  return tenants_.size() - 1;
}

void Tally::add(const chat::Trace& trace) {
  if (answers_ + broken_off_ == 0) first_ms_ = trace.created_ms;
  last_ms_ = std::max(last_ms_, trace.created_ms);
  const size_t tenant = tenant_place(trace.tenant);
  TenantSpend& spend = spend_.at(last_ms_);
  if (spend.by_tenant.size() <= tenant) spend.by_tenant.resize(tenant + 1);
  const Spend cost{1, trace.upstream_tokens, trace.upstream_nanos};
  spend.by_tenant[tenant] += cost;
  if (session::was_broken_off(trace)) {
    ++broken_off_;
    return;
  }
  ++answers_;
  const size_t route = route_of(trace);
  ++over_time_.at(last_ms_).by_route[route];
  for (const std::string& reason : trace.reasons) {
    const bool known = reasons_.contains(reason) || reasons_.size() < kReasonsMax;
    ++reasons_[known ? reason : std::string(kOther)];
  }
  add_quality(trace, route);
  if (const double first = number_of(trace, "first_text_ms"); first > 0) routes_[route].first_text.add(first);
  if (const double first = number_of(trace, "upstream_text_ms"); first > 0) upstream_first_.add(first);
  routes_[route].total.add(trace.total_ms);
  add_policies(trace);
}

void Tally::add_quality(const chat::Trace& trace, size_t route) {
  Route& sums = routes_[route];
  ++sums.answers;
  const std::optional<bool> correct = labels_.find(trace.id);
  if (correct) {
    ++sums.labelled.count;
    sums.labelled.hits += *correct ? 1 : 0;
  }
  const std::optional<double> p_wrong = p_wrong_of(trace);
  if (!p_wrong || trace.route != kRouteNames[0]) return;  // it speaks of the local answer alone
  ++predictions_;
  sums.right.add(1 - *p_wrong);
  if (!correct) return;
  Bin& bin = calibration_[std::min(static_cast<size_t>(*p_wrong * kBins), kBins - 1)];
  ++bin.wrong.count;
  bin.wrong.hits += *correct ? 0 : 1;
  bin.predicted += *p_wrong;
}

void Tally::add_policies(const chat::Trace& trace) {
  const chat::Fact* gain = find_number(trace, "gain");
  if (gain == nullptr) {
    ++without_facts_;
    return;
  }
  ++replayed_;
  const auto count = [&](PolicyResult& result, bool up, int64_t tokens, int64_t nanos) {
    result.spend += {1, tokens, nanos};
    result.up += up ? 1 : 0;
    result.gain += up ? gain->number : 0;
  };
  count(results_[0], trace.route != kRouteNames[0], trace.upstream_tokens,
        route::recorded_nanos(trace, policies_[0]->prices));
  for (size_t i = 0; i < replays_.size(); ++i) {
    const route::Replayed again = replays_[i]->decide(trace);
    count(results_[i + 1], again.route != kRouteNames[0], again.tokens, again.nanos);
  }
}

}  // namespace hedge::cli
