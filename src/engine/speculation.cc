#include "engine/speculation.h"

#include <algorithm>
#include <bit>
#include <string>

namespace hedge::engine {
namespace {

// Before a sequence has shown anything: by class of match length, worth kPriorWeight observations.
constexpr double kPrior[] = {0.25, 0.4, 0.55, 0.7, 0.8, 0.85, 0.9};
constexpr double kPriorWeight = 4;
constexpr double kForget = 31.0 / 32;

// Until batches of two sizes were measured, another row is taken to cost so much of a batch of one.
constexpr double kRowShare = 0.5;
// Interference only ever adds time, so a batch's time follows faster downwards than upwards, and one
// measurement counts for at most kOutlier times what was known.
constexpr double kFollowDown = 1.0 / 4;
constexpr double kFollowUp = 1.0 / 16;
constexpr double kOutlier = 2;
// Of the first so many the least counts.
constexpr int kSettledCount = 4;
// A number of rows that looked too dear is looked at again after so many batches: one bad step in them.
constexpr uint64_t kFreshBatches = 512;

// The account: so much of each step without drafts is credit, up to kCreditMax; wins are kept up to kWinsMax.
constexpr double kCreditShare = 128;
constexpr double kCreditMax = 2;
constexpr double kWinsMax = 8;
// So much longer than known may a batch take before the rest is put down to something else.
constexpr double kInterferenceMax = 1.25;
// Expected winnings below this are noise.
constexpr double kGainMin = 1.03;
// After so many steps with drafts one without, so that there is something to compare with.
constexpr size_t kDraftsInARowMax = 32;

}  // namespace

Result<Speculate> parse_speculate(std::string_view name) {
  if (name == "off") return Speculate::kOff;
  if (name == "auto") return Speculate::kAuto;
  if (name == "always") return Speculate::kAlways;
  return make_error(
      ErrorCode::kInvalidArgument,
      "speculation: expected \"auto\", \"off\" or \"always\", got \"" + std::string(name) + "\"",
      "speculation");
}

// ---- Acceptance ----

size_t Acceptance::class_of(size_t length) {
  return std::min<size_t>(kClasses - 1, static_cast<size_t>(std::bit_width(length - 1)));
}

double Acceptance::of(size_t length) const {
  const size_t c = class_of(length);
  return (right_[c] + kPrior[c] * kPriorWeight) / (seen_[c] + kPriorWeight);
}

void Acceptance::observe(size_t length, bool right) {
  const size_t c = class_of(length);
  right_[c] = right_[c] * kForget + (right ? 1 : 0);
  seen_[c] = seen_[c] * kForget + 1;
}

// ---- Drafter ----

void Drafter::begin(size_t prompt_tokens) {
  index_.clear();
  acceptance_ = {};
  prompt_tokens_ = prompt_tokens;
}

void Drafter::read(std::span<const int32_t> tokens, size_t most) {
  const size_t end = std::min(tokens.size(), index_.size() + most);
  while (index_.size() < end) {
    const size_t i = index_.size();
    const SuffixAutomaton::Match match = index_.match();
    if (i >= prompt_tokens_ && match.length > 0)
      acceptance_.observe(match.length, tokens[match.next] == tokens[i]);
    index_.append(tokens[i]);
  }
}

int32_t Drafter::draft(std::span<const int32_t> tokens, size_t i) const {
  // Past the end of the sequence the draft continues itself: a repetition goes on.
  const size_t next = index_.match().next;
  return tokens[next + i % (tokens.size() - next)];
}

// ---- BatchCosts ----

void BatchCosts::observe(size_t rows, double seconds) {
  Entry& entry = entries_[rows];
  if (!fresh(rows)) entry.count = 0;
  if (entry.count < kSettledCount) {
    entry.seconds = entry.count == 0 ? seconds : std::min(seconds, entry.seconds);
    ++entry.count;
  } else {
    const double now = std::min(seconds, kOutlier * entry.seconds);
    entry.seconds += (now - entry.seconds) * (now < entry.seconds ? kFollowDown : kFollowUp);
  }
  entry.batch = ++batches_;
}

bool BatchCosts::fresh(size_t rows) const {
  return entries_[rows].count > 0 && batches_ - entries_[rows].batch < kFreshBatches;
}

bool BatchCosts::settled(size_t rows) const { return fresh(rows) && entries_[rows].count >= kSettledCount; }

double BatchCosts::of(size_t rows) const {
  if (fresh(rows)) return entries_[rows].seconds;
  size_t below = rows - 1;
  while (below > 1 && !fresh(below)) --below;
  size_t other = rows + 1;  // Between two sizes that are known, else on beyond the largest two.
  while (other <= model::kDecodeRowsMax && !fresh(other)) ++other;
  if (other > model::kDecodeRowsMax) {
    other = below - 1;
    while (other > 0 && !fresh(other)) --other;
  }
  const double from = entries_[below].seconds;
  const double known = static_cast<double>(below);
  const double slope = other > 0 ? (entries_[other].seconds - from) / (static_cast<double>(other) - known)
                                 : from * kRowShare / (1 + kRowShare * (known - 1));
  return from + std::max(0.0, slope) * (static_cast<double>(rows) - known);
}

// ---- Speculation ----

bool Speculation::may_draft(size_t sequences) const {
  if (sequences >= model::kDecodeRowsMax) return false;  // no row is left
  switch (policy_) {
    case Speculate::kOff:
      return false;
    case Speculate::kAlways:
      return true;
    case Speculate::kAuto:
      return costs_.settled(sequences) && account_ > 0 && drafts_in_a_row_ < kDraftsInARowMax;
  }
  return false;
}

double Speculation::tokens_per_second(size_t rows, double tokens) const {
  return tokens / (costs_.of(rows) + tokens * choose_seconds_);
}

void Speculation::plan(std::span<DraftPlan> plans) {
  const size_t sequences = plans.size();
  for (DraftPlan& plan : plans) plan.rows = 0;
  if (sequences == 0 || !may_draft(sequences)) return;
  std::array<double, model::kDecodeRowsMax> reach{};  // by sequence: that its drafts and one more are right
  const auto reach_end = reach.begin() + static_cast<long>(sequences);
  for (size_t s = 0; s < sequences; ++s) {
    if (plans[s].rows_max > 0) reach[s] = plans[s].drafter->acceptance(0);
  }
  // Row by row to the sequence whose next draft token is the likeliest to count. Kept are as many as give the
  // most tokens per second.
  const bool always = policy_ == Speculate::kAlways;
  double tokens = static_cast<double>(sequences);
  double best = always ? 0 : kGainMin * tokens_per_second(sequences, tokens);
  std::array<size_t, model::kDecodeRowsMax> order{};
  size_t count = 0, kept = 0;
  while (sequences + count < model::kDecodeRowsMax) {
    const size_t s = static_cast<size_t>(std::max_element(reach.begin(), reach_end) - reach.begin());
    if (reach[s] <= 0) break;
    DraftPlan& plan = plans[s];
    tokens += reach[s];
    order[count++] = s;
    ++plan.rows;
    reach[s] = plan.rows < plan.rows_max ? reach[s] * plan.drafter->acceptance(plan.rows) : 0;
    const double now = always ? 0 : tokens_per_second(sequences + count, tokens);
    if (always || now > best) {
      best = now;
      kept = count;
    }
  }
  while (count > kept) --plans[order[--count]].rows;
}

void Speculation::observe(size_t sequences, size_t rows, size_t tokens, double batch_seconds,
                          double choose_seconds) {
  if (policy_ != Speculate::kAuto || rows > model::kDecodeRowsMax || tokens == 0) return;
  const double each = choose_seconds / static_cast<double>(tokens);
  choose_seconds_ += (each - choose_seconds_) * (choose_seconds_ > 0 ? kFollowUp : 1);
  const bool drafted = rows > sequences;
  const double step_seconds = drafted ? costs_.of(sequences) : 0;
  costs_.observe(rows, batch_seconds);
  if (!drafted) {
    drafts_in_a_row_ = 0;
    if (account_ < kCreditMax) account_ = std::min(kCreditMax, account_ + 1 / kCreditShare);
  } else {
    ++drafts_in_a_row_;
    // A batch that took much longer than is known of its size was disturbed: not the draft's fault.
    const double spent = std::min(batch_seconds, kInterferenceMax * costs_.of(rows));
    account_ += static_cast<double>(tokens) / static_cast<double>(sequences) - spent / step_seconds;
    account_ = std::min(account_, kWinsMax);
  }
}

}  // namespace hedge::engine
