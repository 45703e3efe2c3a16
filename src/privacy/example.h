// Texts with marked personal data, for training and measuring.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hedge::privacy {

struct Mark {
  std::string type;
  size_t begin = 0;  // byte offsets
  size_t end = 0;
};

struct Example {
  std::string text;
  int64_t group = 0;        // texts made from one template share it
  std::vector<Mark> marks;  // sorted, not overlapping
};

}  // namespace hedge::privacy
