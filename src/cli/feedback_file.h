// What users said of answers, one JSON object per line beside the session database: {"id", "signal",
// "at_ms"}. Reports read it, and files of labels from elsewhere: {"id", "correct"}.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/report/tally.h"
#include "route/learned.h"

namespace hedge::cli {

inline constexpr const char* kFeedbackFile = "feedback.jsonl";
// A file that has grown to this is renamed to FILE.1, the one before it is dropped: half a million votes are
// kept.
inline constexpr size_t kFeedbackBytesMax = 32u << 20;
inline constexpr size_t kLabelsBytesMax = 256u << 20;  // of a file from elsewhere

// From any thread and process. A vote that the file's last line about the decision already says changes
// nothing; of those that differ readers take the last.
Status append_feedback(const std::string& path, const std::string& decision, route::Signal signal);

// Lines of either form. The error names file and line; `left_out` counts those beyond Labels::kMax.
Status parse_labels(std::string_view text, std::string_view where, Labels& labels, int64_t& left_out);
// What users said, FILE.1 first; nothing where no file is.
Status read_feedback(const std::string& path, Labels& labels, int64_t& left_out);

}  // namespace hedge::cli
