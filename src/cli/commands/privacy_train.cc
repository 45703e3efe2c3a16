// hedge privacy train and eval: fit the tagger, and measure how well personal data is found.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/rng.h"
#include "base/utf8.h"
#include "cli/commands/privacy.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "os/file.h"
#include "privacy/evaluate.h"
#include "privacy/scan.h"
#include "privacy/train.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr size_t kFileBytesMax = size_t{256} << 20;
constexpr size_t kWeightsBytesMax = size_t{64} << 20;

constexpr const char* kTrainFooter = R"(
--data is a JSON array of {"full_text", "template_id", "spans": [{"entity_type", "start_position", "end_position"}]}
(presidio-research's format). --lists are lines KIND<TAB>LOCALE<TAB>VALUE, as src/privacy/assets/make_lists.py writes
them. --templates has one text with {{TYPE}} in place of values per line ("\n" is a line break); --clean has one
text without personal data per line.

Example:
  hedge privacy train --data synth_dataset_v2.json --lists lists.tsv --templates src/privacy/assets/templates.txt \
    --out tagger.bin)";

constexpr const char* kEvalFooter = R"(
Strict: type, begin and end are those of the mark. Token: per word, number or sign, inside or outside of a type, as
presidio-research's Evaluator counts; in all, a token is right when it is inside of any type both times ("typed":
of the same type). Overlap: a span of the same type touches it. F2 counts recall twice as much as precision.
With --folds N the tagger is trained N times, each time without the templates that it is then measured on;
it needs what `hedge privacy train` needs. Without, the weights are measured as they are.

Examples:
  hedge privacy eval --data synth_dataset_v2.json
  hedge privacy eval --data synth_dataset_v2.json --folds 5 --lists lists.tsv --json)";

struct Options {
  std::string data, lists, out, weights;
  std::vector<std::string> templates, clean;
  int folds = 0;
  int threads = 1;
  bool as_json = false;
  bool show_errors = false;
  uint64_t fold_seed = 1;
  privacy::TrainOptions train;
};

// Lines of a file that are not empty; "\n" in them stands for a line break.
Result<std::vector<std::string>> read_lines(const std::string& path) {
  HEDGE_TRY_SET(const std::string bytes, os::read_file(path, kFileBytesMax));
  if (!utf8_valid(bytes)) return make_error(ErrorCode::kCorrupt, path + ": expected UTF-8, got other bytes");
  std::vector<std::string> lines;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    std::string line;
    for (size_t i = at; i < end; ++i) {
      const bool escape = bytes[i] == '\\' && i + 1 < end && bytes[i + 1] == 'n';
      line.push_back(escape ? '\n' : bytes[i]);
      i += escape ? 1 : 0;
    }
    if (!line.empty() && line[0] != '#') lines.push_back(std::move(line));
    at = end + 1;
  }
  return lines;
}

Result<privacy::TrainData> read_train_data(const Options& options) {
  privacy::TrainData data;
  HEDGE_TRY_SET(data.marked, read_examples(options.data));
  HEDGE_TRY_SET(const std::string lists, os::read_file(options.lists, kFileBytesMax));
  Result<privacy::WordLists> parsed = privacy::WordLists::parse(lists);
  if (!parsed.ok()) return make_error(parsed.error().code, options.lists + ": " + parsed.error().detail);
  data.lists = std::move(*parsed);
  for (const std::string& path : options.templates) {
    HEDGE_TRY_SET(const std::vector<std::string> lines, read_lines(path));
    data.templates.insert(data.templates.end(), lines.begin(), lines.end());
  }
  for (const std::string& path : options.clean) {
    HEDGE_TRY_SET(const std::vector<std::string> lines, read_lines(path));
    for (const std::string& line : lines) data.clean.push_back(privacy::Example{line, -1, {}});
  }
  return data;
}

// A tagger and the bytes it reads.
struct Weights {
  std::vector<uint64_t> bytes;  // aligned
  size_t size = 0;

  explicit Weights(const std::string& content) : bytes((content.size() + 7) / 8), size(content.size()) {
    std::copy(content.begin(), content.end(), reinterpret_cast<char*>(bytes.data()));
  }
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), size}; }
};

void measure(const std::vector<privacy::Example>& examples, const privacy::Tagger& tagger,
             const std::set<std::string>& types, bool show_errors, privacy::Scores& scores) {
  privacy::Scanner scanner(tagger);
  for (const privacy::Example& example : examples) {
    std::vector<privacy::Span> found;
    for (const privacy::Span& span : scanner.scan(example.text)) {
      if (types.count(std::string(span.type)) != 0) found.push_back(span);
    }
    privacy::add_scores(example, found, scores);
    if (!show_errors) continue;
    const auto text = [&](size_t begin, size_t end) {
      return printable(std::string_view(example.text).substr(begin, end - begin));
    };
    std::string line;
    for (const privacy::Mark& mark : example.marks) {
      if (std::none_of(found.begin(), found.end(), [&](const auto& s) {
            return s.type == mark.type && s.begin == mark.begin && s.end == mark.end;
          }))
        line += fmt::format("\n   missed {} [{}]", mark.type, text(mark.begin, mark.end));
    }
    for (const privacy::Span& s : found) {
      if (std::none_of(example.marks.begin(), example.marks.end(), [&](const auto& m) {
            return s.type == m.type && s.begin == m.begin && s.end == m.end;
          }))
        line += fmt::format("\n   wrong {} [{}] {:.2f}", s.type, text(s.begin, s.end), s.score);
    }
    if (!line.empty()) fmt::print(stderr, "{}: {}{}\n", example.group, printable(example.text), line);
  }
}

Result<privacy::Scores> cross_validate(const Options& options) {
  HEDGE_TRY_SET(const privacy::TrainData data, read_train_data(options));
  std::set<int64_t> unique;
  std::set<std::string> types;
  for (const privacy::Example& example : data.marked) {
    unique.insert(example.group);
    for (const privacy::Mark& mark : example.marks) types.insert(mark.type);
  }
  std::vector<int64_t> groups(unique.begin(), unique.end());
  Rng rng(options.fold_seed);
  for (size_t i = groups.size(); i > 1; --i) std::swap(groups[i - 1], groups[rng.below(i)]);
  std::map<int64_t, int> fold_of;
  for (size_t i = 0; i < groups.size(); ++i)
    fold_of[groups[i]] = static_cast<int>(i % static_cast<size_t>(options.folds));

  privacy::Scores scores;
  Status failed;
  std::mutex mutex;
  int next = 0;
  const auto work = [&] {
    for (;;) {
      int fold = 0;
      {
        const std::lock_guard lock(mutex);
        if (next == options.folds || !failed.ok()) return;
        fold = next++;
      }
      privacy::TrainData rest;
      rest.lists = data.lists;
      rest.clean = data.clean;
      rest.templates = data.templates;
      std::vector<privacy::Example> held_out;
      for (const privacy::Example& example : data.marked)
        (fold_of[example.group] == fold ? held_out : rest.marked).push_back(example);
      privacy::TrainOptions train = options.train;
      train.progress = [fold](std::string_view text) { fmt::print(stderr, "fold {}: {}\n", fold + 1, text); };
      const Result<std::string> bytes = privacy::train_tagger(rest, train);
      const std::lock_guard lock(mutex);
      if (!bytes.ok()) {
        failed = bytes.error();
        return;
      }
      const Weights weights(*bytes);
      const Result<privacy::Tagger> tagger = privacy::Tagger::open(weights.view());
      if (!tagger.ok()) {
        failed = tagger.error();
        return;
      }
      measure(held_out, *tagger, types, options.show_errors, scores);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < options.threads; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (!failed.ok()) return failed.error();
  return scores;
}

Result<privacy::Scores> measure_weights(const Options& options) {
  HEDGE_TRY_SET(const std::vector<privacy::Example> examples, read_examples(options.data));
  std::set<std::string> types;
  for (const privacy::Example& example : examples) {
    for (const privacy::Mark& mark : example.marks) types.insert(mark.type);
  }
  privacy::Scores scores;
  if (options.weights.empty()) {
    measure(examples, privacy::builtin_tagger(), types, options.show_errors, scores);
    return scores;
  }
  HEDGE_TRY_SET(const std::string bytes, os::read_file(options.weights, kWeightsBytesMax));
  const Weights weights(bytes);
  HEDGE_TRY_SET(const privacy::Tagger tagger, privacy::Tagger::open(weights.view()));
  measure(examples, tagger, types, options.show_errors, scores);
  return scores;
}

json to_json(const privacy::Counts& c) {
  return {{"precision", c.precision()}, {"recall", c.recall()}, {"f1", c.f(1)}, {"f2", c.f(2)},
          {"marked", c.marked},         {"found", c.predicted}};
}

void print_scores(const privacy::Scores& scores, bool as_json) {
  if (as_json) {
    json types = json::object();
    for (const auto& [type, counts] : scores.token) {
      const auto strict = scores.strict.find(type);
      const auto overlap = scores.overlap.find(type);
      types[type] = {{"token", to_json(counts)},
                     {"strict", to_json(strict == scores.strict.end() ? privacy::Counts{} : strict->second)},
                     {"overlap_recall", overlap == scores.overlap.end() ? 0 : overlap->second.recall()}};
    }
    const json out = {{"types", types},
                      {"all",
                       {{"token", to_json(scores.token_all)},
                        {"token_typed", to_json(scores.token_typed)},
                        {"strict", to_json(scores.strict_all)}}}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
  fmt::print("{:<18} {:>6} | {:>6} {:>6} {:>6} | {:>6} {:>6} {:>6} | {:>6}\n", "TYPE", "SPANS", "P", "R",
             "F2", "P", "R", "F2", "R");
  fmt::print("{:<18} {:>6} | {:^20} | {:^20} | overlap\n", "", "", "strict spans", "tokens");
  const auto line = [](std::string_view name, const privacy::Counts& s, const privacy::Counts& t,
                       double overlap) {
    fmt::print("{:<18} {:>6} | {:>6.3f} {:>6.3f} {:>6.3f} | {:>6.3f} {:>6.3f} {:>6.3f} | {:>6.3f}\n", name,
               s.marked, s.precision(), s.recall(), s.f(2), t.precision(), t.recall(), t.f(2), overlap);
  };
  privacy::Counts overlap_all;
  for (const auto& [type, counts] : scores.token) {
    const auto strict = scores.strict.find(type);
    const auto overlap = scores.overlap.find(type);
    const privacy::Counts o = overlap == scores.overlap.end() ? privacy::Counts{} : overlap->second;
    overlap_all += o;
    line(type, strict == scores.strict.end() ? privacy::Counts{} : strict->second, counts, o.recall());
  }
  line("all, typed", scores.strict_all, scores.token_typed, overlap_all.recall());
  line("all", scores.strict_all, scores.token_all, overlap_all.recall());
}

int run_eval(const Options& options) {
  if (options.folds > 0 && options.lists.empty())
    return fail(make_error(ErrorCode::kInvalidArgument, "--folds trains taggers and needs --lists"));
  const Result<privacy::Scores> scores =
      options.folds > 0 ? cross_validate(options) : measure_weights(options);
  if (!scores.ok()) return fail(scores.error());
  print_scores(*scores, options.as_json);
  return kExitOk;
}

int run_train(Options& options) {
  const Result<privacy::TrainData> data = read_train_data(options);
  if (!data.ok()) return fail(data.error());
  options.train.progress = [](std::string_view text) { fmt::print(stderr, "{}\n", text); };
  const Result<std::string> bytes = privacy::train_tagger(*data, options.train);
  if (!bytes.ok()) return fail(bytes.error());
  std::ofstream out(options.out, std::ios::binary | std::ios::trunc);
  out.write(bytes->data(), static_cast<std::streamsize>(bytes->size()));
  out.close();
  if (!out) return fail(make_error(ErrorCode::kIo, options.out + ": cannot be written"));
  fmt::print(stderr, "{}: {}\n", printable(options.out), human_bytes(bytes->size()));
  return kExitOk;
}

void add_train_options(CLI::App& command, Options& options) {
  privacy::TrainOptions& t = options.train;
  command.add_option("--lists", options.lists, "Names and places by country (see below)")->type_name("FILE");
  command.add_option("--templates", options.templates, "Further templates; may be given again")
      ->type_name("FILE");
  command.add_option("--clean", options.clean, "Texts without personal data; may be given again")
      ->type_name("FILE");
  command.add_option("--epochs", t.epochs, "Passes over the texts")
      ->type_name("N")
      ->transform(in_range(1, 100))
      ->capture_default_str();
  command.add_option("--copies", t.copies, "Variations of every marked text")
      ->type_name("N")
      ->transform(in_range(0, 1000))
      ->capture_default_str();
  command.add_option("--fills", t.fills, "Texts from every template")
      ->type_name("N")
      ->transform(in_range(0, 10000))
      ->capture_default_str();
  command.add_option("--rows", t.rows_max, "Features that are kept")
      ->type_name("N")
      ->transform(in_range(100, 700000))
      ->capture_default_str();
  command.add_option("--rate", t.rate, "Step of AdaGrad")
      ->type_name("X")
      ->transform(in_range(0.0001, 10.0))
      ->capture_default_str();
  command.add_option("--dropout", t.dropout, "Share of features that a step does not see")
      ->type_name("X")
      ->transform(in_range(0.0, 0.95))
      ->capture_default_str();
  command.add_option("--prune-epochs", t.prune_epochs, "Passes after the weak features have gone")
      ->type_name("N")
      ->transform(in_range(0, 100))
      ->capture_default_str();
  command.add_option("--l2", t.l2, "Pull of the weights towards 0")
      ->type_name("X")
      ->transform(in_range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--unlisted", t.unlisted, "Share of texts whose names count as in no list")
      ->type_name("X")
      ->transform(in_range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--bias", t.outside_bias, "Taken from the score of \"no type\"")
      ->type_name("X")
      ->transform(in_range(-10.0, 10.0))
      ->capture_default_str();
  command.add_option("--seed", t.seed, "Of variations and order")
      ->type_name("N")
      ->transform(in_range<uint64_t>(0, 1u << 31))
      ->capture_default_str();
}

}  // namespace

void add_privacy_train(CLI::App& privacy, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = privacy.add_subcommand("train", "Fit the tagger's weights to marked texts");
  command->footer(kTrainFooter);
  command->add_option("--data", options->data, "Marked texts (see below)")->type_name("FILE")->required();
  command->add_option("--out", options->out, "The weights file to write")->type_name("FILE")->required();
  add_train_options(*command, *options);
  command->get_option("--lists")->required();
  command->callback([options, &chosen] { chosen = [options] { return run_train(*options); }; });
}

void add_privacy_eval(CLI::App& privacy, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = privacy.add_subcommand("eval", "Measure precision, recall and F2 on marked texts");
  command->footer(kEvalFooter);
  command->add_option("--data", options->data, "Marked texts (see `hedge privacy train --help`)")
      ->type_name("FILE")
      ->required();
  command->add_option("--weights", options->weights, "Of the tagger; default: those inside the program")
      ->type_name("FILE");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->add_flag("--errors", options->show_errors,
                    "Print the texts and what is wrong about them to standard error");
  command->add_option("--folds", options->folds, "Cross-validate over so many parts of the templates")
      ->type_name("N")
      ->transform(in_range(2, 100));
  command->add_option("--fold-seed", options->fold_seed, "Of the parts")
      ->type_name("N")
      ->transform(in_range<uint64_t>(0, 1u << 31))
      ->capture_default_str();
  command->add_option("-t,--threads", options->threads, "Parts at a time")
      ->type_name("N")
      ->transform(in_range(1, 64))
      ->capture_default_str();
  add_train_options(*command, *options);
  command->callback([options, &chosen] { chosen = [options] { return run_eval(*options); }; });
}

}  // namespace hedge::cli
