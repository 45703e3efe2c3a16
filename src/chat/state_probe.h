// What a probe is to an engine: something that reads the local model's states while an answer is made, and
// says how likely the answer is wrong. The engine knows no more of it, and whoever implements it nothing of
// engines.
#pragma once

#include <memory>
#include <span>

#include "chat/event.h"

namespace hedge::chat {

// As in States, where they lie.
struct StateView {
  std::span<const float> prompt;  // [2, blocks, dim]
  std::span<const float> answer;  // [blocks, dim]
  int tokens = 0;
};

// Follows one answer, on the engine's thread. Allocates nothing.
class AnswerProbe {
 public:
  virtual ~AnswerProbe() = default;

  // A token of the answer was chosen, with all facts of TokenInfo but its name. End tokens and healed ones
  // are not told.
  virtual void token(const TokenInfo& token) = 0;
  // Whether wrong() is worth its price after the tokens so far.
  virtual bool wants() const = 0;
  // Probability that the answer is, or will be, wrong; of the tokens that were told and the states of those
  // before them.
  virtual float wrong(const StateView& states) = 0;
};

// Immutable, thread-safe.
class StateProbe {
 public:
  virtual ~StateProbe() = default;

  virtual std::span<const int> blocks() const = 0;  // whose states it reads, rising
  virtual std::unique_ptr<AnswerProbe> begin() const = 0;
};

}  // namespace hedge::chat
