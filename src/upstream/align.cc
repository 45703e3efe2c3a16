#include "upstream/align.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace hedge::upstream {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

bool is_space(char c) { return kSpaces.find(c) != std::string_view::npos; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_alnum(char c) { return is_letter(c) || (c >= '0' && c <= '9'); }
bool is_wide(char c) { return static_cast<unsigned char>(c) >= 0x80; }
bool is_wide_lead(char c) { return static_cast<unsigned char>(c) >= 0xc0; }

size_t leading_space(std::string_view text) { return std::min(text.find_first_not_of(kSpaces), text.size()); }

size_t common_prefix(std::string_view a, std::string_view b) {
  const auto [at_a, at_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(at_a - a.begin());
}

// Runs of ASCII letters and digits, and every character outside ASCII (scripts without spaces), up to
// `enough`.
size_t count_words(std::string_view text, size_t enough) {
  size_t words = 0;
  for (size_t i = 0; i < text.size() && words < enough; ++i) {
    words += is_alnum(text[i]) ? (i == 0 || !is_alnum(text[i - 1])) : is_wide_lead(text[i]);
  }
  return words;
}

// Whether text[at] begins something new: not inside a word or a character.
bool is_word_start(std::string_view text, size_t at) {
  if (is_space(text[at]) || (is_wide(text[at]) && !is_wide_lead(text[at]))) return false;
  return at == 0 || !(is_alnum(text[at - 1]) && is_alnum(text[at]));
}

// The smallest p > 0 with text[i] == text[i - p] for all i >= p (Knuth, Morris and Pratt's failure function).
size_t smallest_period(std::string_view text) {
  std::vector<uint32_t> border(text.size(), 0);
  for (size_t i = 1, length = 0; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = border[length - 1];
    if (text[i] == text[length]) ++length;
    border[i] = static_cast<uint32_t>(length);
  }
  return text.size() - (text.empty() ? 0 : border.back());
}

// Whether `seen` + `seam` + `seen` goes on with a repetition that `seen` shows at least twice (rule 3).
bool repeats_itself(std::string_view seen, std::string_view seam) {
  const size_t period = smallest_period(seen);
  if (2 * period > seen.size() + seam.size()) return false;
  const std::string joined = std::string(seen).append(seam).append(seen);
  for (size_t i = period; i < joined.size(); ++i) {
    if (joined[i] != joined[i - period]) return false;
  }
  return true;
}

}  // namespace

std::string_view sent_part(std::string_view start) {
  return start.substr(0, start.find_last_not_of(kSpaces) + 1);  // npos + 1 is 0
}

Aligner::Aligner(std::string start, Expect expect)
    : start_(sent_part(start)), end_space_(start.substr(start_.size())), expect_(expect) {
  if (start_.empty()) {  // Nothing was sent: whatever comes is the answer.
    alignment_ = Alignment::kContinuation;
    seam_next_ = end_space_.size();
  }
}

std::string Aligner::push(std::string_view text) {
  if (alignment_ == Alignment::kRestart) return {};
  if (alignment_ != Alignment::kUndecided) return pass_seam(text);
  held_.append(text);
  const Outcome outcome = decide(held_, false);
  alignment_ = outcome.alignment;
  if (alignment_ == Alignment::kUndecided) return {};
  const std::string reply = std::exchange(held_, {});
  if (alignment_ == Alignment::kRestart) return {};
  return pass_seam(std::string_view(reply).substr(outcome.drop_bytes));
}

std::string Aligner::finish() {
  if (alignment_ != Alignment::kUndecided) return {};
  const std::string reply = std::exchange(held_, {});
  const Outcome outcome = decide(reply, true);
  alignment_ = outcome.alignment;
  ended_undecided_ = alignment_ == Alignment::kContinuation;
  if (alignment_ == Alignment::kRestart) return {};
  return pass_seam(std::string_view(reply).substr(outcome.drop_bytes));
}

Expect Aligner::learned() const {
  if (start_.size() < kSureBytes || ended_undecided_) return Expect::kUnknown;
  if (alignment_ == Alignment::kEcho) return Expect::kEcho;
  if (alignment_ == Alignment::kContinuation) return Expect::kContinuation;
  return Expect::kUnknown;
}

Aligner::Outcome Aligner::decide(std::string_view reply, bool whole) const {
  const Outcome undecided, continuation{Alignment::kContinuation, 0};
  const size_t space = leading_space(reply);
  const std::string_view text = reply.substr(space);
  if (space > kLeadingSpaceMax) return continuation;
  if (text.empty()) return whole ? continuation : undecided;

  const size_t start_space = leading_space(start_);
  const std::string_view said =
      std::string_view(start_).substr(start_space);  // not empty: start_ ends in a letter
  const char last = said.back();
  // A letter of the reply directly after a letter of the start: no true continuation of a finished word.
  // (Two digits may be one number.)
  const bool glued = space == 0 && end_space_.empty() && is_alnum(last) && is_alnum(text.front()) &&
                     (is_letter(last) || is_letter(text.front()));
  // Whether what was matched up to `end` of the reply's text ends where a word ends; undecided without a next
  // byte.
  const auto is_word_end = [&](size_t end) {
    return end == text.size() || !is_alnum(last) || !is_alnum(text[end]);
  };
  const std::string_view seam = end_space_.empty() ? reply.substr(0, space) : std::string_view(end_space_);

  // Whether a reply that is over said again only a part of what stands from `begin` on (rule 4).
  const auto ends_inside = [&](size_t begin) {
    if (said.find(text) != begin || said.find(text, begin + 1) != std::string_view::npos) return false;
    const size_t end = begin + text.size();
    if (end < said.size() && is_alnum(text.back()) && is_alnum(said[end])) return false;  // half a word
    if (glued || expect_ == Expect::kEcho) return true;
    if (expect_ == Expect::kUnknown) return count_words(text, 2) == 2 && text.size() >= kBlankedBytes;
    return count_words(text, kOverlapWordsMin) == kOverlapWordsMin && text.size() >= kOverlapBytesMin;
  };

  // Rule 1.
  // An echo may come byte by byte, so the usual case while it does is the fast one.
  const size_t shared = said.starts_with(text) ? text.size() : common_prefix(text, said);
  if (shared == text.size() && shared < said.size() && !whole) return undecided;
  if (shared == said.size()) {
    const bool sure = said.size() >= kSureBytes;
    if (!sure && is_alnum(last) && shared == text.size() && !whole) return undecided;
    // Two letters cannot be told from laughter; "Ja" can be, by its word end. Scripts without word ends need
    // length.
    const std::string_view lead = reply.substr(0, space);
    const bool same_lead =
        lead == std::string_view(start_).substr(0, start_space) ||
        (lead == " " && said.size() >= kBlankedBytes && smallest_period(said) == said.size());
    const bool plausible = sure || (same_lead && (is_alnum(last) ? is_word_end(shared)
                                                  : count_words(said, 1) > 0 && !is_wide(last)
                                                      ? true
                                                      : is_wide(last) && said.size() >= 6));
    // Whatever the endpoint did before: a word directly after a finished one is an echo, and so are two words
    // in place.
    const bool repeats = repeats_itself(said, seam);
    // An endpoint that repeats the start repeats its white space or adds a blank; a new line in front of it
    // is the model's own, which says the same again.
    const bool own_line =
        lead.find('\n') != std::string_view::npos &&
        std::string_view(start_).substr(0, start_space).find('\n') == std::string_view::npos;
    const bool echo = own_line && expect_ != Expect::kEcho ? false
                      : expect_ == Expect::kEcho           ? true
                      : expect_ == Expect::kContinuation
                          ? plausible && !repeats && (sure || glued || count_words(said, 2) == 2)
                          : plausible && !repeats;
    if (echo) return {Alignment::kEcho, space + shared};
  }

  // Rule 2, longest overlap first.
  const size_t bytes_min = glued ? kGluedOverlapBytesMin : kOverlapBytesMin;
  const size_t words_min = glued ? 2 : kOverlapWordsMin;
  const size_t longest = std::min(said.size() - 1, kOverlapBytesMax);
  for (size_t length = longest; length >= bytes_min; --length) {
    const size_t begin = said.size() - length;
    if (!is_word_start(said, begin)) continue;
    const std::string_view tail = said.substr(begin);
    const size_t matched = common_prefix(text, tail);
    if (matched < tail.size() && matched < text.size()) continue;
    if (count_words(tail, words_min) < words_min || said.find(tail) != begin) continue;
    if (whole && matched < tail.size() && ends_inside(begin)) return {Alignment::kRestart, 0};
    if (matched == text.size() && !whole && (matched < tail.size() || is_alnum(last))) return undecided;
    if (matched < tail.size() || !is_word_end(matched) || repeats_itself(tail, seam)) continue;
    return {Alignment::kOverlap, space + matched};
  }

  if (whole && shared == text.size() && shared < said.size() && ends_inside(0))
    return {Alignment::kRestart, 0};

  // Rule 4.
  if (shared < said.size() && shared < text.size()) {
    const size_t word =
        static_cast<size_t>(std::find_if_not(said.begin(), said.end(), is_alnum) - said.begin());
    const bool word_shared = word > 0 && shared >= word && !is_alnum(text[word]);
    if ((glued && word_shared && word < said.size()) || shared >= kRestartBytes)
      return {Alignment::kRestart, 0};
  }
  return continuation;
}

std::string Aligner::pass_seam(std::string_view text) {
  while (!text.empty() && seam_next_ < end_space_.size()) {
    if (text.front() != end_space_[seam_next_]) {
      seam_next_ = end_space_.size();
      break;
    }
    ++seam_next_;
    text.remove_prefix(1);
  }
  return std::string(text);
}

}  // namespace hedge::upstream
