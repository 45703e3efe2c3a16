// Private to the `hedge privacy` commands.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/command.h"
#include "privacy/detect.h"
#include "privacy/example.h"

namespace hedge::cli {

// hedge privacy SUBCOMMAND, one file each.
void add_privacy_scan(CLI::App& privacy, Action& chosen);
void add_privacy_mask(CLI::App& privacy, Action& chosen);
void add_privacy_unmask(CLI::App& privacy, Action& chosen);
void add_privacy_train(CLI::App& privacy, Action& chosen);
void add_privacy_eval(CLI::App& privacy, Action& chosen);

// Texts with marked spans: a JSON array of {"full_text", "template_id", "spans": [{"entity_type",
// "start_position", "end_position"}]}, offsets in code points, as presidio-research writes it.
Result<std::vector<privacy::Example>> read_examples(const std::string& path);

// Offset in code points of every byte offset asked for in rising order.
class CodePoints {
 public:
  explicit CodePoints(std::string_view text) : text_(text) {}
  size_t at(size_t byte);

 private:
  std::string_view text_;
  size_t byte_ = 0;
  size_t count_ = 0;
};

// Hands every line of standard input to `line`, without its line break; stops at the first error. Lines of
// more than 16 MiB are an error.
Status for_each_line(const std::function<Status(std::string_view line, size_t number)>& line);

}  // namespace hedge::cli
