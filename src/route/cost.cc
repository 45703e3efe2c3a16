#include "route/cost.h"

#include <algorithm>
#include <cmath>

namespace hedge::route {
namespace {

// Of the newest value: half of the weight lies on the last two to three answers, a change shows within ten.
constexpr double kNewest = 0.25;
constexpr double kMsPerSecond = 1000;
constexpr double kJoulesPerKwh = 3.6e6;
constexpr double kTokensPerPrice = 1e6;
constexpr double kBytesPerGb = 1e9;
// On the way there a token is its text, on the way back an event of a stream: some 250 bytes of JSON around
// four of text (a chunk of OpenAI's chat completions).
constexpr double kBytesPerTokenUp = 4, kBytesPerTokenDown = 250;
constexpr int64_t kNanosMax = INT64_MAX / 4;  // sums of two stay in range

// The first value replaces the guess.
void fold(double& mean, double value, int64_t& count) {
  if (!std::isfinite(value) || value <= 0) return;
  mean = count++ == 0 ? value : mean + kNewest * (value - mean);
}

int64_t bounded(double nanos) {
  if (!(nanos > 0)) return 0;
  return nanos >= static_cast<double>(kNanosMax) ? kNanosMax : static_cast<int64_t>(nanos);
}

}  // namespace

Prediction predict(const Speeds& speeds, const Load& load) {
  Prediction out;
  out.prompt_tokens = load.prompt_tokens;
  out.answer_tokens = load.answer_tokens_max >= 0
                          ? std::min<double>(load.answer_tokens_max, speeds.answer_tokens)
                          : speeds.answer_tokens;
  const double decode_ms = out.answer_tokens / speeds.local_decode_tps * kMsPerSecond;
  const double alone_ms = out.prompt_tokens / speeds.local_prefill_tps * kMsPerSecond + decode_ms;
  const double others_ms = speeds.answer_tokens / speeds.local_decode_tps * kMsPerSecond;
  const double wait_ms = load.queued > 0 ? others_ms * load.queued / std::max(load.active, 1) : 0;
  out.local_ms = wait_ms + alone_ms;
  out.upstream_ms = speeds.upstream_first_ms + out.answer_tokens / speeds.upstream_decode_tps * kMsPerSecond;
  return out;
}

Terms cost_terms(const Prediction& prediction, const Prices& prices, double gain, double bias,
                 bool conversation_begun) {
  Terms terms = {};
  const auto set = [&](Term term, double value) { terms[static_cast<size_t>(term)] = value; };
  set(Term::kGain, gain * prices.value_per_answer);
  set(Term::kBias, bias * prices.value_per_answer);
  set(Term::kMoney,
      -(prediction.prompt_tokens * prices.upstream_in + prediction.answer_tokens * prices.upstream_out) /
          kTokensPerPrice);
  set(Term::kLatency,
      -prices.price_per_second * (prediction.upstream_ms - prediction.local_ms) / kMsPerSecond);
  const double joules_saved =
      (prices.local_watts * prediction.local_ms - prices.upstream_watts * prediction.upstream_ms) /
      kMsPerSecond;
  const double bytes =
      prediction.prompt_tokens * kBytesPerTokenUp + prediction.answer_tokens * kBytesPerTokenDown;
  const double network_kwh = prices.network_kwh_per_gb * bytes / kBytesPerGb;
  set(Term::kEnergy, prices.energy_price_kwh * (joules_saved / kJoulesPerKwh - network_kwh));
  set(Term::kSwitch, conversation_begun ? -prices.switch_cost : 0);
  return terms;
}

double net_of(const Terms& terms) {
  double sum = 0;
  for (const double term : terms) sum += term;
  return sum;
}

int64_t cost_nanos(const Prices& prices, int64_t prompt_tokens, int64_t completion_tokens) {
  // A price per million tokens is that many thousand billionths per token.
  return bounded(std::ceil(
      1000.0 * (static_cast<double>(std::max<int64_t>(prompt_tokens, 0)) * prices.upstream_in +
                static_cast<double>(std::max<int64_t>(completion_tokens, 0)) * prices.upstream_out)));
}

int64_t to_nanos(double money) { return bounded(std::ceil(money * 1e9)); }

void Predictor::observe_local(const chat::Usage& usage) {
  std::lock_guard lock(mutex_);
  const int read = usage.prompt_tokens - usage.cached_tokens;
  if (read > 0 && usage.prefill_ms > 0)
    fold(speeds_.local_prefill_tps, read / usage.prefill_ms * kMsPerSecond, prefills_);
  if (usage.completion_tokens > 1 && usage.decode_ms > 0)
    fold(speeds_.local_decode_tps, usage.completion_tokens / usage.decode_ms * kMsPerSecond, decodes_);
  fold(speeds_.answer_tokens, usage.completion_tokens, answers_);
  ++speeds_.local_answers;
}

void Predictor::observe_first_text(double ms) {
  if (!std::isfinite(ms) || ms <= 0) return;
  std::lock_guard lock(mutex_);
  first_texts_ms_[static_cast<size_t>(speeds_.upstream_answers) % kFirstTexts] = ms;
  fold(speeds_.upstream_first_ms, ms, speeds_.upstream_answers);
}

FirstTexts Predictor::upstream_first_texts() const {
  FirstTexts out;
  std::array<double, kFirstTexts> sorted;
  {
    std::lock_guard lock(mutex_);
    sorted = first_texts_ms_;
    out.count = std::min(static_cast<size_t>(speeds_.upstream_answers), kFirstTexts);
  }
  if (out.count == 0) return out;
  std::sort(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(out.count));
  out.p50_ms = sorted[out.count * 50 / 100];
  out.p95_ms = sorted[out.count * 95 / 100];
  return out;
}

void Predictor::observe_upstream(double rest_ms, int tokens) {
  std::lock_guard lock(mutex_);
  if (tokens > 1 && rest_ms > 0)
    fold(speeds_.upstream_decode_tps, (tokens - 1) / rest_ms * kMsPerSecond, rests_);
  fold(speeds_.answer_tokens, tokens, answers_);
}

Speeds Predictor::speeds() const {
  std::lock_guard lock(mutex_);
  return speeds_;
}

}  // namespace hedge::route
