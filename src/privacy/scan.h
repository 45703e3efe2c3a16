// Everything personal in a text: what the pattern detectors find, and what the tagger marks in between.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "privacy/detect.h"
#include "privacy/tagger.h"

namespace hedge::privacy {

// The weights that travel inside the program (assets/tagger.bin; trained by `hedge privacy train`).
const Tagger& builtin_tagger();

// Any thread may scan at once, each with its own Scanner.
class Scanner {
 public:
  explicit Scanner(const Tagger& tagger = builtin_tagger());

  // All spans, sorted, not overlapping, byte offsets. Any bytes are allowed. The spans lie in the scanner
  // until the next call.
  const std::vector<Span>& scan(std::string_view text);

 private:
  const Tagger* tagger_;
  std::unique_ptr<Tagger::Workspace> work_;
  std::vector<Span> spans_;
  std::vector<Span> tagged_;
  std::vector<FoundSpan> found_;
};

// What the detectors found, as the tagger is given it: one token per span. Secrets are left out: they stand
// in code and in sentences about something else.
void found_spans(const std::vector<Span>& spans, std::vector<FoundSpan>& found);

}  // namespace hedge::privacy
