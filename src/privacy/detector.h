// The inside of detect(): what one detector is. Each lives in a file of its own and stands as one line in
// detector_list.inc, which feeds the table, the tests and the help.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <vector>

#include "privacy/detect.h"
#include "privacy/fold.h"
#include "privacy/policy.h"

namespace hedge::privacy {

// A find in folded characters: [begin, end) of Folded::chars(), begin < end.
struct Find {
  size_t begin = 0;
  size_t end = 0;
  double score = 0;
};

// Appends its finds in order of begin. Linear: what it looks at per character has a fixed bound.
using Detector = void (*)(const Folded& text, std::vector<Find>& finds);

// Buffers of one thread: a scan allocates nothing once they have grown.
struct DetectWork {
  Folded folded;
  std::vector<Find> finds;
  std::vector<Span> spans;
};

struct DetectorEntry {
  std::string_view type;
  Detector find;
};

#define HEDGE_DETECTOR(name, type) void find_##name(const Folded& text, std::vector<Find>& finds);
#include "privacy/detector_list.inc"
#undef HEDGE_DETECTOR

inline constexpr DetectorEntry kDetectors[] = {
#define HEDGE_DETECTOR(name, type) DetectorEntry{type, find_##name},
#include "privacy/detector_list.inc"
#undef HEDGE_DETECTOR
};

// Which detectors are asked: a bit for each of kDetectors.
using DetectorSet = uint32_t;
inline constexpr DetectorSet kAllDetectors = (DetectorSet{1} << std::size(kDetectors)) - 1;
// Those that find one of these types (policy.h).
DetectorSet detectors_of(TypeSet types);

// detect() with buffers of the caller's; the spans lie in `work` until the next call.
const std::vector<Span>& detect(std::string_view text, DetectorSet detectors, DetectWork& work);

}  // namespace hedge::privacy
