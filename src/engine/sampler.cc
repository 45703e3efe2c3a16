#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hedge::engine {
namespace {

using Candidate = SamplerScratch::Candidate;

constexpr float kBanned = -std::numeric_limits<float>::infinity();
// Without top-k the nucleus is still looked for among this many best tokens first; a flat distribution takes
// them all.
constexpr size_t kFirstCandidates = 256;

bool better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The `count` best logits, sorted, by a bounded heap: one compare per token once the heap is full.
void best_candidates(std::span<const float> logits, size_t count, std::vector<Candidate>& out) {
  out.clear();
  count = std::min(count, logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const Candidate candidate{static_cast<int32_t>(i), logits[i]};
    if (out.size() < count) {
      out.push_back(candidate);
      std::push_heap(out.begin(), out.end(), better);
    } else if (candidate.logit > out.front().logit) {
      std::pop_heap(out.begin(), out.end(), better);
      out.back() = candidate;
      std::push_heap(out.begin(), out.end(), better);
    }
  }
  std::sort_heap(out.begin(), out.end(), better);
}

size_t argmax(std::span<const float> logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

bool wants_any(const InfoWanted& wanted) { return wanted.logprob || wanted.confidence || wanted.top > 0; }

void describe(std::span<const float> logits, const InfoWanted& wanted, const kernels::Table& table,
              SamplerScratch& scratch, chat::TokenInfo& info, float& log_norm) {
  const float top = table.max_of(logits.data(), logits.size());
  std::copy(logits.begin(), logits.end(), scratch.work.data());
  const float sum = table.exp_sum(scratch.work.data(), top, logits.size());
  log_norm = top + std::log(sum);
  if (wanted.confidence) {
    // Entropy = log Z - E[logit]; the expectation is taken around the maximum to keep its digits.
    double expected = 0;
    float first = 0, second = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      const float p = scratch.work[i];
      if (p > 0) expected += static_cast<double>(p) * (logits[i] - top);
      if (p > first) {
        second = first;
        first = p;
      } else if (p > second) {
        second = p;
      }
    }
    info.margin = (first - second) / sum;
    info.entropy = static_cast<float>(std::max(0.0, std::log(static_cast<double>(sum)) - expected / sum));
  }
  if (wanted.top > 0) {
    best_candidates(logits, static_cast<size_t>(wanted.top), scratch.candidates);
    for (const Candidate& c : scratch.candidates) info.top.push_back({c.id, {}, c.logit - log_norm});
  }
}

}  // namespace

SamplerScratch::SamplerScratch(size_t vocab) : work(vocab) { candidates.reserve(vocab); }

void Sampler::penalize(std::span<float> logits, std::span<const int32_t> history) const {
  const bool repeat = sampling_.repeat_penalty != 1.0f;
  if (!repeat && sampling_.presence_penalty == 0 && sampling_.frequency_penalty == 0) return;
  const size_t last =
      sampling_.repeat_last_n < 0 ? history.size() : static_cast<size_t>(sampling_.repeat_last_n);
  const std::span<const int32_t> recent = history.subspan(history.size() - std::min(last, history.size()));
  for (size_t i = 0; i < recent.size(); ++i) {
    const int32_t id = recent[i];
    if (std::find(recent.begin(), recent.begin() + static_cast<long>(i), id) !=
        recent.begin() + static_cast<long>(i)) {
      continue;  // Each token is penalised once, at its first place.
    }
    const auto count = std::count(recent.begin(), recent.end(), id);
    float& logit = logits[static_cast<size_t>(id)];
    if (repeat) logit = logit > 0 ? logit / sampling_.repeat_penalty : logit * sampling_.repeat_penalty;
    logit -= sampling_.presence_penalty + static_cast<float>(count) * sampling_.frequency_penalty;
  }
}

int32_t Sampler::draw(std::vector<Candidate>& candidates) {
  // Cut the nucleus on the untempered distribution, then temper, then draw.
  const float top = candidates.front().logit;
  double total = 0;
  for (const Candidate& c : candidates) total += std::exp(c.logit - top);
  size_t keep = candidates.size();
  if (sampling_.top_p < 1.0f) {
    double sum = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      sum += std::exp(candidates[i].logit - top) / total;
      if (sum >= sampling_.top_p) {
        keep = i + 1;
        break;
      }
    }
  }
  if (sampling_.min_p > 0) {
    const float floor = top + std::log(sampling_.min_p);
    while (keep > 1 && candidates[keep - 1].logit < floor) --keep;
  }
  total = 0;
  for (size_t i = 0; i < keep; ++i) total += std::exp((candidates[i].logit - top) / sampling_.temperature);
  double target = rng_.uniform() * total;
  for (size_t i = 0; i < keep; ++i) {
    target -= std::exp((candidates[i].logit - top) / sampling_.temperature);
    if (target < 0) return candidates[i].id;
  }
  return candidates[keep - 1].id;
}

int32_t Sampler::choose(std::span<float> logits, std::span<const int32_t> history,
                        std::span<const int32_t> banned, const InfoWanted& wanted,
                        const kernels::Table& table, SamplerScratch& scratch, chat::TokenInfo& info) {
  float log_norm = 0;
  const bool describe_it = wants_any(wanted);
  if (describe_it) describe(logits, wanted, table, scratch, info, log_norm);
  for (const int32_t id : banned) logits[static_cast<size_t>(id)] = kBanned;
  const bool penalized =
      sampling_.repeat_penalty != 1.0f || sampling_.presence_penalty != 0 || sampling_.frequency_penalty != 0;
  if (penalized) {
    std::copy(logits.begin(), logits.end(),
              scratch.work.data());  // The chosen token's own logit is still needed.
    penalize(logits, history);
  }
  int32_t id;
  if (sampling_.temperature <= 0) {
    id = static_cast<int32_t>(argmax(logits));
  } else {
    const size_t count = sampling_.top_k > 0 ? static_cast<size_t>(sampling_.top_k) : kFirstCandidates;
    best_candidates(logits, count, scratch.candidates);
    if (sampling_.top_k <= 0) {
      // All tokens compete. When the best few do not settle the nucleus and min-p, take and sort every one.
      const float top = scratch.candidates.front().logit;
      const bool settled = sampling_.min_p > 0 &&
                           scratch.candidates.back().logit < top + std::log(sampling_.min_p) &&
                           sampling_.top_p >= 1.0f;
      if (!settled) best_candidates(logits, logits.size(), scratch.candidates);
    }
    while (scratch.candidates.size() > 1 && scratch.candidates.back().logit == kBanned)
      scratch.candidates.pop_back();
    id = draw(scratch.candidates);
  }
  info.chosen.id = id;
  const float raw_logit = penalized ? scratch.work[static_cast<size_t>(id)] : logits[static_cast<size_t>(id)];
  if (describe_it) info.chosen.logprob = raw_logit - log_norm;
  return id;
}

void describe_choice(std::span<const float> logits, int32_t id, const InfoWanted& wanted,
                     const kernels::Table& table, SamplerScratch& scratch, chat::TokenInfo& info) {
  info.chosen.id = id;
  if (!wants_any(wanted)) return;
  float log_norm = 0;
  describe(logits, wanted, table, scratch, info, log_norm);
  info.chosen.logprob = logits[static_cast<size_t>(id)] - log_norm;
}

int32_t choose_constrained(std::span<const float> logits, const text::Tokenizer& tokenizer,
                           std::string_view must) {
  int32_t best = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    const int32_t id = static_cast<int32_t>(i);
    if (best >= 0 && logits[i] <= logits[static_cast<size_t>(best)]) continue;
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (bytes.empty()) continue;
    const size_t common = std::min(bytes.size(), must.size());
    if (bytes.substr(0, common) == must.substr(0, common)) best = id;
  }
  return best;
}

}  // namespace hedge::engine
