// hedge list: the models on this machine.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/models/describe.h"
#include "cli/models/store.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr const char* kFooter = R"(
Models lie in $HEDGE_HOME/models (default ~/.local/share/hedge/models) and in the folders named by
$HEDGE_MODELS, separated by ':'. The name in the first column is what the other commands take as MODEL.

Examples:
  hedge list
  HEDGE_MODELS=/media/usb:~/models hedge list
  hedge list --json | jq -r .[].path)";

json to_json(const ModelFile& model, const Result<std::unique_ptr<gguf::File>>& file) {
  json out = {{"name", model.name}, {"path", model.path}, {"bytes", model.bytes}};
  if (!file.ok()) {
    out["error"] = file.error().detail;
    return out;
  }
  const Description d = describe(**file);
  out.update({{"architecture", d.architecture},
              {"type", d.file_type},
              {"parameters", d.parameters},
              {"context_tokens", d.context_tokens},
              {"chat_template", d.has_template}});
  return out;
}

int run_list(bool as_json) {
  const auto store = ModelStore::from_environment();
  if (!store.ok()) return fail(store.error());
  const std::vector<ModelFile> models = store->list();
  json out = json::array();
  size_t width = 4;
  for (const ModelFile& m : models) width = std::max(width, printable(m.name).size());
  if (!as_json && models.empty()) fmt::print(stderr, "No models yet; `hedge pull` lists what it can get.\n");
  if (!as_json && !models.empty()) {
    fmt::print("{:<{}}  {:>9}  {:<10} {:<6} {:>8}  {}\n", "NAME", width, "SIZE", "ARCH", "TYPE", "PARAMS",
               "PATH");
  }
  for (const ModelFile& m : models) {
    const auto file = gguf::File::open(m.path);
    if (as_json) {
      out.push_back(to_json(m, file));
    } else if (!file.ok()) {
      fmt::print("{:<{}}  {:>9}  cannot be read: {}\n", printable(m.name), width, human_bytes(m.bytes),
                 printable(file.error().detail));
    } else {
      const Description d = describe(**file);
      fmt::print("{:<{}}  {:>9}  {:<10} {:<6} {:>8}  {}\n", printable(m.name), width, human_bytes(m.bytes),
                 d.architecture, d.file_type, human_count(d.parameters), printable(m.path));
    }
  }
  if (as_json) fmt::print("{}\n", out.dump(2, ' ', false, json::error_handler_t::replace));
  return kExitOk;
}

}  // namespace

void add_list(CLI::App& app, Action& chosen) {
  auto as_json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("list", "List the models on this machine")->alias("ls");
  command->footer(kFooter);
  command->add_flag("--json", *as_json, "Print a JSON list");
  command->callback([as_json, &chosen] { chosen = [as_json] { return run_list(*as_json); }; });
}

}  // namespace hedge::cli
