// hedge route report: what went where, drawn from the recorded decisions.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/clock.h"
#include "cli/commands/route.h"
#include "cli/config/check.h"
#include "cli/config/config.h"
#include "cli/feedback_file.h"
#include "cli/numbers.h"
#include "cli/recorded_speeds.h"
#include "cli/report/page.h"
#include "cli/session_store.h"
#include "cli/terminal.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

constexpr const char* kDefaultPage = "hedge-report.html";
constexpr int64_t kProgressEvery = 20'000;

struct Options {
  std::string config_path;
  std::string data_dir;
  std::string since = "7d";
  std::string out;
  std::string svg_folder;
  std::string labels_path;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
Examples:
  hedge route report                                  the last 7 days, as hedge-report.html
  hedge route report --since 30d --out month.html --svg charts/
  hedge route report --labels checked.jsonl --json    the figures alone

The page needs nothing from elsewhere and holds no text of a prompt or answer. It shows who answered, how good the answers were,
whether the probe's probabilities are right, cost against expected gain under other policies, times, reasons, tokens and money.
What users say (POST /v1/hedge/decisions/ID/feedback) is read from feedback.jsonl beside the database. --labels adds lines of
  {"id": "hd-...", "correct": true}
The log is read once, decision by decision: memory does not grow with it. At most 1,000,000 labels are read.)";

Status read_labels(const Options& options, const Settings& settings, Labels& labels, ReportFacts& facts) {
  HEDGE_TRY_SET(const std::string folder, data_folder(settings));
  HEDGE_TRY(read_feedback(folder + "/" + kFeedbackFile, labels, facts.labels_left_out));
  if (!options.labels_path.empty()) {
    HEDGE_TRY_SET(const std::string text, os::read_file(options.labels_path, kLabelsBytesMax));
    HEDGE_TRY(parse_labels(text, options.labels_path, labels, facts.labels_left_out));
  }
  facts.labels = static_cast<int64_t>(labels.size());
  return {};
}

// Decisions of the last `span_ms`.
Status read_decisions(const Settings& settings, int64_t span_ms, Tally& tally, ReportFacts& facts) {
  HEDGE_TRY_SET(const std::unique_ptr<session::Store> store, open_recorded(settings));
  int64_t count = 0;
  const bool shown = stderr_is_terminal();
  const auto passed_over = store->for_each_decision(unix_time_ms() - span_ms, [&](const chat::Trace& trace) {
    tally.add(trace);
    if (shown && ++count % kProgressEvery == 0) fmt::print(stderr, "\r\033[K{} decisions", grouped(count));
    return !interrupted();
  });
  if (shown && count >= kProgressEvery) fmt::print(stderr, "\r\033[K");
  if (interrupted()) return make_error(ErrorCode::kCancelled, "interrupted");
  if (!passed_over.ok()) return passed_over.error();
  facts.unreadable = *passed_over;
  return {};
}

Status write_charts(const std::string& folder, const std::vector<Section>& sections) {
  HEDGE_TRY(os::make_dirs(folder));
  for (const Section& section : sections) {
    for (const Svg& chart : section.charts)
      HEDGE_TRY(os::write_file_atomic(folder + "/" + chart.id() + ".svg", chart.file_text()));
  }
  return {};
}

Status write_all(const Options& options, const Tally& tally, const ReportFacts& facts) {
  const std::vector<Section> sections = sections_of(tally);
  if (!options.svg_folder.empty()) HEDGE_TRY(write_charts(options.svg_folder, sections));
  const bool only_other = options.out.empty() && (options.as_json || !options.svg_folder.empty());
  const std::string page = only_other ? "" : options.out.empty() ? kDefaultPage : options.out;
  if (!page.empty()) HEDGE_TRY(os::write_file_atomic(page, html_of(tally, sections, facts)));
  if (options.as_json) {
    fmt::print("{}\n", json_of(tally, facts));
    return {};
  }
  if (tally.answers() == 0) {
    fmt::print("No answer is on record for the last {}; `hedge serve` records every decision.\n",
               facts.since);
  } else {
    fmt::print("{} answers: {} here, {} upstream, {} by both\n", grouped(tally.answers()),
               grouped(tally.routes()[0].answers), grouped(tally.routes()[1].answers),
               grouped(tally.routes()[2].answers));
  }
  if (!page.empty()) fmt::print("written: {}\n", printable(page));
  if (!options.svg_folder.empty()) fmt::print("written: the charts in {}\n", printable(options.svg_folder));
  return {};
}

int run_report(const Options& options) {
  const auto given = policy_from(options.config_path, options.data_dir);
  if (!given.ok()) return fail(given.error()), kExitUsage;
  const Settings& settings = *given;
  const auto span_ms = parse_since(options.since);
  if (!span_ms.ok()) return fail(span_ms.error()), kExitUsage;
  catch_interrupts();
  Labels labels;
  ReportFacts facts;
  facts.since = options.since;
  if (const Status read = read_labels(options, settings, labels, facts); !read.ok())
    return fail(read.error());
  Tally tally(settings.policy, labels);
  if (const Status read = read_decisions(settings, *span_ms, tally, facts); !read.ok())
    return fail(read.error());
  const Status written = write_all(options, tally, facts);
  return written.ok() ? kExitOk : fail(written.error());
}

}  // namespace

void add_route_report(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand(
      "report", "Draw what went where: shares, quality, cost, times, reasons, as HTML and SVG");
  command->footer(kFooter);
  command->add_option("--since", options->since, "How far back: hours or days, like 36h or 7d")
      ->type_name("TIME")
      ->capture_default_str();
  command->add_option("--out", options->out, fmt::format("The page (default {})", kDefaultPage))
      ->type_name("FILE");
  command->add_option("--svg", options->svg_folder, "Write each chart as a file of its own, too")
      ->type_name("DIR");
  command->add_option("--labels", options->labels_path, "JSON lines: which answers were right")
      ->type_name("FILE");
  command
      ->add_option("--config", options->config_path,
                   "TOML file: the data folder, prices and the policy to compare")
      ->type_name("FILE");
  command
      ->add_option("--data-dir", options->data_dir,
                   "Folder of the session database (default $HEDGE_HOME, else ~/.local/share/hedge)")
      ->type_name("DIR");
  command->add_flag("--json", options->as_json, "Print the figures as JSON; no page without --out");
  command->callback([options, &chosen] { chosen = [options] { return run_report(*options); }; });
}

}  // namespace hedge::cli
