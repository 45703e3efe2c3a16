#include "server/recent.h"

#include <algorithm>
#include <map>

namespace hedge::server {
namespace {

// A trace gives few reasons; more would be somebody else's fault.
constexpr size_t kReasonsMax = 8;

double quantile(std::vector<double>& values, size_t percent) {
  if (values.empty()) return 0;
  const size_t at = std::min(values.size() * percent / 100, values.size() - 1);
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(at), values.end());
  return values[at];
}

}  // namespace

void Recent::note(const chat::Trace& trace, SteadyClock::time_point now) {
  Answer answer{now, trace.route, trace.reasons, 0, trace.total_ms};
  if (answer.reasons.size() > kReasonsMax) answer.reasons.resize(kReasonsMax);
  for (const chat::Fact& fact : trace.facts) {
    if (fact.name == "first_text_ms" && !fact.is_text) answer.first_text_ms = fact.number;
  }
  std::lock_guard lock(mutex_);
  answers_.push_back(std::move(answer));
  if (answers_.size() > kAnswersMax) answers_.pop_front();
}

RecentAnswers Recent::look(SteadyClock::time_point now) const {
  RecentAnswers out;
  out.window_s = kWindow.count() / 1000;
  std::map<std::string, int64_t> reasons;
  std::vector<double> first_texts, totals;
  {
    std::lock_guard lock(mutex_);
    for (const Answer& answer : answers_) {
      if (answer.at + kWindow < now) continue;
      ++(answer.route == "local" ? out.local : answer.route == "upstream" ? out.upstream : out.mixed);
      for (const std::string& reason : answer.reasons) ++reasons[reason];
      if (answer.first_text_ms > 0) first_texts.push_back(answer.first_text_ms);
      totals.push_back(answer.total_ms);
    }
  }
  for (auto& [name, count] : reasons) out.reasons.push_back({name, count});
  std::stable_sort(out.reasons.begin(), out.reasons.end(),
                   [](const ReasonCount& a, const ReasonCount& b) { return a.count > b.count; });
  out.first_text_p50_ms = quantile(first_texts, 50);
  out.first_text_p95_ms = quantile(first_texts, 95);
  out.total_p50_ms = quantile(totals, 50);
  out.total_p95_ms = quantile(totals, 95);
  return out;
}

}  // namespace hedge::server
