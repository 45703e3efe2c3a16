// hedge route train, eval, score: the prompt score, which predicts from a prompt alone what the upstream
// would gain over the local model.
#include <CLI/CLI.hpp>

#include "cli/commands/route.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

int not_yet(const char* command) {
  return fail(make_error(ErrorCode::kInternal, std::string("hedge route ") + command + " is not built yet"));
}

}  // namespace

void add_route_prompt(CLI::App& group, Action& chosen) {
  for (const char* name : {"train", "eval", "score"}) {
    CLI::App* command = group.add_subcommand(name, "The prompt score");
    command->add_option("--data", "Outcomes, one JSON object a line");
    command->callback([name, &chosen] { chosen = [name] { return not_yet(name); }; });
  }
}

}  // namespace hedge::cli
