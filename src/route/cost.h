// The one formula: what the upstream is expected to add, against what it costs. Predicted from measured
// speeds. Pure but for the Predictor, which is thread-safe.
//
//   net = (gain + bias) * value - money - price_per_second * (upstream_s - local_s) + energy - switch
//
// Everything is in one currency, that of [upstream] price_in and price_out. The upstream is worth it when net
// > 0. The energy is that of the local answer minus that of the upstream's: what the upstream draws and what
// the way there and back takes, where the operator pays for them or minds them (a fog node of one's own); by
// default both are 0, for a provider's energy is in its price.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "chat/event.h"

namespace hedge::route {

// Expected quality of the upstream's answer minus that of the local one, -1..1, and who says so.
struct GainEstimate {
  double value = 0;
  std::string_view source = "prior";  // lives as long as the program
};

enum class Term : uint8_t {
#define HEDGE_TERM(enumerator, name, help) enumerator,
#include "route/term_list.inc"
#undef HEDGE_TERM
};
inline constexpr std::array kTermNames = {
#define HEDGE_TERM(enumerator, name, help) std::string_view(name),
#include "route/term_list.inc"
#undef HEDGE_TERM
};
using Terms = std::array<double, kTermNames.size()>;  // by Term

// The weights of the formula; keys of [policy] and [upstream].
struct Prices {
  double value_per_answer = 0.01;   // of an answer that is right instead of wrong
  double price_per_second = 0.001;  // of waiting
  double energy_price_kwh = 0.3;
  double local_watts = 15;
  double switch_cost = 0.0005;
  double upstream_in = 0;         // per million tokens
  double upstream_out = 0;        // per million tokens
  double upstream_watts = 0;      // what the upstream draws more while it makes one answer
  double network_kwh_per_gb = 0;  // of what is sent and received
};

// Measured, as exponentially weighted means; before anything is measured, guesses for a small machine and a
// far service.
struct Speeds {
  double local_prefill_tps = 200;  // tokens per second
  double local_decode_tps = 20;
  double upstream_first_ms = 800;  // until the first piece
  double upstream_decode_tps = 50;
  double answer_tokens = 128;
  int64_t local_answers = 0;  // measured
  int64_t upstream_answers = 0;
};

// What one answer would take.
struct Load {
  double prompt_tokens = 0;
  int answer_tokens_max = -1;  // of the request; -1: none
  int active = 0;              // answers that the local backend is making
  int queued = 0;              // and those that wait there
};

struct Prediction {
  double prompt_tokens = 0;
  double answer_tokens = 0;
  double local_ms = 0;  // until the end of the answer
  double upstream_ms = 0;
};

// Queue: those who wait are served as fast as those at work leave, one mean answer each.
Prediction predict(const Speeds& speeds, const Load& load);

Terms cost_terms(const Prediction& prediction, const Prices& prices, double gain, double bias,
                 bool conversation_begun);
double net_of(const Terms& terms);

// What tokens cost upstream, in billionths of the currency, rounded up.
int64_t cost_nanos(const Prices& prices, int64_t prompt_tokens, int64_t completion_tokens);

// An amount of money in billionths; above what fits: the most that does.
int64_t to_nanos(double money);

// How long the upstream took to its first text, of its last answers (at most Predictor::kFirstTexts).
struct FirstTexts {
  size_t count = 0;
  double p50_ms = 0, p95_ms = 0;  // nearest rank
};

class Predictor {
 public:
  static constexpr size_t kFirstTexts = 64;

  // Of an answer that ended here, as the engine measured it. Parts that took no time tell nothing.
  void observe_local(const chat::Usage& usage);
  void observe_first_text(double ms);  // of the upstream, since it was asked
  // The rest of its answer, since its first text; 0 where it was broken off.
  void observe_upstream(double rest_ms, int tokens);
  Speeds speeds() const;
  FirstTexts upstream_first_texts() const;

 private:
  mutable std::mutex mutex_;
  Speeds speeds_;
  int64_t prefills_ = 0, decodes_ = 0, answers_ = 0, rests_ = 0;
  std::array<double, kFirstTexts> first_texts_ms_{};  // a ring of speeds_.upstream_answers values
};

// Tokens of a text whose tokenizer is not asked: four bytes each, as English text has with vocabularies of 32
// k to 256 k.
inline double estimated_tokens(double bytes) { return bytes / 4; }

}  // namespace hedge::route
