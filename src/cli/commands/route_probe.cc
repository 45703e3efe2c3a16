// hedge route probe: fits probes to a model, and shows what they say.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <span>

#include "cli/commands/route.h"
#include "cli/options.h"
#include "cli/probe_items.h"
#include "cli/probes.h"
#include "cli/terminal.h"
#include "model/config.h"
#include "os/cpu.h"
#include "os/file.h"
#include "route/probe_train.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string model, data_path, out_path, probe_path;
  int threads = 0, samples = kProbeSamples;
  uint64_t seed = 1;
  bool as_json = false;
};

constexpr const char* kProbeFooter = R"(
A probe reads the model's own state (its residual stream at the end of the prompt, and the mean over the
answer's tokens) and gives the probability that the answer is wrong. It belongs to one model file: fit one
for each. Fitting needs questions with known answers, some hundreds at least, thousands are better.

Examples:
  hedge route probe train -m smollm2-135m-instruct --data questions.jsonl --out my.probe
  hedge route probe score -m smollm2-135m-instruct --probe my.probe --data new.jsonl --json
  hedge route probe score -m smollm2-135m-instruct --data new.jsonl      the probe that comes with Hedge)";

constexpr const char* kTrainFooter = R"(
One JSON object a line:
  {"messages": [{"role": "user", "content": "Capital of France?"}], "accept": "(?i)\\bparis\\b",
   "cell": "capitals", "group": "france"}
or, for a raw completion without chat template, {"text": "The capital of France is", "accept": "Paris"}.

  accept   regular expression (Perl's kind), searched in the answer; a match means right
  cell     kind of question, if known: rare kinds count more than their number, and the report is the mean
           over kinds, so that easy and hard kinds do not pass for knowledge
  group    questions that are much the same, if known: they never stand on both sides of a held-back check

The model answers every question greedily with at most 24 tokens (a raw completion: its first whole word), and
--samples times more by chance (temperature 1), so that it is seen being right and wrong about the same thing.
Then small networks are fitted; each leaves out a part of the groups, and what they say of those calibrates
the probability and makes the report. The same file, model and seed give the same probe.)";

constexpr const char* kScoreFooter = R"(
Questions as for `hedge route probe train`; "accept", "cell" and "group" are not needed. With --json one object
a line, in the order of the questions:
  {"answer": "Paris", "p_wrong": 0.12, "p_wrong_before": 0.31}
p_wrong is the probability that the answer is wrong, p_wrong_before the one known before the first token.)";

Status train(const Options& options) {
  HEDGE_TRY_SET(const std::vector<ProbeItem> items, read_probe_items(options.data_path, true));
  if (items.size() < route::kProbeExamplesMin) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{}: expected at least {} questions, got {}", options.data_path,
                                  route::kProbeExamplesMin, items.size()));
  }
  // Broken expressions are found before the model has worked for minutes.
  HEDGE_TRY(judge_probe_answers(items, std::vector<std::string>(items.size())));
  HEDGE_TRY_SET(const std::unique_ptr<engine::Engine> engine,
                load_probe_engine(options.model, options.threads, {}));
  LabelledItems labelled;
  {
    ProgressCounter counter("answering");
    HEDGE_TRY_SET(labelled, label_probe_items(*engine, items, options.samples,
                                              [&](size_t done) { counter.show(done, items.size()); }));
  }
  route::ProbeTrainOptions train;
  train.seed = options.seed;
  train.threads = options.threads > 0 ? options.threads : os::usable_cores();
  route::ProbeReport report;
  const std::vector<int> blocks = route::default_probe_blocks(engine->config().layers);
  ProgressCounter counter("fitting networks");
  HEDGE_TRY_SET(
      const route::Probe probe,
      route::train_probe(
          probe_model(engine->file(), engine->config()), blocks, labelled.examples, train,
          [&](int done, int total) { counter.show(static_cast<size_t>(done), static_cast<size_t>(total)); },
          report));
  HEDGE_TRY(os::write_file_atomic(options.out_path, probe.to_bytes()));
  if (options.as_json) {
    fmt::print("{}\n", json{{"examples", report.examples},
                            {"cells", report.tasks},
                            {"wrong", report.wrong},
                            {"auroc_before", report.auroc_before},
                            {"auroc", report.auroc_answer},
                            {"auroc_unknown", report.auroc_unknown},
                            {"auroc_logprob", report.auroc_logprob},
                            {"calibration_error", report.calibration_error}}
                           .dump());
    return {};
  }
  fmt::print(
      "{}: {} answers, {:.0f} % wrong, {} kinds of question\n"
      "held-back AUROC of \"wrong\", mean over the kinds: {:.3f} after the answer, {:.3f} before it;\n"
      "the answer's log-probability alone: {:.3f}. Calibration error {:.3f}\n",
      options.out_path, report.examples, 100 * report.wrong, report.tasks, report.auroc_answer,
      report.auroc_before, report.auroc_logprob, report.calibration_error);
  return {};
}

Status score(const Options& options) {
  HEDGE_TRY_SET(const std::vector<ProbeItem> items, read_probe_items(options.data_path, false));
  std::shared_ptr<const route::Probe> probe;
  HEDGE_TRY_SET(const std::unique_ptr<engine::Engine> engine,
                load_probe_engine(options.model, options.threads,
                                  probe_loader(options.probe_path.empty() ? "auto" : options.probe_path,
                                               route::ReadAt::kEveryToken, probe)));
  HEDGE_TRY(require_probe(probe, *engine));
  ProgressCounter counter("answering");
  return answer_probe_items(*engine, items, ProbeWish::kVerdict, [&](size_t i, ProbeAnswer answer) {
    const double after = static_cast<double>(answer.end.p_wrong);
    const double before =
        answer.moments.empty() ? after : static_cast<double>(answer.moments.front().p_wrong);
    if (options.as_json) {
      fmt::print("{}\n", json{{"answer", answer.text}, {"p_wrong", after}, {"p_wrong_before", before}}.dump(
                             -1, ' ', false, json::error_handler_t::replace));
    } else {
      fmt::print("{:.3f}  {:.3f}  {}\n", after, before, printable(answer.text));
    }
    counter.show(i + 1, items.size());
  });
}

int run(Status (*what)(const Options&), const Options& options) {
  catch_interrupts();
  const Status status = what(options);
  return status.ok() ? kExitOk : fail(status.error());
}

void add_common(CLI::App& command, Options& options, const char* data_help) {
  command.add_option("-m,--model", options.model, "Name from `hedge list`, or path of a GGUF file")
      ->type_name("MODEL")
      ->required();
  command.add_option("--data", options.data_path, data_help)->type_name("FILE")->required();
  command
      .add_option("-t,--threads", options.threads, "Threads that compute; 0: all cores this process may use")
      ->type_name("N")
      ->transform(in_range(0, 256))
      ->capture_default_str();
}

}  // namespace

void add_route_probe(CLI::App& group, Action& chosen) {
  CLI::App* probe =
      group.add_subcommand("probe", "Probability that the local answer is wrong, by its own state");
  probe->require_subcommand(1);
  probe->footer(kProbeFooter);

  auto training = std::make_shared<Options>();
  CLI::App* train_command =
      probe->add_subcommand("train", "Fit a probe to a model from questions with answers");
  train_command->footer(kTrainFooter);
  add_common(*train_command, *training, "Questions with accepted answers, JSON lines");
  train_command->add_option("--out", training->out_path, "Where the probe goes")
      ->type_name("FILE")
      ->required();
  train_command
      ->add_option("--samples", training->samples,
                   "Further answers to each question; more take longer and help")
      ->type_name("N")
      ->transform(in_range(0, kProbeSamplesMax))
      ->capture_default_str();
  train_command
      ->add_option("-s,--seed", training->seed, "Of the networks' beginnings and the held-back parts")
      ->type_name("S")
      ->transform(in_range(uint64_t{0}, UINT64_MAX))
      ->capture_default_str();
  train_command->add_flag("--json", training->as_json, "Print the report as one JSON object");
  train_command->callback([training, &chosen] { chosen = [training] { return run(train, *training); }; });

  auto scoring = std::make_shared<Options>();
  CLI::App* score_command =
      probe->add_subcommand("score", "Answer questions and say how likely each answer is wrong");
  score_command->footer(kScoreFooter);
  add_common(*score_command, *scoring, "Questions, JSON lines");
  score_command
      ->add_option(
          "--probe", scoring->probe_path,
          "The probe, fitted on this model; default: the one that comes with Hedge, for its default models")
      ->type_name("FILE");
  score_command->add_flag("--json", scoring->as_json, "One JSON object a line");
  score_command->callback([scoring, &chosen] { chosen = [scoring] { return run(score, *scoring); }; });
}

}  // namespace hedge::cli
