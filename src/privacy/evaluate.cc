#include "privacy/evaluate.h"

#include <algorithm>
#include <array>

#include "privacy/tokens.h"

namespace hedge::privacy {
namespace {

double ratio(size_t a, size_t b) { return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b); }

// Type of the span that holds `position`, or "". Spans are sorted.
template <typename Spans>
std::string_view type_at(const Spans& spans, size_t position) {
  for (const auto& span : spans) {
    if (span.begin <= position && position < span.end) return span.type;
  }
  return {};
}

}  // namespace

double Counts::precision() const { return ratio(right, predicted); }
double Counts::recall() const { return ratio(right, marked); }
double Counts::f(double beta) const {
  const double p = precision(), r = recall(), b = beta * beta;
  return p + r == 0 ? 0 : (1 + b) * p * r / (b * p + r);
}
Counts& Counts::operator+=(const Counts& other) {
  right += other.right;
  predicted += other.predicted;
  marked += other.marked;
  return *this;
}

void add_scores(const Example& example, const std::vector<Span>& found, Scores& scores) {
  for (const Mark& mark : example.marks) {
    const bool same = std::any_of(found.begin(), found.end(), [&](const Span& span) {
      return span.type == mark.type && span.begin == mark.begin && span.end == mark.end;
    });
    const bool touched = std::any_of(found.begin(), found.end(), [&](const Span& span) {
      return span.type == mark.type && span.begin < mark.end && span.end > mark.begin;
    });
    scores.strict[mark.type] += Counts{same ? 1u : 0u, 0, 1};
    scores.strict_all += Counts{same ? 1u : 0u, 0, 1};
    scores.overlap[mark.type] += Counts{touched ? 1u : 0u, 0, 1};
  }
  for (const Span& span : found) {
    const bool touched = std::any_of(example.marks.begin(), example.marks.end(), [&](const Mark& mark) {
      return span.type == mark.type && span.begin < mark.end && span.end > mark.begin;
    });
    scores.strict[std::string(span.type)].predicted += 1;
    scores.strict_all.predicted += 1;
    scores.overlap_predicted[std::string(span.type)] += Counts{touched ? 1u : 0u, 1, 0};
  }
  std::array<Token, kWindowTokens> tokens;
  for (size_t position = 0; position < example.text.size();) {
    const size_t count = read_tokens(example.text, {}, position, tokens);
    if (count == 0) break;
    for (size_t i = 0; i < count; ++i) {
      const std::string_view gold = type_at(example.marks, tokens[i].begin);
      const std::string_view got = type_at(found, tokens[i].begin);
      if (!gold.empty()) scores.token[std::string(gold)] += Counts{gold == got ? 1u : 0u, 0, 1};
      if (!got.empty()) scores.token[std::string(got)].predicted += 1;
      const Counts both{0, got.empty() ? 0u : 1u, gold.empty() ? 0u : 1u};
      scores.token_all += both;
      scores.token_typed += both;
      if (!gold.empty() && !got.empty()) scores.token_all.right += 1;
      if (!gold.empty() && gold == got) scores.token_typed.right += 1;
    }
  }
}

}  // namespace hedge::privacy
