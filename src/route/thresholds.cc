#include "route/thresholds.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "base/rng.h"
#include "route/probe_reader.h"

namespace hedge::route {
namespace {

constexpr std::string_view kHead = "hedge thresholds 1";
constexpr size_t kCheckpointsMax = 64;
constexpr int kTokensMax = 1 << 20;

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    words.push_back(line.substr(0, line.find_first_of(" \t\r")));
    line.remove_prefix(words.back().size());
  }
}

template <typename Number>
bool read(std::string_view word, Number& value, int base = 10) {
  std::from_chars_result got{};
  if constexpr (std::is_integral_v<Number>) {
    got = std::from_chars(word.data(), word.data() + word.size(), value, base);
  } else {
    got = std::from_chars(word.data(), word.data() + word.size(), value);
  }
  return got.ec == std::errc() && got.ptr == word.data() + word.size();
}

bool read_share(std::string_view word, double& value) {
  return read(word, value) && value >= 0 && value <= 1;
}

// Empty when the line is fine, else what was expected.
std::string read_line(std::string_view line, Thresholds& out) {
  const std::vector<std::string_view> words = words_of(line);
  if (words[0] == "probe") {
    if (words.size() == 2 && read(words[1], out.probe, 16)) return {};
    return "\"probe\" and a hash";
  }
  if (words[0] == "max_wrong" || words[0] == "max_share") {
    out.goal = words[0] == "max_wrong" ? Goal::kMaxWrong : Goal::kMaxShare;
    if (words.size() == 2 && read_share(words[1], out.target)) return {};
    return fmt::format("\"{}\" and a share from 0 to 1", words[0]);
  }
  if (words[0] == "questions") {
    if (words.size() == 4 && words[2] == "groups" && read(words[1], out.questions) &&
        read(words[3], out.groups))
      return {};
    return "\"questions\" and their number, \"groups\" and theirs";
  }
  constexpr std::string_view kRow =
      "tokens and two probabilities from 0 to 1, the tokens rising, \"whole\" last";
  Checkpoint point;
  const bool whole = words[0] == "whole";
  const bool fits = words.size() == 3 && out.checkpoints.size() < kCheckpointsMax &&
                    read_share(words[1], point.send_above) && read_share(words[2], point.keep_below);
  if (!fits) return std::string(kRow);
  if (!whole && (!read(words[0], point.tokens) || point.tokens < 1 || point.tokens > kTokensMax))
    return std::string(kRow);
  if (whole) point.tokens = kWholeAnswer;
  if (!out.checkpoints.empty()) {
    const int before = out.checkpoints.back().tokens;
    if (before == kWholeAnswer || (!whole && before >= point.tokens)) return std::string(kRow);
  }
  out.checkpoints.push_back(point);
  return {};
}

// At each checkpoint the probe's word means something else: what says 0.8 of two tokens may be right half of
// the time. So it is calibrated there (logistic regression on its logit: Platt 1999), and one threshold on
// what comes of that holds at all checkpoints.
struct Calibrated {
  int tokens = 0;
  double intercept = 0, slope = 1;
};

constexpr size_t kMomentsMin = 20;  // right and wrong answers each, that a checkpoint is calibrated on
constexpr double kSlopeMin = 0.05;  // a word that means nothing, or the contrary, still rises

double logit(double p) {
  const double inside = std::clamp(p, 1e-4, 1 - 1e-4);
  return std::log(inside / (1 - inside));
}
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Each trajectory's part of its group's loss.
std::vector<double> weights_of(std::span<const Trajectory> all) {
  std::map<uint32_t, double> sizes;
  for (const Trajectory& t : all) sizes[t.group] += 1;
  std::vector<double> weights;
  for (const Trajectory& t : all) weights.push_back(1 / (sizes[t.group] * static_cast<double>(sizes.size())));
  return weights;
}

// Answers that the probe was asked about there.
struct Seen {
  size_t right = 0, wrong = 0;
};

Seen seen_at(int tokens, std::span<const Trajectory> all) {
  Seen seen;
  for (const Trajectory& t : all) {
    for (const auto& moment : t.moments)
      if (moment.tokens == tokens) ++(t.wrong ? seen.wrong : seen.right);
  }
  return seen;
}

// By Newton's method; a weak prior holds intercept and slope near 0 and 1. Nothing where too little is known.
std::optional<Calibrated> calibrate_at(int tokens, std::span<const Trajectory> all) {
  const Seen seen = seen_at(tokens, all);
  if (std::min(seen.right, seen.wrong) < kMomentsMin) return std::nullopt;
  std::vector<std::pair<double, double>> points;  // logit, 1 when the answer was wrong
  for (const Trajectory& t : all) {
    for (const auto& moment : t.moments)
      if (moment.tokens == tokens) points.emplace_back(logit(moment.p_wrong), t.wrong ? 1.0 : 0.0);
  }
  Calibrated fit{tokens, 0, 1};
  for (int round = 0; round < 25; ++round) {
    double g0 = fit.intercept, g1 = fit.slope - 1, h00 = 1, h01 = 0, h11 = 1;
    for (const auto& [x, y] : points) {
      const double p = sigmoid(fit.intercept + fit.slope * x), w = p * (1 - p);
      g0 += p - y;
      g1 += (p - y) * x;
      h00 += w;
      h01 += w * x;
      h11 += w * x * x;
    }
    const double determinant = h00 * h11 - h01 * h01;
    fit.intercept -= (h11 * g0 - h01 * g1) / determinant;
    fit.slope -= (h00 * g1 - h01 * g0) / determinant;
  }
  fit.slope = std::max(fit.slope, kSlopeMin);
  return fit;
}

std::vector<Calibrated> calibrate_all(std::span<const Trajectory> all) {
  std::vector<Calibrated> fits;
  for (const int tokens : kCheckpoints) {
    if (const auto fit = calibrate_at(tokens, all)) fits.push_back(*fit);
  }
  if (const auto fit = calibrate_at(kWholeAnswer, all)) fits.push_back(*fit);
  return fits;
}

// The family: at step 0 nothing is sent, at the last all; who is sent at one step is sent at the next.
constexpr int kSteps = 600;
constexpr double kLogitMost = 7;

Thresholds step_of(const std::vector<Calibrated>& fits, int step) {
  const double threshold = kLogitMost - 2 * kLogitMost * step / kSteps;
  Thresholds thresholds;
  for (const Calibrated& fit : fits) {
    const double above = step == 0        ? 1
                         : step == kSteps ? 0
                                          : sigmoid((threshold - fit.intercept) / fit.slope);
    thresholds.checkpoints.push_back({fit.tokens, above, 0});
  }
  return thresholds;
}

// While tokens are held back: below which probability an answer hardly ever goes upstream later.
constexpr double kLaterMax = 0.01;
void fit_keep(Thresholds& thresholds, std::span<const Trajectory> all) {
  const Thresholds without = thresholds;
  for (Checkpoint& point : thresholds.checkpoints) {
    if (point.tokens == kWholeAnswer) continue;
    std::vector<std::pair<double, bool>> later;  // probability here, and whether it is sent after
    for (const Trajectory& t : all) {
      const std::optional<size_t> sent = sent_at(without, t);
      for (size_t m = 0; m < t.moments.size(); ++m) {
        if (t.moments[m].tokens == point.tokens && (!sent || *sent > m))
          later.emplace_back(t.moments[m].p_wrong, sent.has_value());
      }
    }
    std::sort(later.begin(), later.end());
    double count = 0;
    for (size_t i = 0; i < later.size(); ++i) {
      count += later[i].second ? 1 : 0;
      if (count <= kLaterMax * static_cast<double>(i + 1)) point.keep_below = later[i].first;
    }
  }
}

}  // namespace

std::string_view to_string(Goal goal) { return goal == Goal::kMaxWrong ? "max_wrong" : "max_share"; }

Result<Thresholds> Thresholds::parse(std::string_view text) {
  const auto bad = [](size_t line, const std::string& expected) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("thresholds, line {}: expected {}", line, expected));
  };
  if (text.size() > kBytesMax)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("thresholds: {} bytes, expected at most {}", text.size(), kBytesMax));
  Thresholds out;
  size_t number = 0;
  bool begun = false;
  while (!text.empty()) {
    ++number;
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos || line.front() == '#') continue;
    if (!begun) {
      if (line != kHead)
        return bad(number, fmt::format("\"{}\"; `hedge route calibrate` writes such files", kHead));
      begun = true;
      continue;
    }
    if (const std::string expected = read_line(line, out); !expected.empty()) return bad(number, expected);
  }
  if (!begun || out.checkpoints.empty()) return bad(number + 1, "a line of tokens and two probabilities");
  return out;
}

std::string Thresholds::to_text() const {
  std::string text = fmt::format("{}\nprobe {:016x}\n{} {}\nquestions {} groups {}\n", kHead, probe,
                                 to_string(goal), target, questions, groups);
  text += "# tokens, above: goes upstream, below: what is held is handed on\n";
  for (const Checkpoint& point : checkpoints) {
    const std::string tokens = point.tokens == kWholeAnswer ? "whole" : fmt::format("{}", point.tokens);
    text += fmt::format("{} {} {}\n", tokens, point.send_above, point.keep_below);
  }
  return text;
}

const Checkpoint* Thresholds::at(int tokens) const {
  const auto found = std::find_if(checkpoints.begin(), checkpoints.end(),
                                  [&](const Checkpoint& point) { return point.tokens == tokens; });
  return found == checkpoints.end() ? nullptr : &*found;
}

int Thresholds::last_tokens() const {
  int last = 0;
  for (const Checkpoint& point : checkpoints) last = std::max(last, point.tokens);
  return last;
}

std::optional<size_t> sent_at(const Thresholds& thresholds, const Trajectory& trajectory) {
  bool handed_on = false;
  for (size_t m = 0; m < trajectory.moments.size(); ++m) {
    const Trajectory::Moment& moment = trajectory.moments[m];
    const Checkpoint* point = thresholds.at(moment.tokens);
    if (point == nullptr || (moment.tokens == kWholeAnswer && handed_on)) continue;
    if (moment.p_wrong > point->send_above) return m;
    handed_on = handed_on || moment.p_wrong < point->keep_below;
  }
  return std::nullopt;
}

Outcome outcome_of(const Thresholds& thresholds, std::span<const Trajectory> all) {
  const std::vector<double> weights = weights_of(all);
  Outcome outcome;
  for (size_t i = 0; i < all.size(); ++i) {
    const std::optional<size_t> sent = sent_at(thresholds, all[i]);
    if (!sent) {
      outcome.wrong += all[i].wrong ? weights[i] : 0;
      continue;
    }
    outcome.share += weights[i];
    // The newest token is not out when the decision is taken.
    const int tokens = all[i].moments[*sent].tokens;
    if (tokens != kWholeAnswer && 4 * (tokens - 1) < all[i].tokens) outcome.early += weights[i];
  }
  if (outcome.share > 0) outcome.early /= outcome.share;
  return outcome;
}

Result<Thresholds> fit_thresholds(uint64_t probe, Goal goal, double target, std::span<const Trajectory> all,
                                  uint64_t seed) {
  std::vector<Trajectory> calibrate, place;
  std::map<uint32_t, int> place_groups, groups;
  for (const Trajectory& t : all) {
    const bool calibrates = Rng(seed * 1000003 + t.group).below(2) == 0;
    ++groups[t.group];
    if (!calibrates) ++place_groups[t.group];
    (calibrates ? calibrate : place).push_back(t);
  }
  // Half of the groups place the thresholds; 1 / (n + 1) of the promise is theirs to lose.
  const double need = std::max(static_cast<double>(kCalibrationGroupsMin), std::ceil(2.2 / target));
  if (static_cast<double>(groups.size()) < need || calibrate.empty() || place.empty()) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{} groups of questions, expected at least {:.0f} for {} {}", groups.size(),
                                  need, to_string(goal), target));
  }
  const std::vector<Calibrated> fits = calibrate_all(calibrate);
  if (fits.empty()) {
    Seen most = seen_at(kWholeAnswer, calibrate);
    for (const int tokens : kCheckpoints) {
      const Seen seen = seen_at(tokens, calibrate);
      if (std::min(seen.right, seen.wrong) > std::min(most.right, most.wrong)) most = seen;
    }
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("expected at least {} right and {} wrong answers that the probe was asked about, in the "
                    "half of the groups that calibrates it; got {} right and {} wrong of {} answers there",
                    kMomentsMin, kMomentsMin, most.right, most.wrong, calibrate.size()));
  }
  const double n = static_cast<double>(place_groups.size());
  const auto bound = [&](double mean_loss) { return (n * mean_loss + 1) / (n + 1); };
  std::optional<int> chosen;
  for (int step = 0; step <= kSteps; ++step) {
    const Outcome outcome = outcome_of(step_of(fits, step), place);
    if (goal == Goal::kMaxShare && bound(outcome.share) <= target) chosen = step;
    if (goal == Goal::kMaxWrong && bound(outcome.wrong) <= target) {
      chosen = step;
      break;
    }
  }
  if (!chosen) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{} {} cannot be promised: some of these answers end before the probe is asked",
                    to_string(goal), target));
  }
  Thresholds thresholds = step_of(fits, *chosen);
  thresholds.probe = probe;
  thresholds.goal = goal;
  thresholds.target = target;
  thresholds.questions = all.size();
  thresholds.groups = groups.size();
  fit_keep(thresholds, all);
  return thresholds;
}

}  // namespace hedge::route
