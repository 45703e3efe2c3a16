// hedge bench: how fast a model reads prompts and writes answers on this machine.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/kernel_level.h"
#include "cli/models/store.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "optimize/benchmark.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string model;
  optimize::BenchmarkOptions benchmark;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
ppN is prefill: a prompt of N tokens read at once. tgN is decode: N tokens written one by one. Each test
runs once to warm up and -r times for the record; the figure is the median in tokens per second.

Examples:
  hedge bench -m smollm2-135m-instruct
  hedge bench -m ./model.gguf -p 128,512 -n 0 -t 2 -r 9
  HEDGE_ISA=avx2 hedge bench -m smollm2-135m-instruct --json)";

void print_table(const std::vector<optimize::BenchmarkResult>& results) {
  fmt::print("{:<10} {:>12}  {:<20} {}\n", "TEST", "TOKENS/S", "RANGE", "THREADS, KERNELS");
  for (const optimize::BenchmarkResult& r : results) {
    const auto [low, high] = std::minmax_element(r.runs.begin(), r.runs.end());
    const std::string range = r.runs.empty() ? "" : fmt::format("{:.1f} to {:.1f}", *low, *high);
    fmt::print("{:<10} {:>12.2f}  {:<20} {}, {}\n", r.test, r.tokens_per_second, range, r.threads, r.isa);
  }
}

int run_bench(Options& options) {
  // 0 turns a kind of test off.
  std::erase(options.benchmark.prompt_tokens, 0);
  std::erase(options.benchmark.generated_tokens, 0);
  if (options.benchmark.prompt_tokens.empty() && options.benchmark.generated_tokens.empty()) {
    return fail(make_error(ErrorCode::kInvalidArgument,
                           "nothing to measure: -p and -n are both 0; give one of them a length")),
           kExitUsage;
  }
  const auto store = ModelStore::from_environment();
  if (!store.ok()) return fail(store.error());
  auto path = store->resolve(options.model);
  if (!path.ok()) return fail(path.error());
  if (const Status level = choose_kernel_level(); !level.ok()) return fail(level.error());
  options.benchmark.model_path = *path;
  const auto results = optimize::benchmark(options.benchmark);
  if (!results.ok()) return fail(results.error());
  if (!options.as_json) {
    print_table(*results);
    return kExitOk;
  }
  json list = json::array();
  for (const optimize::BenchmarkResult& r : *results) {
    list.push_back({{"test", r.test},
                    {"tokens_per_second", r.tokens_per_second},
                    {"runs", r.runs},
                    {"threads", r.threads},
                    {"isa", r.isa},
                    {"model", model_name(*path)}});
  }
  fmt::print("{}\n", list.dump(2));
  return kExitOk;
}

}  // namespace

void add_bench(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  optimize::BenchmarkOptions& b = options->benchmark;
  CLI::App* command = app.add_subcommand("bench", "Measure a model's speed on this machine");
  command->footer(kFooter);
  command->add_option("-m,--model", options->model, "Name from `hedge list`, or path of a GGUF file")
      ->type_name("MODEL")
      ->required();
  add_numbers(*command, "-p,--prompt", b.prompt_tokens, 0, 1 << 20,
              "Prompt lengths in tokens, separated by ','; 0: none");
  add_numbers(*command, "-n,--generate", b.generated_tokens, 0, 1 << 20,
              "Answer lengths in tokens, separated by ','; 0: none");
  command->add_option("-d,--depth", b.depth_tokens, "Tokens that stand in the context before each test")
      ->type_name("N")
      ->transform(in_range(0, 1 << 18))
      ->capture_default_str();
  add_kv_type(*command, b.kv_type);
  command->add_option("-t,--threads", b.threads, "Threads that compute; 0: all cores this process may use")
      ->type_name("N")
      ->transform(in_range(0, 256))
      ->capture_default_str();
  command->add_option("-r,--repetitions", b.repetitions, "Counted runs per test")
      ->type_name("N")
      ->transform(in_range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", options->as_json, "Print a JSON list");
  command->callback([options, &chosen] { chosen = [options] { return run_bench(*options); }; });
}

}  // namespace hedge::cli
