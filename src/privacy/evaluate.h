// How well spans were found, by two rules.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "privacy/detect.h"
#include "privacy/example.h"

namespace hedge::privacy {

struct Counts {
  size_t right = 0;
  size_t predicted = 0;
  size_t marked = 0;

  double precision() const;
  double recall() const;
  double f(double beta) const;  // F-beta: recall counts beta times as much as precision
  Counts& operator+=(const Counts& other);
};

struct Scores {
  // Strict: type, begin and end are the same.
  std::map<std::string, Counts> strict;
  Counts strict_all;
  // Per token (a word, a number or another sign), inside or outside of a type, as presidio-research's
  // Evaluator counts: per type the type must be the same; in all, a token is right when it has any type in
  // both.
  std::map<std::string, Counts> token;
  Counts token_all;
  Counts token_typed;  // in all, the type must be the same
  // A marked span counts as found where a span of the same type overlaps it, and the other way round.
  std::map<std::string, Counts> overlap;            // right: marked spans found
  std::map<std::string, Counts> overlap_predicted;  // right: found spans that are marked
};

// Adds one text. Spans of types that no mark of `types` has (SECRET) are left out by the caller.
void add_scores(const Example& example, const std::vector<Span>& found, Scores& scores);

}  // namespace hedge::privacy
