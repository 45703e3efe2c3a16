#include "route/learned.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/ascii.h"
#include "base/lines.h"

namespace hedge::route {
namespace {

constexpr double kShrinkage = 8;
constexpr double kVotesMax = 256;
constexpr std::string_view kHead = "hedge learned 1";

constexpr std::array<std::string_view, 4> kForms = {"code", "numbers", "question", "other"};
constexpr std::array<std::string_view, 4> kLengths = {"short", "middle", "long", "very long"};
constexpr std::array<size_t, 3> kLengthBytes = {64, 256, 1024};  // up to each
static_assert(kForms.size() * kLengths.size() == kKinds);

struct SignalName {
  Signal signal;
  std::string_view name;
};
constexpr SignalName kSignals[] = {{Signal::kThumbsUp, "thumbs_up"},
                                   {Signal::kThumbsDown, "thumbs_down"},
                                   {Signal::kRegenerate, "regenerate"},
                                   {Signal::kEdit, "edit"},
                                   {Signal::kEscalate, "escalate"}};

size_t form_of(std::string_view text) {
  for (const std::string_view mark : {"```", "();", "){", ") {", "def ", "#include", "=>", "</"}) {
    if (text.find(mark) != std::string_view::npos) return 0;
  }
  const auto digits = static_cast<size_t>(std::count_if(text.begin(), text.end(), is_digit));
  if (digits >= 2 && digits * 50 >= text.size()) return 1;  // two percent, as word problems have
  return text.find('?') != std::string_view::npos ? 2 : 3;
}

bool parse_number(std::string_view text, double& out) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
  return failed == std::errc() && end == text.data() + text.size() && std::isfinite(out);
}

}  // namespace

size_t kind_of(const chat::Request& request) {
  std::string_view text = request.prompt;
  for (const chat::Message& message : request.messages) {
    if (message.role == chat::Role::kUser) text = message.content;
  }
  const auto longer = std::find_if(kLengthBytes.begin(), kLengthBytes.end(),
                                   [&](size_t bytes) { return text.size() <= bytes; });
  const auto length = static_cast<size_t>(longer - kLengthBytes.begin());
  // A long text shows its form early; the rest is not worth its time.
  return form_of(text.substr(0, 4096)) * kLengths.size() + length;
}

std::string kind_name(size_t kind) {
  const size_t held = std::min(kind, kKinds - 1);
  return fmt::format("{}, {}", kForms[held / kLengths.size()], kLengths[held % kLengths.size()]);
}

std::optional<size_t> kind_named(std::string_view name) {
  for (size_t kind = 0; kind < kKinds; ++kind) {
    if (kind_name(kind) == name) return kind;
  }
  return std::nullopt;
}

std::vector<std::string> signal_names() {
  std::vector<std::string> names;
  for (const SignalName& known : kSignals) names.emplace_back(known.name);
  return names;
}

Result<Signal> parse_signal(std::string_view name) {
  for (const SignalName& known : kSignals) {
    if (known.name == name) return known.signal;
  }
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("signal: expected {}, got another text", fmt::join(signal_names(), ", ")),
                    "signal");
}

std::string_view name_of(Signal signal) {
  for (const SignalName& one : kSignals) {
    if (one.signal == signal) return one.name;
  }
  return "";
}

double vote_of(Signal signal, bool answered_locally) {
  switch (signal) {
    case Signal::kThumbsUp:
      return answered_locally ? -1 : 0.5;
    case Signal::kThumbsDown:
      return answered_locally ? 1 : -0.5;
    case Signal::kRegenerate:
    case Signal::kEdit:
      return answered_locally ? 0.5 : -0.25;
    case Signal::kEscalate:
      return answered_locally ? 1 : 0;
  }
  return 0;
}

void Learned::vote(size_t kind, double vote) {
  if (kind >= kKinds || !std::isfinite(vote) || vote == 0) return;
  std::lock_guard lock(mutex_);
  Votes& votes = votes_[kind];
  if (votes.count >= kVotesMax) {
    const double keep = (kVotesMax - 1) / votes.count;
    votes.sum *= keep;
    votes.count *= keep;
  }
  votes.sum += std::clamp(vote, -1.0, 1.0);
  votes.count += 1;
}

double Learned::bias(size_t kind, double bias_max) const {
  if (kind >= kKinds) return 0;
  std::lock_guard lock(mutex_);
  return bias_max * votes_[kind].sum / (votes_[kind].count + kShrinkage);
}

std::array<Votes, kKinds> Learned::votes() const {
  std::lock_guard lock(mutex_);
  return votes_;
}

void Learned::wipe() {
  std::lock_guard lock(mutex_);
  votes_ = {};
}

std::string Learned::to_text() const {
  std::string out = std::string(kHead) + "\n";
  const std::array<Votes, kKinds> all = votes();
  for (size_t kind = 0; kind < kKinds; ++kind) {
    if (all[kind].count > 0)
      out += fmt::format("{}\t{}\t{}\n", kind_name(kind), all[kind].sum, all[kind].count);
  }
  return out;
}

Status Learned::from_text(std::string_view text) {
  std::array<Votes, kKinds> read = {};
  size_t line_number = 0;
  const auto wrong = [&](std::string_view expected) {
    return make_error(ErrorCode::kCorrupt, fmt::format("line {}: expected {}", line_number, expected));
  };
  HEDGE_TRY(each_line(text, [&](std::string_view line, size_t number) -> Status {
    line_number = number;
    if (line_number == 1) {
      if (line != kHead) return wrong(fmt::format("\"{}\"", kHead));
      return {};
    }
    const size_t first = line.find('\t'),
                 second = line.find('\t', first == std::string_view::npos ? first : first + 1);
    if (second == std::string_view::npos) return wrong("a kind, a sum and a count, with tabs between");
    const std::optional<size_t> kind = kind_named(line.substr(0, first));
    if (!kind) return wrong("a known kind of prompts");
    Votes votes;
    if (!parse_number(line.substr(first + 1, second - first - 1), votes.sum) ||
        !parse_number(line.substr(second + 1), votes.count) || votes.count < 0 || votes.count > kVotesMax ||
        std::abs(votes.sum) > votes.count) {
      return wrong(fmt::format("a count of 0 to {} and a sum of at most as much", kVotesMax));
    }
    read[*kind] = votes;
    return {};
  }));
  if (line_number == 0) {
    line_number = 1;
    return wrong(fmt::format("\"{}\"", kHead));
  }
  std::lock_guard lock(mutex_);
  votes_ = read;
  return {};
}

}  // namespace hedge::route
