// hedge privacy: what personal data a text holds, and how well that is found.
#include "cli/commands/privacy.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "os/file.h"
#include "privacy/policy.h"
#include "privacy/scan.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr size_t kExamplesBytesMax = size_t{256} << 20;
constexpr size_t kLineBytesMax = size_t{16} << 20;

constexpr const char* kFooter = R"(
Nothing of it leaves the device: patterns, checksums and a small trained tagger. `hedge privacy COMMAND --help`
says more; docs/privacy.md has the types and what is promised.

Examples:
  hedge privacy scan < letter.txt
  hedge privacy mask --map names.map < letter.txt > masked.txt
  hedge privacy unmask --map names.map < masked.txt)";

constexpr const char* kScanFooter = R"(
Without --json standard input is one text, and every find is a line: type, first and last code point, score, text.
With --json every line of standard input is an object {"text": "..."} and gives a line
{"spans": [{"type", "start", "end", "score"}]}, offsets in code points, the end not included.

Examples:
  echo 'My name is Jane Roe, card 4111 1111 1111 1111' | hedge privacy scan
  jq -c '{text: .prompt}' prompts.jsonl | hedge privacy scan --json
  hedge privacy scan --types EMAIL_ADDRESS,CREDIT_CARD --min-score 0.5 < letter.txt)";

struct ScanOptions {
  bool as_json = false;
  std::vector<std::string> types;  // empty: all
  double score_min = 0;
};

bool wanted(const ScanOptions& options, const privacy::Span& span) {
  return span.score >= options.score_min &&
         (options.types.empty() ||
          std::find(options.types.begin(), options.types.end(), span.type) != options.types.end());
}

Result<std::string> text_of_line(std::string_view line, size_t number) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object() || !object.contains("text") || !object["text"].is_string()) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("standard input, line {}: expected an object with a string \"text\", got {}", number,
                    object.is_discarded() ? "no JSON" : "something else"));
  }
  return object["text"].get<std::string>();
}

int scan_lines(const ScanOptions& options) {
  privacy::Scanner scanner;
  const Status status = for_each_line([&](std::string_view line, size_t number) -> Status {
    HEDGE_TRY_SET(const std::string text, text_of_line(line, number));
    json spans = json::array();
    CodePoints points(text);
    for (const privacy::Span& span : scanner.scan(text)) {
      if (!wanted(options, span)) continue;
      const size_t start = points.at(span.begin);
      const size_t end = points.at(span.end);
      spans.push_back({{"type", span.type},
                       {"start", start},
                       {"end", end},
                       {"score", std::round(span.score * 1000) / 1000}});
    }
    fmt::print("{}\n", json{{"spans", spans}}.dump());
    return {};
  });
  return status.ok() ? kExitOk : fail(status.error());
}

int scan_text(const ScanOptions& options) {
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  privacy::Scanner scanner;
  CodePoints points(text);
  for (const privacy::Span& span : scanner.scan(text)) {
    if (!wanted(options, span)) continue;
    const size_t start = points.at(span.begin);
    const size_t end = points.at(span.end);
    fmt::print("{:<17} {:>6} {:>6}  {:.2f}  {}\n", span.type, start, end, span.score,
               printable(std::string_view(text).substr(span.begin, span.end - span.begin)));
  }
  return kExitOk;
}

}  // namespace

size_t CodePoints::at(size_t byte) {
  for (; byte_ < byte && byte_ < text_.size(); ++byte_) count_ += utf8_continues(text_[byte_]) ? 0 : 1;
  return count_;
}

Status for_each_line(const std::function<Status(std::string_view line, size_t number)>& line) {
  std::string text;
  for (size_t number = 1; std::getline(std::cin, text); ++number) {
    if (text.size() > kLineBytesMax) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("standard input, line {}: expected at most {} bytes, got {}", number,
                                    kLineBytesMax, text.size()));
    }
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    HEDGE_TRY(line(text, number));
  }
  return {};
}

Result<std::vector<privacy::Example>> read_examples(const std::string& path) {
  HEDGE_TRY_SET(const std::string bytes, os::read_file(path, kExamplesBytesMax));
  const json data = json::parse(bytes, nullptr, false);
  if (!data.is_array()) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("{}: expected a JSON array of texts with spans, got something else", path));
  }
  std::vector<privacy::Example> examples;
  for (size_t i = 0; i < data.size(); ++i) {
    const auto wrong = [&](const char* expected) {
      return make_error(ErrorCode::kCorrupt, fmt::format("{}: item {}: expected {}", path, i, expected));
    };
    const json& item = data[i];
    if (!item.is_object() || !item.contains("full_text") || !item["full_text"].is_string())
      return wrong("a string \"full_text\"");
    privacy::Example example;
    example.text = item["full_text"].get<std::string>();
    if (!utf8_valid(example.text)) return wrong("UTF-8");
    if (item.contains("template_id")) {
      if (!item["template_id"].is_number_integer()) return wrong("a whole number \"template_id\"");
      example.group = item["template_id"].get<int64_t>();
    }
    std::vector<size_t> bytes_at;  // byte offset of every code point
    for (size_t at = 0; at < example.text.size(); ++at) {
      if (!utf8_continues(example.text[at])) bytes_at.push_back(at);
    }
    bytes_at.push_back(example.text.size());
    for (const json& span : item.value("spans", json::array())) {
      if (!span.is_object() || !span.contains("entity_type") || !span["entity_type"].is_string() ||
          !span.contains("start_position") || !span["start_position"].is_number_unsigned() ||
          !span.contains("end_position") || !span["end_position"].is_number_unsigned())
        return wrong("spans with \"entity_type\", \"start_position\" and \"end_position\"");
      const auto start = span["start_position"].get<size_t>();
      const auto end = span["end_position"].get<size_t>();
      if (start >= end || end >= bytes_at.size()) return wrong("spans inside of the text");
      example.marks.push_back({span["entity_type"].get<std::string>(), bytes_at[start], bytes_at[end]});
    }
    std::sort(example.marks.begin(), example.marks.end(),
              [](const auto& a, const auto& b) { return a.begin < b.begin; });
    for (size_t k = 1; k < example.marks.size(); ++k) {
      if (example.marks[k].begin < example.marks[k - 1].end) return wrong("spans that do not overlap");
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

void add_privacy_scan(CLI::App& privacy, Action& chosen) {
  auto options = std::make_shared<ScanOptions>();
  CLI::App* command = privacy.add_subcommand("scan", "List the personal data in a text");
  command->footer(kScanFooter);
  command->add_flag("--json", options->as_json, "Read lines of {\"text\"} and write lines of {\"spans\"}");
  const std::vector<std::string> types(std::begin(privacy::kClassTypes), std::end(privacy::kClassTypes));
  command->add_option("--types", options->types, "Only these, separated by commas")
      ->type_name("TYPE")
      ->delimiter(',')
      ->check(CLI::IsMember(types));
  command->add_option("--min-score", options->score_min, "Leave out what is less certain")
      ->type_name("X")
      ->transform(in_range(0.0, 1.0));
  command->callback([options, &chosen] {
    chosen = [options] { return options->as_json ? scan_lines(*options) : scan_text(*options); };
  });
}

void add_privacy(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand("privacy", "Find personal data in texts, and mask it");
  command->footer(kFooter);
  command->require_subcommand(1);
  add_privacy_scan(*command, chosen);
  add_privacy_mask(*command, chosen);
  add_privacy_unmask(*command, chosen);
  add_privacy_eval(*command, chosen);
  add_privacy_train(*command, chosen);
}

}  // namespace hedge::cli
