// hedge version.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

constexpr const char* kFooter = R"(
Examples:
  hedge version
  hedge version --json    also the compiler that built it)";

}  // namespace

void add_version(CLI::App& app, Action& chosen) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("version", "Print the version");
  command->footer(kFooter);
  command->add_flag("--json", *as_json, "Print it as JSON");
  command->callback([as_json, &chosen] {
    chosen = [as_json] {
      if (*as_json) {
        fmt::print("{}\n", nlohmann::json{{"version", HEDGE_VERSION}, {"compiler", __VERSION__}}.dump());
      } else {
        fmt::print("hedge {}\n", HEDGE_VERSION);
      }
      return kExitOk;
    };
  });
}

}  // namespace hedge::cli
