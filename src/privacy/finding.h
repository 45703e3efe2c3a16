// What the privacy gate says of a request.
#pragma once

#include <cstdint>
#include <string>

namespace hedge::privacy {

// The numbers stand in recorded decisions.
enum class Outcome : uint8_t {
  kClean = 0,
  kFound = 1,     // something that stays on this device
  kUnjudged = 2,  // too long, not UTF-8, token ids, out of time: nobody knows, so it counts as found
  kMasked = 3,    // something that may leave behind a placeholder, and nothing that stays
};

struct Finding {
  Outcome outcome = Outcome::kClean;
  std::string detail;  // types found, or why it cannot be judged; never text of the request
};

}  // namespace hedge::privacy
