// Speculation without a second model: what followed when the last tokens stood before is a draft of what
// follows now. Draft tokens go through the model as further rows of the decode batch, which costs less than
// steps of their own, and count as far as the sampler chooses them anyway. The same bits either way
// (model::Mode::kDecode); what is decided here is only what pays. Pure: times are passed in. Engine thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "engine/suffix_automaton.h"
#include "model/forward.h"

namespace hedge::engine {

enum class Speculate : uint8_t {
  kOff,
  kAuto,    // where the measured costs say that it pays
  kAlways,  // wherever there is a draft, and as long a one as fits: for tests and measurements
};
// kInvalidArgument, with the field "speculation", names the values there are.
Result<Speculate> parse_speculate(std::string_view name);

// How often the draft's next token was right, by the length of the match it continues.
class Acceptance {
 public:
  double of(size_t length) const;
  void observe(size_t length, bool right);

 private:
  static constexpr size_t kClasses = 7;  // 1, 2, 3 to 4, 5 to 8, 9 to 16, 17 to 32, more
  static size_t class_of(size_t length);

  // Both forget: the last 32 or so observations count.
  std::array<double, kClasses> right_{};
  std::array<double, kClasses> seen_{};
};

// One sequence's index and what was learned from it. Its acceptance is learned at every token, drafted or
// not.
class Drafter {
 public:
  explicit Drafter(size_t tokens_max) : index_(tokens_max) {}

  // A new sequence; its first `prompt_tokens` tokens teach nothing about acceptance.
  void begin(size_t prompt_tokens);
  // Takes in what is new of the sequence, at most `most` tokens.
  void read(std::span<const int32_t> tokens, size_t most);
  // Whether there is a draft after the last of `tokens`.
  bool has_draft(std::span<const int32_t> tokens) const {
    return index_.size() == tokens.size() && index_.match().length > 0;
  }
  // The draft's token `i` and its probability, given that those before it are right. REQUIRES: has_draft().
  int32_t draft(std::span<const int32_t> tokens, size_t i) const;
  double acceptance(size_t i) const { return acceptance_.of(index_.match().length + i); }

 private:
  SuffixAutomaton index_;
  Acceptance acceptance_;
  size_t prompt_tokens_ = 0;
};

// Seconds that a decode batch takes, by its number of rows.
class BatchCosts {
 public:
  void observe(size_t rows, double seconds);
  // Measured, or concluded from its neighbours. REQUIRES: settled() for some fewer rows, or as many.
  double of(size_t rows) const;
  // Measured lately, and often enough to be compared with.
  bool settled(size_t rows) const;

 private:
  struct Entry {
    double seconds = 0;
    uint64_t batch = 0;  // of the last measurement
    int count = 0;       // of measurements, up to kSettledCount
  };
  bool fresh(size_t rows) const;

  std::array<Entry, model::kDecodeRowsMax + 1> entries_{};
  uint64_t batches_ = 0;
};

// What one sequence could draft, and what it may.
struct DraftPlan {
  const Drafter* drafter;  // null: nothing
  size_t rows_max;         // further rows that it may have
  size_t rows = 0;         // set by Speculation::plan()
};

// Decides for the whole batch. However wrong its estimates are, over the engine's life it loses about two
// steps and one part in 128 of the time at most: what drafts win and lose is booked, and nothing is drafted
// while the account is in the red.
class Speculation {
 public:
  explicit Speculation(Speculate policy) : policy_(policy) {}

  // Shares out the rows that the decode batch has left; plans.size() sequences have one row each.
  void plan(std::span<DraftPlan> plans);

  // The batch's time for all rows, and that for choosing `tokens` tokens of `sequences` sequences from them.
  void observe(size_t sequences, size_t rows, size_t tokens, double batch_seconds, double choose_seconds);

 private:
  bool may_draft(size_t sequences) const;
  double tokens_per_second(size_t rows, double tokens) const;

  const Speculate policy_;
  BatchCosts costs_;
  double choose_seconds_ = 0;  // per token
  double account_ = 2;         // in steps without drafts
  size_t drafts_in_a_row_ = 0;
};

}  // namespace hedge::engine
