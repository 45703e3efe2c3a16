// The inside of detect(): what one detector is. Each lives in a file of its own and stands as one line in
// detector_list.inc, which feeds the table, the tests and the help.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "privacy/fold.h"

namespace hedge::privacy {

// A find in folded characters: [begin, end) of Folded::chars(), begin < end.
struct Find {
  size_t begin = 0;
  size_t end = 0;
  double score = 0;
};

// Appends its finds in order of begin. Linear: what it looks at per character has a fixed bound.
using Detector = void (*)(const Folded& text, std::vector<Find>& finds);

struct DetectorEntry {
  std::string_view type;
  Detector find;
  bool is_private;
};

#define HEDGE_DETECTOR(name, type, is_private) void find_##name(const Folded& text, std::vector<Find>& finds);
#include "privacy/detector_list.inc"
#undef HEDGE_DETECTOR

inline constexpr DetectorEntry kDetectors[] = {
#define HEDGE_DETECTOR(name, type, is_private) DetectorEntry{type, find_##name, is_private},
#include "privacy/detector_list.inc"
#undef HEDGE_DETECTOR
};

}  // namespace hedge::privacy
