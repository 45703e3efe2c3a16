// A subcommand of `hedge`: one file in commands/ with its add_NAME(), and one line in command_list.inc.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace hedge::cli {

// What the chosen subcommand does; the result is the exit status of the process.
using Action = std::function<int()>;

// Adds the subcommand with its options and help to `app`; parsing it sets `chosen`.
#define HEDGE_COMMAND(name) void add_##name(CLI::App& app, Action& chosen);
#include "cli/command_list.inc"
#undef HEDGE_COMMAND

// Parses and runs. Never throws.
int run_command_line(int argc, const char* const* argv);

}  // namespace hedge::cli
