// When a probe's word is enough to send an answer upstream: a threshold on the probability that it is wrong,
// per checkpoint, set so that a promise holds (conformal risk control: Angelopoulos, Bates, Fisch, Lei,
// Schuster 2022, "Conformal Risk Control").
//
// The promise is about the mean over new questions like those of the calibration: the share of answers that
// are wrong and stay here (kMaxWrong), or the share that is sent upstream (kMaxShare), is at most the target.
// The thresholds are one family with a strictness u: the same calibrated probability at all checkpoints. With
// R(u) the mean loss over n groups of questions, each loss between 0 and 1 and falling (or rising) in u, the
// u nearest to the target with
//   n / (n + 1) R(u) + 1 / (n + 1) <= target
// keeps it. Groups, not questions, are what is drawn: a group counts once, with the mean loss of its
// questions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::route {

// The answer is over, and nothing of it was handed on.
inline constexpr int kWholeAnswer = 0;

struct Checkpoint {
  int tokens = 0;         // of the answer that were chosen, the newest included; or kWholeAnswer, the last
  double send_above = 1;  // with a probability above this the answer goes upstream
  double keep_below = 0;  // below this, held tokens are handed on at once: it hardly ever goes upstream
};

enum class Goal : uint8_t { kMaxWrong, kMaxShare };
std::string_view to_string(Goal goal);  // "max_wrong", "max_share"

struct Thresholds {
  static constexpr size_t kBytesMax = 1u << 16;

  uint64_t probe = 0;  // hash of the probe's bytes: with another one they promise nothing
  Goal goal = Goal::kMaxShare;
  double target = 0;
  size_t questions = 0, groups = 0;
  std::vector<Checkpoint> checkpoints;  // by tokens, rising, kWholeAnswer last

  // kInvalidArgument names the line, what was expected and what came.
  static Result<Thresholds> parse(std::string_view text);
  std::string to_text() const;
  // Of that checkpoint; null when it has none.
  const Checkpoint* at(int tokens) const;
  // Beyond so many tokens the thresholds know nothing.
  int last_tokens() const;
};

// The thresholds that travel inside the program, as text for Thresholds::parse, for default probes.
std::span<const std::string_view> default_thresholds();

// What a probe said in one answer whose rightness is known.
struct Trajectory {
  struct Moment {
    int tokens = 0;  // as Checkpoint::tokens
    double p_wrong = 0;
  };
  std::vector<Moment> moments;  // in their order
  int tokens = 0;               // of the whole answer
  bool wrong = false;
  uint32_t group = 0;  // trajectories of one group are much the same question
};

// Where an answer goes upstream: the index of the moment, or none.
std::optional<size_t> sent_at(const Thresholds& thresholds, const Trajectory& trajectory);

// Of answers under thresholds, as means over groups.
struct Outcome {
  double wrong = 0;  // share of all answers that are wrong and stayed here
  double share = 0;  // sent upstream
  double early = 0;  // of these, decided before a quarter of the local answer was chosen
};
Outcome outcome_of(const Thresholds& thresholds, std::span<const Trajectory> all);

// Fewer groups of questions than these promise nothing useful; and the target needs 1 / target of them.
inline constexpr size_t kCalibrationGroupsMin = 100;

// kInvalidArgument says how many groups are missing, or that the target cannot be reached. One half of
// the groups calibrates the checkpoints, the other places the threshold: `seed` cuts them.
Result<Thresholds> fit_thresholds(uint64_t probe, Goal goal, double target, std::span<const Trajectory> all,
                                  uint64_t seed = 1);

}  // namespace hedge::route
