#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>

#include "cli/command.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

constexpr const char* kFooter = R"(
First steps:
  hedge pull smollm2-135m-instruct         fetch a small model
  hedge run smollm2-135m-instruct "Hello"  ask it something; without a prompt, chat with it
  hedge serve -m smollm2-135m-instruct     serve it at http://127.0.0.1:8080/v1

`hedge COMMAND --help` explains a command and shows examples.)";

int parse_and_run(int argc, const char* const* argv) {
  CLI::App app(
      "Hedge answers prompts on this device and hands over to a stronger model when that is worth it.",
      "hedge");
  app.require_subcommand(1);
  app.fallthrough(false);
  app.footer(kFooter);
  app.set_version_flag("-V,--version", "hedge " HEDGE_VERSION);
  app.get_formatter()->column_width(34);

  Action chosen;
#define HEDGE_COMMAND(name) add_##name(app, chosen);
#include "cli/command_list.inc"
#undef HEDGE_COMMAND

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kExitOk : kExitUsage;
  }
  return chosen ? chosen() : kExitUsage;
}

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  try {
    return parse_and_run(argc, argv);
  } catch (const std::exception& error) {  // CLI11 and the standard library may throw; nothing leaves here
    fmt::print(stderr, "hedge: internal error: {}\n", error.what());
    return kExitFailed;
  }
}

}  // namespace hedge::cli
