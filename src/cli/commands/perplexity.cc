// hedge perplexity: how well a model predicts a text, and how far its distribution is from a reference.
#include "optimize/perplexity.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/kernel_level.h"
#include "cli/models/store.h"
#include "cli/options.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string model;
  optimize::PerplexityOptions perplexity;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
The text is cut into chunks of -c tokens; of each chunk the second half is predicted, as llama.cpp's
llama-perplexity does it, so that figures can be compared. With --kl-base FILE, written by
`llama-perplexity --kl-divergence-base FILE` over the same text, the distance to the reference's
distribution is measured as well.

Examples:
  hedge perplexity -m smollm2-135m-instruct -f text.txt
  hedge perplexity -m ./model.gguf -f text.txt -c 512 --chunks 32 --kl-base base.dat --json)";

void show_progress(int done, int total, double ppl) {
  if (!stderr_is_terminal()) return;
  fmt::print(stderr, "\r\033[K{} of {} chunks, perplexity {:.4f}", done, total, ppl);
  std::fflush(stderr);
}

json to_json(const optimize::PerplexityResult& r, const std::string& model) {
  json out = {{"model", model},     {"ppl", r.ppl},       {"ppl_stderr", r.ppl_stderr},
              {"tokens", r.tokens}, {"chunks", r.chunks}, {"seconds", r.seconds}};
  if (r.has_kl) {
    out.update({{"ppl_base", r.ppl_base},
                {"kl_mean", r.kl_mean},
                {"kl_p99", r.kl_p99},
                {"same_top_pct", r.same_top_pct}});
  }
  return out;
}

int run_perplexity(Options& options) {
  const auto store = ModelStore::from_environment();
  if (!store.ok()) return fail(store.error());
  auto path = store->resolve(options.model);
  if (!path.ok()) return fail(path.error());
  if (const Status level = choose_kernel_level(); !level.ok()) return fail(level.error());
  options.perplexity.model_path = *path;
  const auto result = optimize::perplexity(options.perplexity, show_progress);
  if (stderr_is_terminal()) fmt::print(stderr, "\r\033[K");
  if (!result.ok()) return fail(result.error());
  if (options.as_json) {
    fmt::print("{}\n", to_json(*result, model_name(*path)).dump(2));
    return kExitOk;
  }
  fmt::print("perplexity {:.4f} +/- {:.4f} over {} tokens of {} chunks, in {:.1f} s\n", result->ppl,
             result->ppl_stderr, result->tokens, result->chunks, result->seconds);
  if (result->has_kl) {
    fmt::print(
        "reference's perplexity {:.4f}; KL divergence mean {:.6f}, 99 % {:.6f}; same best token {:.2f} %\n",
        result->ppl_base, result->kl_mean, result->kl_p99, result->same_top_pct);
  }
  return kExitOk;
}

}  // namespace

void add_perplexity(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  optimize::PerplexityOptions& p = options->perplexity;
  CLI::App* command = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  command->footer(kFooter);
  command->add_option("-m,--model", options->model, "Name from `hedge list`, or path of a GGUF file")
      ->type_name("MODEL")
      ->required();
  command->add_option("-f,--file", p.text_path, "The text, UTF-8")->type_name("FILE")->required();
  command->add_option("-c,--context", p.context_tokens, "Length of a chunk, in tokens")
      ->type_name("N")
      ->transform(in_range(4, 1 << 20))
      ->capture_default_str();
  command->add_option("--chunks", p.chunks, "So many chunks from the beginning; -1: all")
      ->type_name("N")
      ->transform(in_range(-1, 1 << 20))
      ->check(
          [](const std::string& chunks) { return chunks == "0" ? "expected 1 or more, or -1, got '0'" : ""; })
      ->capture_default_str();
  command->add_option("-t,--threads", p.threads, "Threads that compute; 0: all cores this process may use")
      ->type_name("N")
      ->transform(in_range(0, 256))
      ->capture_default_str();
  add_kv_type(*command, p.kv_type);
  command->add_option("--kl-base", p.kl_base_path, "Reference distributions (see below)")->type_name("FILE");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, &chosen] { chosen = [options] { return run_perplexity(*options); }; });
}

}  // namespace hedge::cli
