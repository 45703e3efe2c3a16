#include "route/confidence.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace hedge::route {
namespace {

constexpr int kWindowMax = 4096;  // bounds the memory that a policy can ask for

}  // namespace

double quantile(std::span<double> values, double q) {
  HEDGE_CHECK(!values.empty());
  const double position = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(position);
  const auto nth = values.begin() + static_cast<ptrdiff_t>(below);
  std::nth_element(values.begin(), nth, values.end());
  const double fraction = position - static_cast<double>(below);
  if (fraction == 0) return *nth;
  const double above = *std::min_element(nth + 1, values.end());
  return *nth + fraction * (above - *nth);
}

ConfidenceMonitor::ConfidenceMonitor(const Confidence& rule)
    : rule_(rule),
      capacity_(
          static_cast<size_t>(std::clamp(std::max(rule.first_tokens, rule.window_tokens), 1, kWindowMax))),
      margins_(capacity_),
      entropies_(capacity_) {
  scratch_.reserve(capacity_);
}

void ConfidenceMonitor::push(const chat::TokenInfo& token) {
  const size_t slot = static_cast<size_t>(tokens_) % capacity_;
  // A distribution that is no number is as unsure as one can be.
  margins_[slot] = std::isfinite(token.margin) ? token.margin : 0;
  entropies_[slot] = std::isfinite(token.entropy) ? token.entropy : HUGE_VAL;
  ++tokens_;
}

Judgement ConfidenceMonitor::judge(size_t count, double margin_quantile, double margin_min,
                                   double entropy_quantile, double entropy_max) {
  Judgement judgement;
  judgement.tokens = static_cast<int>(count);
  judgement.threshold = margin_min;
  if (count == 0) return judgement;
  const auto last = [&](const std::vector<double>& ring, double q) {
    scratch_.clear();
    for (size_t i = 0; i < count; ++i)
      scratch_.push_back(ring[(static_cast<size_t>(tokens_) - 1 - i) % capacity_]);
    return quantile(scratch_, q);
  };
  judgement.value = last(margins_, margin_quantile);
  judgement.unsure = judgement.value < margin_min;
  if (judgement.unsure) return judgement;
  const double entropy = last(entropies_, entropy_quantile);
  if (entropy > entropy_max) return Judgement{true, "entropy", entropy, entropy_max, judgement.tokens};
  return judgement;
}

Judgement ConfidenceMonitor::judge_first() {
  const size_t count = std::min(static_cast<size_t>(tokens_), capacity_);
  return judge(count, rule_.first_margin_quantile, rule_.first_margin_min, rule_.first_entropy_quantile,
               rule_.first_entropy_max);
}

std::optional<Judgement> ConfidenceMonitor::judge_mid() {
  const int window = std::clamp(rule_.window_tokens, 1, static_cast<int>(capacity_));
  if (tokens_ < window || tokens_ % std::max(rule_.check_every_tokens, 1) != 0) return std::nullopt;
  Judgement judgement = judge(static_cast<size_t>(window), rule_.mid_margin_quantile, rule_.mid_margin_min,
                              rule_.mid_entropy_quantile, rule_.mid_entropy_max);
  unsure_in_a_row_ = judgement.unsure ? unsure_in_a_row_ + 1 : 0;
  judgement.unsure = unsure_in_a_row_ >= std::max(rule_.mid_checks_in_a_row, 1);
  return judgement;
}

}  // namespace hedge::route
