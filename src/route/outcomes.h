// Files of outcomes: per prompt, how good the local model's answer was and how good the upstream's.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::route {

inline constexpr size_t kOutcomesMax = 1'000'000;
inline constexpr size_t kOutcomeBytesMax = 1u << 30;  // of a file

struct Outcome {
  std::string prompt;
  double weak = 0, strong = 0;  // 0 to 1: 1 for right, 0 for wrong, between for a graded answer
  std::string group;            // empty: none
};

// One JSON object a line: {"prompt": "...", "weak": 0..1, "strong": 0..1, "group": "..."?}; true and false
// count as 1 and 0, other fields are ignored, and so are blank lines. `where` names the file in errors, which
// say the line.
Result<std::vector<Outcome>> parse_outcomes(std::string_view text, std::string_view where);

// A line {"prompt": "..."}.
Result<std::string> parse_prompt(std::string_view line, std::string_view where, size_t line_number);

// A line {"prompt": "...", "topic": "..."}: for a topic table.
struct TopicExample {
  std::string prompt, topic;
};
Result<std::vector<TopicExample>> parse_topics(std::string_view text, std::string_view where);

}  // namespace hedge::route
