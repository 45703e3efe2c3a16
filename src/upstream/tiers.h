// Several upstreams as one: the tiers of a configuration in their order, the first that answers. A tier that
// cannot be reached, refuses or breaks off before its first text gives way to the next; one that breaks off
// in mid-answer ends the stream in its error, and the router goes on with the local model.
//
// Racing is off unless an upstream's hedge_after_ms says so, because it shows the prompt to a second endpoint
// and pays twice: when the first text takes longer, the next tier is asked too, the first text wins, and the
// loser is cancelled at once (its connection is closed).
#pragma once

#include <memory>
#include <vector>

#include "upstream/openai_backend.h"

namespace hedge::upstream {

struct Tier {
  std::unique_ptr<OpenAiBackend> backend;
  int hedge_after_ms = 0;  // 0: the next tier is asked only when this one has failed
};

// info() is the first tier's, Started::backend the name of the tier that writes; counters() are the sums.
// REQUIRES: at least one tier.
std::unique_ptr<OpenAiBackend> make_tiers(std::vector<Tier> tiers);

}  // namespace hedge::upstream
