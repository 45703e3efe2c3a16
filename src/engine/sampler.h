// From logits to the next token. One Sampler per sequence; the scratch is shared by all sequences of the
// engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "chat/event.h"
#include "chat/request.h"
#include "kernels/table.h"
#include "os/memory.h"
#include "text/tokenizer.h"

namespace hedge::engine {

// Memory for one choice; sized once for the vocabulary, so that a decode step allocates nothing.
struct SamplerScratch {
  explicit SamplerScratch(size_t vocab);
  os::LazyArray<float> work;  // [vocab]
  struct Candidate {
    int32_t id;
    float logit;
  };
  std::vector<Candidate> candidates;  // reserve(vocab)
};

// Which facts about the choice are wanted; each costs a pass over the vocabulary.
struct InfoWanted {
  bool logprob = false;
  bool confidence = false;  // margin and entropy
  int top = 0;              // so many best tokens
};

class Sampler {
 public:
  Sampler(const chat::Sampling& sampling, uint64_t seed) : sampling_(sampling), rng_(seed) {}

  // Chooses by penalties, then top-k, top-p, min-p, temperature, as llama.cpp orders them. `history` are the
  // sequence's tokens so far. `logits` is changed. `banned` (sorted or not) can never be chosen. `info`
  // describes the distribution before any of this, ids only.
  int32_t choose(std::span<float> logits, std::span<const int32_t> history, std::span<const int32_t> banned,
                 const InfoWanted& wanted, const kernels::Table& table, SamplerScratch& scratch,
                 chat::TokenInfo& info);

 private:
  void penalize(std::span<float> logits, std::span<const int32_t> history) const;
  int32_t draw(std::vector<SamplerScratch::Candidate>& candidates);

  chat::Sampling sampling_;
  Rng rng_;
};

// Fills `info` as Sampler::choose does, for a token that was chosen otherwise.
void describe_choice(std::span<const float> logits, int32_t id, const InfoWanted& wanted,
                     const kernels::Table& table, SamplerScratch& scratch, chat::TokenInfo& info);

// The best token whose bytes agree with `must`, the text that has to come next: it begins with `must`, or
// `must` begins with it. -1 when there is none.
int32_t choose_constrained(std::span<const float> logits, const text::Tokenizer& tokenizer,
                           std::string_view must);

}  // namespace hedge::engine
