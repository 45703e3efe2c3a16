// hedge route learned: what this device learned from its users; shown, exported, wiped.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/commands/route.h"
#include "cli/config/config.h"
#include "cli/learned_file.h"
#include "cli/session_store.h"
#include "cli/terminal.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

struct Options {
  std::string config_path;
  std::string data_dir;
};

constexpr const char* kFooter = R"(
Examples:
  hedge route learned show
  hedge route learned export > learned.tsv
  hedge route learned wipe

Votes come from POST /v1/hedge/decisions/ID/feedback and from requests that ask for the upstream in a conversation that has
begun. Kept are a sum and a count per kind of prompt, no text. A running server sees a wipe within a second.)";

// A folder where nothing was learned is one of Hedge's all the same: it has a session database.
Status find_learned(const Settings& settings, const std::string& path) {
  return os::file_exists(path) ? Status() : find_recorded(settings);
}

int run_show(const Settings& settings, const std::string& path) {
  LearnedFile file(path);
  if (const Status loaded = file.load(); !loaded.ok()) return fail(loaded.error());
  const auto votes = file.learned().votes();
  fmt::print("{:<22} {:>8} {:>8} {:>8}\n", "kind of prompt", "votes", "sum", "bias");
  int kinds = 0;
  for (size_t kind = 0; kind < votes.size(); ++kind) {
    if (votes[kind].count <= 0) continue;
    ++kinds;
    fmt::print("{:<22} {:>8.1f} {:>+8.2f} {:>+8.3f}\n", route::kind_name(kind), votes[kind].count,
               votes[kind].sum, file.learned().bias(kind, settings.policy.bias_max));
  }
  if (kinds == 0) fmt::print("nothing has been learned\n");
  return kExitOk;
}

int run_export(const Settings&, const std::string& path) {
  LearnedFile file(path);
  if (const Status loaded = file.load(); !loaded.ok()) return fail(loaded.error());
  fmt::print("{}", file.learned().to_text());
  return kExitOk;
}

int run_wipe(const Settings&, const std::string& path) {
  const bool was_there = os::file_exists(path);
  if (!os::remove_file(path)) {
    return fail(make_error(ErrorCode::kIo, fmt::format("{} cannot be removed", path)));
  }
  fmt::print("{}\n", was_there ? "wiped" : "nothing had been learned");
  return kExitOk;
}

}  // namespace

void add_route_learned(CLI::App& group, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      group.add_subcommand("learned", "Show, export or wipe what was learned from this device's users");
  command->footer(kFooter);
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* help, int (*run)(const Settings&, const std::string&)) {
    CLI::App* sub = command->add_subcommand(name, help);
    sub->add_option("--config", options->config_path, "TOML file of `hedge serve`")->type_name("FILE");
    sub->add_option("--data-dir", options->data_dir, "Folder of the session database")->type_name("DIR");
    sub->callback([options, run, &chosen] {
      chosen = [options, run] {
        const auto settings = settings_from(options->config_path, options->data_dir);
        if (!settings.ok()) return fail(settings.error()), kExitUsage;
        const auto folder = data_folder(*settings);
        if (!folder.ok()) return fail(folder.error()), kExitUsage;
        const std::string path = *folder + "/" + kLearnedFile;
        if (const Status found = find_learned(*settings, path); !found.ok()) return fail(found.error());
        return run(*settings, path);
      };
    });
  };
  add("show", "The kinds of prompts, their votes and the bias of each", run_show);
  add("export", "The file, to standard output", run_export);
  add("wipe", "Forget all of it", run_wipe);
}

}  // namespace hedge::cli
