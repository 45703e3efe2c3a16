#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>

#include "cli/command.h"
#include "cli/names.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

constexpr const char* kFooter = R"(
First steps:
  hedge pull smollm2-135m-instruct         fetch a small model
  hedge run smollm2-135m-instruct "Hello"  ask it something; without a prompt, chat with it
  hedge serve -m smollm2-135m-instruct     serve it at http://127.0.0.1:8080/v1

`hedge COMMAND --help` explains a command and shows examples.)";

bool is_option(const std::string& text) { return text.starts_with("-") && text.size() > 1; }

std::vector<std::string> long_options(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* o : app.get_options()) {
    for (const std::string& name : o->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// "--port: At Most 1 required but received 2", "--port: 1 required N missing": what CLI11 says of a count.
std::string count_error(const std::string& text) {
  const std::string option = text.substr(0, text.find(':'));
  if (text.find("At Most 1") != std::string::npos) return option + " is given more than once";
  if (text.ends_with(" missing")) return option + " needs a value";
  return text;
}

// The command that was chosen, a group's own where there is a group; null for none.
const CLI::App* deepest(const CLI::App& app) {
  const CLI::App* command = nullptr;
  for (auto chosen = app.get_subcommands(); !chosen.empty(); chosen = command->get_subcommands())
    command = chosen.front();
  return command;
}

// "route train": as it stands on the command line.
std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr || parent->get_parent() == nullptr ? command.get_name()
                                                              : full_name(*parent) + " " + command.get_name();
}

// A group was not told which of its commands.
std::string group_error(const CLI::App& group, const std::vector<std::string>& rest) {
  std::vector<std::string> names;
  for (const CLI::App* command : group.get_subcommands({})) names.push_back(command->get_name());
  if (rest.empty() || is_option(rest.front()))
    return fmt::format("{} needs one of its commands: {}", group.get_name(), fmt::join(names, ", "));
  const std::string near = nearest(rest.front(), names);
  return fmt::format("{} has no command '{}'; {}", group.get_name(), rest.front(),
                     near.empty() ? fmt::format("there are {}", fmt::join(names, ", "))
                                  : fmt::format("did you mean '{}'?", near));
}

// What CLI11 says of an argument it does not know, made helpful.
std::string usage_error(const CLI::App& app, const CLI::Error& error) {
  const CLI::App* chosen = deepest(app);
  if (chosen != nullptr && !chosen->get_subcommands({}).empty())
    return group_error(*chosen, app.remaining(true));
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ArgumentMismatch))
    return count_error(error.what());
  if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError) || chosen == nullptr)
    return error.what();
  const std::vector<std::string> rest = app.remaining(true);
  if (rest.empty()) return error.what();
  const auto option = std::find_if(rest.begin(), rest.end(), is_option);
  if (option == rest.end()) {
    return fmt::format("'{}' is one argument too many for {}", rest.front(), full_name(*chosen));
  }
  const std::string near = nearest(*option, long_options(*chosen));
  return fmt::format("{} has no option {}{}", full_name(*chosen), *option,
                     near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

// An option before the command that is not hedge's own; empty when all is well.
std::string unknown_option(const CLI::App& app, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  for (const CLI::Option* option : app.get_options()) {
    if (option->check_name(name)) return {};
  }
  for (const CLI::App* command : app.get_subcommands({})) {
    for (const CLI::Option* option : command->get_options()) {
      if (option->check_name(name))
        return fmt::format("{} belongs after the command: hedge {} {}", name, command->get_name(), name);
    }
  }
  const std::string near = nearest(name, long_options(app));
  return fmt::format("no option {}{}", name,
                     near.empty() ? "; a command comes first" : fmt::format("; did you mean {}?", near));
}

// A first word that is no subcommand; empty when all is well.
std::string unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    names.push_back(command->get_name());
    if (command->check_name(word)) return {};
  }
  const std::string near = nearest(word, names);
  return fmt::format("no command '{}'; {}", word,
                     near.empty() ? fmt::format("there are {}", fmt::join(names, ", "))
                                  : fmt::format("did you mean '{}'?", near));
}

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

  if (argc < 2) {
    fmt::print(stderr, "{}", app.help());
    return kExitUsage;
  }
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words[0] == "help") {  // hedge help [COMMAND]
    words.erase(words.begin());
    words.resize(std::min<size_t>(words.size(), 2));  // a group and its command
    words.emplace_back("--help");
  }
  const std::string unknown =
      is_option(words[0]) ? unknown_option(app, words[0]) : unknown_command(app, words[0]);
  if (!unknown.empty()) {
    fail(make_error(ErrorCode::kInvalidArgument, unknown));
    fmt::print(stderr, "`hedge --help` explains.\n");
    return kExitUsage;
  }
  try {
    std::reverse(words.begin(), words.end());  // as CLI11 wants them
    app.parse(words);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    fail(make_error(ErrorCode::kInvalidArgument, usage_error(app, error)));
    fmt::print(stderr, "`hedge {}--help` explains.\n",
               deepest(app) == nullptr ? "" : full_name(*deepest(app)) + " ");
    return kExitUsage;
  }
  return chosen ? chosen() : kExitUsage;
}

}  // namespace

int run_command_line(int argc, const char* const* argv) {
  open_standard_streams();
  int status = kExitFailed;
  try {
    status = parse_and_run(argc, argv);
  } catch (
      const std::exception& error) {  // CLI11, fmt and the standard library may throw; nothing leaves here
    // Of an output that cannot be written, close_output() tells.
    if (std::ferror(stdout) == 0) fmt::print(stderr, "hedge: internal error: {}\n", error.what());
  }
  return close_output(status);
}

}  // namespace hedge::cli
