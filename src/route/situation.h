// What a decision looks at, taken from a request; and as facts of a trace, from which it can be taken again.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/request.h"
#include "chat/trace.h"
#include "route/decision.h"

namespace hedge::route {

// The parts that the request and the finding tell; its texts live as long as the request. Of facts, only what
// the request says.
Situation situation_of(const chat::Request& request, Privacy privacy);

// Facts of the backends and budgets as they were; no text of the request but its model's name and its tags.
std::vector<chat::Fact> facts_of(const Situation& situation);

// A fact that is known after the answer: of Trace::upstream_tokens, those of prompts. They have another
// price.
inline constexpr const char* kUpstreamPromptFact = "upstream_prompt_tokens";

// A situation that owns its texts.
struct RecordedSituation {
  Situation situation;  // its views point into the rest
  std::string model, tenant, gain_source;
  std::vector<std::string> tags;

  RecordedSituation() = default;
  RecordedSituation(const RecordedSituation&) = delete;
  RecordedSituation& operator=(const RecordedSituation&) = delete;
};

// False where the trace has no facts (an older program wrote it). Unknown facts are passed over, absent ones
// keep their defaults.
bool read_facts(const std::vector<chat::Fact>& facts, RecordedSituation& out);

}  // namespace hedge::route
