// What this device learns from its users: one number per kind of prompt, added to the expected gain. It is
// bounded, so that many votes weigh little more than some, and it only enters the formula: no gate, rule or
// budget looks at it.
//
// Per kind, with votes v_i in -1..1 (above zero: the upstream should have answered):
//   bias = bias_max * sum(v_i) / (n + 8)
// The 8 are shrinkage: eight votes of one mind move it half of the way. After 256 votes old ones fade, so
// that it follows another model.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"

namespace hedge::route {

// Kinds of prompts by form and length of the last user's message; the text itself is not kept.
inline constexpr size_t kKinds = 16;
size_t kind_of(const chat::Request& request);
std::string kind_name(size_t kind);  // "code, short"
std::optional<size_t> kind_named(std::string_view name);
// Under this name a trace has it.
inline constexpr const char* kKindFact = "kind";

enum class Signal : uint8_t { kThumbsUp, kThumbsDown, kRegenerate, kEdit, kEscalate };
std::vector<std::string> signal_names();
Result<Signal> parse_signal(std::string_view name);
std::string_view name_of(Signal signal);
// Whether it says that the answer was right.
inline bool says_right(Signal signal) { return signal == Signal::kThumbsUp; }

// -1..1: what a signal about an answer says for the upstream. An upstream's answer that was bad says less,
// since nobody knows that the local one would have been better.
double vote_of(Signal signal, bool answered_locally);

struct Votes {
  double sum = 0;
  double count = 0;
};

// Thread-safe.
class Learned {
 public:
  void vote(size_t kind, double vote);
  double bias(size_t kind, double bias_max) const;
  std::array<Votes, kKinds> votes() const;
  void wipe();

  // One line per kind that has votes: "KIND<tab>SUM<tab>COUNT", after a first line "hedge learned 1".
  std::string to_text() const;
  // Replaces all. kCorrupt names the line; then nothing has changed.
  Status from_text(std::string_view text);

 private:
  mutable std::mutex mutex_;
  std::array<Votes, kKinds> votes_ = {};
};

}  // namespace hedge::route
