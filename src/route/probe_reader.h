// A Probe (probe.h) as what an engine asks while an answer is made (chat/state_probe.h).
#pragma once

#include <array>
#include <memory>

#include "chat/state_probe.h"
#include "route/probe.h"

namespace hedge::route {

// After so many tokens of an answer it is judged; the first is what is known at the end of the prompt. Dense
// where answers are short and little is out; one judgement costs about 0.2 million multiply-adds.
inline constexpr std::array<int, 11> kCheckpoints = {1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64};

enum class ReadAt : uint8_t { kSomeTokens, kEveryToken };  // at the checkpoints alone, or always

std::shared_ptr<const chat::StateProbe> make_reader(std::shared_ptr<const Probe> probe, ReadAt when);

}  // namespace hedge::route
