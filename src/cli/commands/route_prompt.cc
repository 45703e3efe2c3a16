// hedge route train, eval, score, topics: the prompt score, which predicts from a prompt alone what the
// upstream would gain over the local model.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands/route.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "os/file.h"
#include "route/outcomes.h"
#include "route/prompt_score.h"
#include "route/prompt_train.h"
#include "route/route_eval.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr size_t kTopicsBytesMax = 8u << 20;

// One JSON object a line; everything that is read.
constexpr const char* kTrainFooter = R"(
FILE has one JSON object a line, the outcome of one prompt with both models:
  {"prompt": "What is 12 * 7?", "weak": 1, "strong": 1, "group": "arithmetic-3"}
weak and strong are how good the answers of the local model and of the upstream were: 1 right, 0 wrong, or
between. What is learned is the gain, strong minus weak. Some 200 lines are a start, 1,500 are good. Lines that
share a small "group" (variants of one question) are never split when the settings are chosen; groups of more
than 8 lines on average are taken for topics and do not count. No line leaves this machine.

Examples:
  hedge route train --data outcomes.jsonl --out my.weights
  hedge route eval --data held_out.jsonl --weights my.weights)";

constexpr const char* kEvalFooter = R"(
APGR: how much of the gain the ranking wins, averaged over all shares of prompts that go upstream; 0.5 is
chance. CPT(50), CPT(80): per cent of prompts that must go upstream for 50 and 80 % of the gain; lower is better.
By RouteLLM's method (ten deciles of the score, equal scores in random order); the intervals are 95 % of a
bootstrap over the prompts. Judge with prompts that the weights were not learned from.

Examples:
  hedge route eval --data held_out.jsonl --weights my.weights
  hedge route eval --data held_out.jsonl --json)";

constexpr const char* kScoreFooter = R"(
Reads lines {"prompt": "..."} from standard input and prints one number a line, in the same order: the expected
gain of going upstream, -1 to 1. Higher means: go upstream.

Examples:
  echo '{"prompt": "Prove that there are infinitely many primes."}' | hedge route score
  hedge route score --weights my.weights --json < prompts.jsonl)";

constexpr const char* kTopicsFooter = R"(
Learns which words speak of which topic, from lines {"prompt": "...", "topic": "..."}; no outcome of any model
goes in. The program carries such a table; another one is only needed for prompts of another kind. Weights are
bound to the table they were trained with.

Examples:
  hedge route topics --data topics.jsonl --out my.topics
  hedge route train --data outcomes.jsonl --topics my.topics --out my.weights)";

struct Options {
  std::string data, out, weights, topics;
  route::TrainOptions train;
  std::string folds = "auto";
  route::EvalOptions eval;
  int words_max = 12000;
  bool as_json = false;
};

Result<route::TopicTable> load_topics(const std::string& path) {
  if (path.empty()) return route::TopicTable(route::TopicTable::embedded());
  auto bytes = os::read_file(path, kTopicsBytesMax);
  if (!bytes.ok()) return bytes.error();
  auto table = route::TopicTable::parse(*bytes);
  if (!table.ok()) return make_error(table.error().code, fmt::format("{}: {}", path, table.error().detail));
  return table;
}

Result<route::PromptScore> load_weights(const std::string& path, const route::TopicTable& topics) {
  if (path.empty() && topics.checksum() == route::TopicTable::embedded().checksum())
    return route::PromptScore(route::PromptScore::embedded());
  if (path.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "--topics needs --weights: the program's own weights go with its own topics");
  auto bytes = os::read_file(path, route::kWeightsBytesMax);
  if (!bytes.ok()) return bytes.error();
  auto score = route::PromptScore::parse(*bytes, topics);
  if (!score.ok()) return make_error(score.error().code, fmt::format("{}: {}", path, score.error().detail));
  return score;
}

Result<std::vector<route::Outcome>> load_outcomes(const std::string& path) {
  auto text = os::read_file(path, route::kOutcomeBytesMax);
  if (!text.ok()) return text.error();
  return route::parse_outcomes(*text, path);
}

void show_progress(double share) {
  if (!stderr_is_terminal()) return;
  fmt::print(stderr, "\r\033[Ktraining: {:.0f} %", 100 * share);
  std::fflush(stderr);
}

int run_train(Options& options) {
  options.train.folds = options.folds == "group"  ? route::Folds::kGroup
                        : options.folds == "line" ? route::Folds::kLine
                                                  : route::Folds::kAuto;
  const auto topics = load_topics(options.topics);
  if (!topics.ok()) return fail(topics.error());
  const auto outcomes = load_outcomes(options.data);
  if (!outcomes.ok()) return fail(outcomes.error());
  route::TrainReport report;
  const auto weights = route::train_prompt_score(*outcomes, *topics, options.train, &report, show_progress);
  if (stderr_is_terminal()) fmt::print(stderr, "\r\033[K");
  if (!weights.ok())
    return fail(
        make_error(weights.error().code, fmt::format("{}: {}", options.data, weights.error().detail)));
  const Status written = os::write_file_atomic(options.out, route::to_bytes(*weights));
  if (!written.ok()) return fail(written.error());
  if (options.as_json) {
    fmt::print("{}\n", json{{"labels", report.labels},
                            {"gain", report.gain},
                            {"apgr_cross_validated", report.apgr},
                            {"r_squared_cross_validated", report.r_squared},
                            {"ridge", report.ridge},
                            {"topic_scale", report.topic_scale},
                            {"shape_scale", report.shape_scale},
                            {"folds", report.by_group ? "group" : "line"},
                            {"seed", options.train.seed},
                            {"seconds", report.seconds}}
                           .dump(2));
    return kExitOk;
  }
  fmt::print(
      "{}: from {} outcomes (mean gain {:.3f}) in {:.1f} s; APGR {:.3f} on lines left out ({} folds)\n",
      options.out, report.labels, report.gain, report.seconds, report.apgr,
      report.by_group ? "by group, 5" : "5");
  return kExitOk;
}

json to_json(const route::Interval& interval) {
  return {{"value", interval.value}, {"lo", interval.lo}, {"hi", interval.hi}};
}

int run_eval(Options& options) {
  const auto topics = load_topics(options.topics);
  if (!topics.ok()) return fail(topics.error());
  const auto score = load_weights(options.weights, *topics);
  if (!score.ok()) return fail(score.error());
  const auto outcomes = load_outcomes(options.data);
  if (!outcomes.ok()) return fail(outcomes.error());
  std::vector<double> scores, weak, strong;
  for (const route::Outcome& outcome : *outcomes) {
    scores.push_back(score->score(outcome.prompt));
    weak.push_back(outcome.weak);
    strong.push_back(outcome.strong);
  }
  const auto result = route::evaluate_route(scores, weak, strong, options.eval);
  if (!result.ok())
    return fail(make_error(result.error().code, fmt::format("{}: {}", options.data, result.error().detail)));
  if (options.as_json) {
    fmt::print("{}\n", json{{"apgr", to_json(result->apgr)},
                            {"cpt50", to_json(result->cpt50)},
                            {"cpt80", to_json(result->cpt80)},
                            {"cpt50_first_crossing", result->first50},
                            {"cpt80_first_crossing", result->first80},
                            {"n", result->n},
                            {"weak", result->weak_mean},
                            {"strong", result->strong_mean},
                            {"labels", score->labels()},
                            {"seed", result->seed},
                            {"draws", result->draws}}
                           .dump(2));
    return kExitOk;
  }
  fmt::print("{} prompts: local {:.4f}, upstream {:.4f}\n", result->n, result->weak_mean,
             result->strong_mean);
  fmt::print("APGR    {:6.3f}  ({:.3f} to {:.3f})\n", result->apgr.value, result->apgr.lo, result->apgr.hi);
  fmt::print("CPT(50) {:6.1f}  ({:.1f} to {:.1f})\n", result->cpt50.value, result->cpt50.lo,
             result->cpt50.hi);
  fmt::print("CPT(80) {:6.1f}  ({:.1f} to {:.1f})\n", result->cpt80.value, result->cpt80.lo,
             result->cpt80.hi);
  return kExitOk;
}

int run_score(Options& options) {
  const auto topics = load_topics(options.topics);
  if (!topics.ok()) return fail(topics.error());
  const auto score = load_weights(options.weights, *topics);
  if (!score.ok()) return fail(score.error());
  std::string line;
  for (size_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto prompt = route::parse_prompt(line, "standard input", number);
    if (!prompt.ok()) return fail(prompt.error());
    fmt::print("{:.6f}\n", score->score(*prompt));
  }
  return kExitOk;
}

int run_topics(Options& options) {
  auto text = os::read_file(options.data, route::kOutcomeBytesMax);
  if (!text.ok()) return fail(text.error());
  const auto examples = route::parse_topics(*text, options.data);
  if (!examples.ok()) return fail(examples.error());
  std::map<std::string, uint32_t> numbers;  // sorted, so that the order of lines does not matter
  for (const auto& example : *examples) numbers.emplace(example.topic, 0);
  uint32_t next = 0;
  for (auto& [name, number] : numbers) number = next++;
  std::vector<std::string> texts;
  std::vector<uint32_t> topic_of;
  for (const auto& example : *examples) {
    texts.push_back(example.prompt);
    topic_of.push_back(numbers[example.topic]);
  }
  const auto table =
      route::TopicTable::train(texts, topic_of, numbers.size(), static_cast<size_t>(options.words_max));
  if (!table.ok())
    return fail(make_error(table.error().code, fmt::format("{}: {}", options.data, table.error().detail)));
  const std::string bytes = table->to_bytes();
  const Status written = os::write_file_atomic(options.out, bytes);
  if (!written.ok()) return fail(written.error());
  fmt::print("{}: {} topics, {} words, {} bytes, from {} texts\n", options.out, table->topics(),
             table->words(), bytes.size(), texts.size());
  return kExitOk;
}

void add_topics_option(CLI::App& command, Options& options) {
  command
      .add_option("--topics", options.topics, "Table from `hedge route topics`; default: the program's own")
      ->type_name("FILE");
}

void add_weights_option(CLI::App& command, Options& options) {
  command.add_option("--weights", options.weights, "From `hedge route train`; default: the program's own")
      ->type_name("FILE");
}

void add_train(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("train", "Learn the prompt score from outcomes");
  command->footer(kTrainFooter);
  command->add_option("--data", options->data, "Outcomes, one JSON object a line")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", options->out, "The weights")->type_name("WEIGHTS")->required();
  add_topics_option(*command, *options);
  command
      ->add_option("--folds", options->folds,
                   "What is left out when settings are chosen: auto, group or line")
      ->type_name("HOW")
      ->check(CLI::IsMember({"auto", "group", "line"}))
      ->capture_default_str();
  command->add_option("--seed", options->train.seed, "Of the folds")
      ->type_name("N")
      ->transform(in_range<uint64_t>(0, UINT64_MAX))
      ->capture_default_str();
  command->add_option("-t,--threads", options->train.threads, "Threads that compute")
      ->type_name("N")
      ->transform(in_range(1, 5))
      ->capture_default_str();
  command->add_option("--ridge", options->train.ridge, "Fixed strength of the ridge; 0: chosen")
      ->type_name("X")
      ->transform(in_range(0.0, 1e6))
      ->capture_default_str();
  command->add_option("--topic-scale", options->train.topic_scale, "Fixed scale of the topics; -1: chosen")
      ->type_name("X")
      ->transform(in_range(-1.0, 100.0))
      ->capture_default_str();
  command->add_option("--shape-scale", options->train.shape_scale, "Fixed scale of the shape; -1: chosen")
      ->type_name("X")
      ->transform(in_range(-1.0, 100.0))
      ->capture_default_str();
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, &chosen] { chosen = [options] { return run_train(*options); }; });
}

void add_eval(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("eval", "How good the prompt score ranks prompts");
  command->footer(kEvalFooter);
  command->add_option("--data", options->data, "Outcomes, as for `hedge route train`")
      ->type_name("FILE")
      ->required();
  add_weights_option(*command, *options);
  add_topics_option(*command, *options);
  command->add_option("--seed", options->eval.seed, "Of the bootstrap, and of the order among equal scores")
      ->type_name("N")
      ->transform(in_range<uint64_t>(0, UINT64_MAX))
      ->capture_default_str();
  command->add_option("--draws", options->eval.draws, "Of the bootstrap; 0: no intervals")
      ->type_name("N")
      ->transform(in_range(0, 100000))
      ->capture_default_str();
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, &chosen] { chosen = [options] { return run_eval(*options); }; });
}

void add_score(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("score", "Expected gain of going upstream, per prompt");
  command->footer(kScoreFooter);
  add_weights_option(*command, *options);
  add_topics_option(*command, *options);
  command->add_flag("--json", options->as_json, "Accepted for scripts: a number a line is JSON as it is");
  command->callback([options, &chosen] { chosen = [options] { return run_score(*options); }; });
}

void add_topics(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = group.add_subcommand("topics", "Learn which words speak of which topic");
  command->footer(kTopicsFooter);
  command->add_option("--data", options->data, "Texts and topics, one JSON object a line")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", options->out, "The table")->type_name("TOPICS")->required();
  command->add_option("--words", options->words_max, "Keep the words that tell most")
      ->type_name("N")
      ->transform(in_range(1, static_cast<int>(route::kTopicWordsMax)))
      ->capture_default_str();
  command->callback([options, &chosen] { chosen = [options] { return run_topics(*options); }; });
}

}  // namespace

void add_route_prompt(CLI::App& group, Action& chosen) {
  add_train(group, chosen);
  add_eval(group, chosen);
  add_score(group, chosen);
  add_topics(group, chosen);
}

}  // namespace hedge::cli
