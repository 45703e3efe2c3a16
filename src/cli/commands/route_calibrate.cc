// hedge route calibrate: thresholds on what a probe says, so that a promise holds.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/rng.h"
#include "cli/commands/route.h"
#include "cli/options.h"
#include "cli/probe_items.h"
#include "cli/probes.h"
#include "cli/terminal.h"
#include "model/config.h"
#include "os/cpu.h"
#include "os/file.h"
#include "route/policy.h"
#include "route/probe_train.h"
#include "route/thresholds.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr uint32_t kParts = 5;  // that the questions are cut into with --same-questions

struct Options {
  std::string model, data_path, out_path, probe_path, rows_path, judged_path;
  int threads = 0;
  uint64_t seed = 1;
  double max_wrong = -1, max_share = -1;
  bool same_questions = false, as_json = false;
};

constexpr const char* kFooter = R"(
In flight, at some tokens of an answer, the probe gives the probability that the answer is wrong. Above a
threshold the upstream takes over. This command sets the thresholds so that on new questions like these, on
average,
  --max-wrong 0.2   at most 2 in 10 answers are wrong and stay here, or
  --max-share 0.3   at most 3 in 10 answers go upstream.
It needs questions as for `hedge route probe train`, 100 groups of them at least, and not those that the probe
was fitted on; if they are the same, say --same-questions: each fifth of them is then judged by a probe that is
fitted on three others, which takes minutes.

Answering takes longest: --rows keeps what the probe said, and --judged sets other thresholds from it.

The file belongs to this probe: [policy.confidence] thresholds = "FILE".

Examples:
  hedge route calibrate -m smollm2-135m-instruct --data new.jsonl --max-share 0.3 --out my.thresholds
  hedge route calibrate -m MODEL --probe my.probe --data questions.jsonl --same-questions --max-wrong 0.2 \
      --out my.thresholds)";

constexpr size_t kRowsBytesMax = 512u << 20;

// What the probe said, and of which question.
struct Judged {
  uint64_t probe = 0;                           // hash of its bytes
  std::vector<route::Trajectory> trajectories;  // of the items, in their order
  std::vector<std::string> rows;                // of --rows
};

// An answer that ends while it is held back is judged as a whole too.
void add_whole(route::Trajectory& trajectory, double p_end) {
  if (trajectory.tokens < route::Confidence{}.first_tokens)
    trajectory.moments.push_back({route::kWholeAnswer, p_end});
}

// "moments" are [tokens, probability], 0 tokens the whole answer; "part" is that of the question, "fit" the
// part whose probe judged it.
std::string row_of(const route::Trajectory& trajectory, const ProbeItem& item, double p_end, uint32_t part,
                   uint32_t fit) {
  json moments = json::array();
  for (const auto& moment : trajectory.moments) moments.push_back({moment.tokens, moment.p_wrong});
  return json{{"group", trajectory.group},
              {"cell", item.cell},
              {"wrong", trajectory.wrong},
              {"tokens", trajectory.tokens},
              {"p_wrong", p_end},
              {"part", part},
              {"fit", fit},
              {"moments", std::move(moments)}}
      .dump();
}

// By the probe of the engine, as in flight.
Result<Judged> judge(engine::Engine& engine, const std::vector<ProbeItem>& items) {
  Judged judged;
  std::vector<double> p_end;
  std::vector<std::string> answers;
  ProgressCounter counter("answering");
  HEDGE_TRY(answer_probe_items(engine, items, ProbeWish::kVerdict, [&](size_t i, ProbeAnswer answer) {
    route::Trajectory trajectory{{}, answer.end.tokens, false, items[i].group};
    for (const ProbeMoment& moment : answer.moments)
      trajectory.moments.push_back({moment.tokens, static_cast<double>(moment.p_wrong)});
    add_whole(trajectory, static_cast<double>(answer.end.p_wrong));
    judged.trajectories.push_back(std::move(trajectory));
    p_end.push_back(static_cast<double>(answer.end.p_wrong));
    answers.push_back(std::move(answer.text));
    counter.show(i + 1, items.size());
  }));
  HEDGE_TRY_SET(const std::vector<bool> right, judge_probe_answers(items, answers));
  for (size_t i = 0; i < items.size(); ++i) {
    judged.trajectories[i].wrong = !right[i];
    judged.rows.push_back(row_of(judged.trajectories[i], items[i], p_end[i], 0, 0));
  }
  return judged;
}

// What `probe` would have said of an answer that the engine made without it.
route::Trajectory replay(const route::Probe& probe, const ProbeAnswer& answer, double& p_end) {
  route::Trajectory trajectory;
  trajectory.tokens = answer.end.tokens;
  const double familiarity = probe.regions.familiarity(answer.prompt);
  for (const ProbeMoment& moment : answer.moments) {
    const route::ProbeInput input{answer.prompt, moment.answer, moment.facts};
    const bool before = moment.tokens == 1;  // of the answer there is no state yet
    trajectory.moments.push_back(
        {moment.tokens, before ? probe.wrong_before(input, familiarity) : probe.wrong(input, familiarity)});
  }
  p_end = probe.wrong({answer.prompt, answer.end.answer, answer.end.facts}, familiarity);
  add_whole(trajectory, p_end);
  return trajectory;
}

// Each part of the groups by a probe that was fitted on the parts but it and the next; the next by the same
// one, so that a study can calibrate on one part and judge another which neither probe nor thresholds have
// seen.
Result<Judged> judge_across(const Options& options, engine::Engine& engine,
                            const std::vector<ProbeItem>& items) {
  LabelledItems labelled;
  {
    ProgressCounter counter("answering");
    HEDGE_TRY_SET(labelled, label_probe_items(engine, items, kProbeSamples,
                                              [&](size_t done) { counter.show(done, items.size()); }));
  }
  std::vector<uint32_t> parts;
  for (const ProbeItem& item : items)
    parts.push_back(static_cast<uint32_t>(Rng(options.seed * 7919 + item.group).below(uint64_t{kParts})));
  const std::vector<int> blocks = route::default_probe_blocks(engine.config().layers);
  route::ProbeTrainOptions train;
  train.seed = options.seed;
  train.threads = options.threads > 0 ? options.threads : os::usable_cores();
  Judged judged;
  judged.trajectories.resize(items.size());
  ProgressCounter counter("fitting networks");
  for (uint32_t part = 0; part < kParts; ++part) {
    const uint32_t next = (part + 1) % kParts;
    std::vector<route::ProbeExample> examples;
    for (size_t i = 0; i < items.size(); ++i) {
      if (parts[i] != part && parts[i] != next) examples.push_back(labelled.examples[i]);
    }
    route::ProbeReport report;
    const auto progress = [&](int done, int total) {
      const auto many = static_cast<size_t>(total);
      counter.show(part * many + static_cast<size_t>(done), kParts * many);
    };
    HEDGE_TRY_SET(const route::Probe probe, route::train_probe(probe_model(engine.file(), engine.config()),
                                                               blocks, examples, train, progress, report));
    if (interrupted()) return make_error(ErrorCode::kCancelled, "interrupted");
    for (size_t i = 0; i < items.size(); ++i) {
      if (parts[i] != part && parts[i] != next) continue;
      double p_end = 0;
      route::Trajectory trajectory = replay(probe, labelled.greedy[i], p_end);
      trajectory.wrong = labelled.examples[i].answer.wrong;
      trajectory.group = items[i].group;
      judged.rows.push_back(row_of(trajectory, items[i], p_end, parts[i], part));
      if (parts[i] == part) judged.trajectories[i] = std::move(trajectory);
    }
  }
  return judged;
}

// A line about the probe, then one per answer.
Status write_rows(const std::string& path, const Judged& judged) {
  std::string text = json{{"probe", fmt::format("{:016x}", judged.probe)}}.dump() + "\n";
  for (const std::string& row : judged.rows) text += row + "\n";
  return os::write_file_atomic(path, text);
}

bool read_row(const json& row, route::Trajectory& trajectory) {
  const auto has = [&](const char* key, auto is) { return row.contains(key) && (row[key].*is)(); };
  if (!row.is_object() || !has("group", &json::is_number_unsigned) || !has("wrong", &json::is_boolean) ||
      !has("tokens", &json::is_number_unsigned) || !has("moments", &json::is_array))
    return false;
  trajectory.group = row["group"].get<uint32_t>();
  trajectory.wrong = row["wrong"].get<bool>();
  trajectory.tokens = row["tokens"].get<int>();
  for (const json& moment : row["moments"]) {
    if (!moment.is_array() || moment.size() != 2 || !moment[0].is_number_unsigned() || !moment[1].is_number())
      return false;
    trajectory.moments.push_back({moment[0].get<int>(), moment[1].get<double>()});
  }
  return true;
}

Result<Judged> read_rows(const std::string& path) {
  HEDGE_TRY_SET(const std::string text, os::read_file(path, kRowsBytesMax));
  Judged judged;
  size_t number = 0;
  for (size_t at = 0; at < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const json row = json::parse(text.begin() + static_cast<ptrdiff_t>(at),
                                 text.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    at = end + 1;
    const auto bad = [&](std::string_view expected) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{}:{}: expected {}", path, number + 1, expected));
    };
    if (number == 0) {
      if (!row.is_object() || !row.contains("probe") || !row["probe"].is_string())
        return bad("{\"probe\": ...}, as --rows writes it");
      const auto& hash = row["probe"].get_ref<const std::string&>();
      if (std::from_chars(hash.data(), hash.data() + hash.size(), judged.probe, 16).ec != std::errc())
        return bad("a hash of a probe");
      continue;
    }
    route::Trajectory trajectory;
    if (!read_row(row, trajectory)) return bad("\"group\", \"wrong\", \"tokens\" and \"moments\"");
    if (row.contains("part") && row.contains("fit") && row["part"] != row["fit"]) continue;  // for studies
    judged.trajectories.push_back(std::move(trajectory));
  }
  return judged;
}

void report(const Options& options, const route::Thresholds& fitted,
            const std::vector<route::Trajectory>& trajectories) {
  const route::Outcome outcome = route::outcome_of(fitted, trajectories);
  if (options.as_json) {
    fmt::print("{}\n", json{{"questions", fitted.questions},
                            {"groups", fitted.groups},
                            {"goal", std::string(route::to_string(fitted.goal))},
                            {"target", fitted.target},
                            {"wrong", outcome.wrong},
                            {"share", outcome.share},
                            {"early", outcome.early}}
                           .dump());
    return;
  }
  const bool of_wrong = fitted.goal == route::Goal::kMaxWrong;
  fmt::print(
      "{}: {} questions of {} groups\n"
      "promised of new questions like these, on average: {} at most {:.3f}\n"
      "on these: {:.3f} of the answers are wrong and stay here, {:.3f} go upstream, {:.0f} % of them before "
      "a\n"
      "quarter of the local answer was written\n",
      printable(options.out_path), fitted.questions, fitted.groups,
      of_wrong ? "wrong answers that stay here" : "share sent upstream", fitted.target, outcome.wrong,
      outcome.share, 100 * outcome.early);
  if ((of_wrong ? outcome.wrong : outcome.share) > fitted.target) {
    fmt::print(
        "Above the promise on these alone: one half of the groups placed the thresholds so that it holds, "
        "the\n"
        "other half, which calibrated the probe, differs by chance. More questions bring both together.\n");
  }
}

Result<Judged> judge_by_model(const Options& options) {
  HEDGE_TRY_SET(const std::vector<ProbeItem> items, read_probe_items(options.data_path, true));
  // Broken expressions are found before the model has worked for minutes.
  HEDGE_TRY(judge_probe_answers(items, std::vector<std::string>(items.size())));
  std::shared_ptr<const route::Probe> probe;
  ProbeLoader loader = probe_loader(options.probe_path.empty() ? "auto" : options.probe_path,
                                    route::ReadAt::kEveryToken, probe);
  HEDGE_TRY_SET(const std::unique_ptr<engine::Engine> engine,
                load_probe_engine(options.model, options.threads, std::move(loader)));
  HEDGE_TRY(require_probe(probe, *engine));
  HEDGE_TRY_SET(Judged judged,
                options.same_questions ? judge_across(options, *engine, items) : judge(*engine, items));
  judged.probe = fnv1a(probe->to_bytes());
  if (!options.rows_path.empty()) {
    HEDGE_TRY(write_rows(options.rows_path, judged));
  }
  return judged;
}

Status calibrate(const Options& options) {
  const auto missing = [](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("expected {}; got none", what));
  };
  if (options.max_wrong < 0 && options.max_share < 0)
    return missing("--max-wrong or --max-share, what is to be promised");
  if (options.judged_path.empty() && (options.model.empty() || options.data_path.empty()))
    return missing("a model (-m) and questions (--data), or what was said of them (--judged)");
  HEDGE_TRY_SET(const Judged judged,
                options.judged_path.empty() ? judge_by_model(options) : read_rows(options.judged_path));
  const route::Goal goal = options.max_wrong >= 0 ? route::Goal::kMaxWrong : route::Goal::kMaxShare;
  const double target = options.max_wrong >= 0 ? options.max_wrong : options.max_share;
  auto fitted = route::fit_thresholds(judged.probe, goal, target, judged.trajectories, options.seed);
  if (!fitted.ok()) {
    Error error = std::move(fitted).error();
    error.detail = fmt::format(
        "{}: {}", options.judged_path.empty() ? options.data_path : options.judged_path, error.detail);
    return error;
  }
  HEDGE_TRY(os::write_file_atomic(options.out_path, fitted->to_text()));
  report(options, *fitted, judged.trajectories);
  return {};
}

}  // namespace

void add_route_calibrate(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand(
      "calibrate", "Set when a probe's word sends an answer upstream, so that a promise holds");
  command->footer(kFooter);
  CLI::Option* model =
      command->add_option("-m,--model", options->model, "Name from `hedge list`, or path of a GGUF file")
          ->type_name("MODEL");
  CLI::Option* data =
      command->add_option("--data", options->data_path, "Questions with accepted answers, JSON lines")
          ->type_name("FILE");
  command->add_option("--out", options->out_path, "Where the thresholds go")->type_name("FILE")->required();
  CLI::Option* wrong =
      command->add_option("--max-wrong", options->max_wrong, "Largest share of wrong answers that stay here")
          ->type_name("X")
          ->transform(in_range(0.001, 0.999));
  command->add_option("--max-share", options->max_share, "Largest share of answers that go upstream")
      ->type_name("X")
      ->transform(in_range(0.001, 0.999))
      ->excludes(wrong);
  CLI::Option* probe =
      command
          ->add_option("--probe", options->probe_path,
                       "The probe, fitted on this model; default: the one that comes with Hedge")
          ->type_name("FILE");
  CLI::Option* same =
      command->add_flag("--same-questions", options->same_questions,
                        "The probe was fitted on these questions: judge each fifth by one that never saw it");
  CLI::Option* rows = command
                          ->add_option("--rows", options->rows_path,
                                       "Write here what the probe said of each answer, JSON lines")
                          ->type_name("FILE");
  CLI::Option* judged = command
                            ->add_option("--judged", options->judged_path,
                                         "In place of model, questions and probe: what --rows wrote")
                            ->type_name("FILE");
  for (CLI::Option* of_the_model : {model, data, probe, same, rows}) judged->excludes(of_the_model);
  command->add_option("-s,--seed", options->seed, "Of how the questions are cut into parts")
      ->type_name("S")
      ->transform(in_range(uint64_t{0}, UINT64_MAX))
      ->capture_default_str();
  command
      ->add_option("-t,--threads", options->threads,
                   "Threads that compute; 0: all cores this process may use")
      ->type_name("N")
      ->transform(in_range(0, 256))
      ->capture_default_str();
  command->add_flag("--json", options->as_json, "Print the report as one JSON object");
  command->callback([options, &chosen] {
    chosen = [options] {
      catch_interrupts();
      const Status status = calibrate(*options);
      return status.ok() ? kExitOk : fail(status.error());
    };
  });
}

}  // namespace hedge::cli
