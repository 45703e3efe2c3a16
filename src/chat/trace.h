// The decision trace: why an answer took its way, and who wrote which bytes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hedge::chat {

// Bytes of the answer that one backend wrote, in order. Neighbours have different backends.
struct Segment {
  std::string backend;
  size_t bytes = 0;

  bool operator==(const Segment&) const = default;
};

// One step of the decision: a gate that matched, a signal that crossed its threshold, an upstream that
// failed.
struct Step {
  int64_t at_ms = 0;     // since the request came in
  std::string what;      // stable name: "gate.personal_data", "confidence.first", "upstream.failed"
  std::string detail;    // for people; never prompt text
  double value = 0;      // the measured figure, where there is one
  double threshold = 0;  // what it was held against
};

// What the decision looked at: enough to take it again under another policy. Never prompt text.
struct Fact {
  std::string name;
  std::string text;  // of a fact in words; else empty
  double number = 0;
  bool is_text = false;
};

struct Trace {
  std::string id;
  std::string session;
  std::string route;                 // "local", "upstream" or "mixed": who wrote the answer
  std::vector<std::string> reasons;  // the `what` of the steps that decided
  std::vector<Segment> segments;
  std::vector<Step> steps;
  // Prompt and completion tokens that upstreams worked on for this answer, as they reported them and as far
  // as they count against the budget (route/budget.h).
  int64_t upstream_tokens = 0;
  int64_t upstream_nanos = 0;  // what they cost, in billionths of the prices' currency
  std::string tenant;          // whose budget they count in; empty: the device's alone
  std::vector<Fact> facts;
  int64_t created_ms = 0;  // unix time
  double total_ms = 0;
  std::string path;  // Way::path: the nodes that the request came by, this one last
  // Of an upstream that is a Hedge: why its part took its way, as it said. Nested as deep as the chain is
  // long.
  std::shared_ptr<const Trace> upstream;
};

// Traces nested deeper than this are cut off: no chain is so long.
inline constexpr int kTraceDepthMax = 16;

// Adds bytes to the last segment, or opens a new one.
void append_segment(std::vector<Segment>& segments, const std::string& backend, size_t bytes);

}  // namespace hedge::chat
