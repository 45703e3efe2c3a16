// hedge show: what a model file holds.
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

constexpr size_t kValueBytesMax = 100;

struct Options {
  std::string model;
  bool tensors = false;
  bool chat_template = false;
  bool metadata = false;
  bool as_json = false;
};

constexpr const char* kFooter = R"(
Examples:
  hedge show smollm2-135m-instruct
  hedge show ./model.gguf --tensors
  hedge show smollm2-135m-instruct --template > template.jinja
  hedge show smollm2-135m-instruct --json | jq .parameters)";

json tensors_json(const gguf::File& file) {
  json list = json::array();
  for (const gguf::Tensor& t : file.tensors()) {
    json dims = json::array();
    for (uint32_t i = 0; i < t.dim_count; ++i) dims.push_back(t.dims[i]);
    list.push_back(
        {{"name", t.name}, {"type", quant::info(t.type).name}, {"dims", dims}, {"bytes", t.size_bytes}});
  }
  return list;
}

json metadata_json(const gguf::File& file) {
  json object = json::object();
  for (const auto& [key, value] : file.metadata())
    object[std::string(key)] = value_text(value, kValueBytesMax);
  return object;
}

json to_json(const gguf::File& file, const Description& d, const Options& options) {
  json types = json::array();
  for (const TypeShare& s : d.types) {
    types.push_back(
        {{"type", s.type}, {"tensors", s.tensors}, {"parameters", s.parameters}, {"bytes", s.bytes}});
  }
  json memory = json::array();
  for (const MemoryEstimate& m : d.memory) {
    memory.push_back(
        {{"context_tokens", m.context_tokens}, {"file_bytes", m.file_bytes}, {"kv_bytes", m.kv_bytes}});
  }
  json out = {{"name", model_name(file.path())},
              {"path", file.path()},
              {"bytes", file.bytes().size()},
              {"gguf_version", file.version()},
              {"title", d.title},
              {"license", d.license},
              {"architecture", d.architecture},
              {"type", d.file_type},
              {"parameters", d.parameters},
              {"context_tokens", d.context_tokens},
              {"layers", d.layers},
              {"embedding", d.embedding},
              {"vocabulary", d.vocabulary},
              {"tokenizer", d.tokenizer},
              {"chat_template", d.has_template},
              {"types", types},
              {"memory", memory},
              {"runs", d.cannot_run.empty()}};
  if (!d.cannot_run.empty()) out["cannot_run"] = d.cannot_run;
  if (options.tensors) out["tensors"] = tensors_json(file);
  if (options.metadata) out["metadata"] = metadata_json(file);
  return out;
}

void print_row(const char* label, const std::string& value) {
  if (!value.empty()) fmt::print("  {:<14} {}\n", label, printable(value));
}

void print_types(const Description& d) {
  fmt::print("\n  {:<8} {:>8} {:>12} {:>10}\n", "TYPE", "TENSORS", "PARAMETERS", "SIZE");
  for (const TypeShare& s : d.types) {
    fmt::print("  {:<8} {:>8} {:>12} {:>10}\n", s.type, s.tensors, human_count(s.parameters),
               human_bytes(s.bytes));
  }
}

void print_memory(const Description& d) {
  if (d.memory.empty()) return;
  fmt::print(
      "\n  Memory while it answers one request (the file is mapped and shared, the cache is per request):\n");
  for (const MemoryEstimate& m : d.memory) {
    fmt::print("    context {:>7}   file {:>9}  + KV cache {:>9}  = {:>9}\n", m.context_tokens,
               human_bytes(m.file_bytes), human_bytes(m.kv_bytes), human_bytes(m.file_bytes + m.kv_bytes));
  }
}

void print_tensors(const gguf::File& file) {
  fmt::print("\n  {:<44} {:<6} {:>20} {:>10}\n", "TENSOR", "TYPE", "SHAPE", "SIZE");
  for (const gguf::Tensor& t : file.tensors()) {
    std::string shape;
    for (uint32_t i = 0; i < t.dim_count; ++i) shape += (i > 0 ? " x " : "") + std::to_string(t.dims[i]);
    fmt::print("  {:<44} {:<6} {:>20} {:>10}\n", printable(t.name), quant::info(t.type).name, shape,
               human_bytes(t.size_bytes));
  }
}

void print_all(const gguf::File& file, const Description& d, const Options& options) {
  fmt::print("{}\n", printable(model_name(file.path())));
  print_row("title", d.title);
  print_row("path", file.path());
  print_row("size", human_bytes(file.bytes().size()));
  print_row("architecture", d.architecture);
  print_row("parameters", human_count(d.parameters));
  print_row("type", d.file_type);
  print_row("layers", fmt::format("{} of width {}", d.layers, d.embedding));
  print_row("context", fmt::format("{} tokens", d.context_tokens));
  print_row("tokenizer", fmt::format("{}, {} tokens", d.tokenizer, d.vocabulary));
  print_row("chat template",
            d.has_template ? "yes (--template prints it)" : "none: prompted with a plain transcript");
  print_row("licence", d.license);
  if (!d.cannot_run.empty()) print_row("cannot run", d.cannot_run);
  print_types(d);
  print_memory(d);
  if (options.metadata) {
    fmt::print("\n  METADATA\n");
    for (const auto& [key, value] : file.metadata())
      fmt::print("  {} = {}\n", printable(key), value_text(value, kValueBytesMax));
  }
  if (options.tensors) print_tensors(file);
}

int run_show(const Options& options) {
  const auto store = ModelStore::from_environment();
  if (!store.ok()) return fail(store.error());
  const auto path = store->resolve(options.model);
  if (!path.ok()) return fail(path.error());
  const auto file = gguf::File::open(*path);
  if (!file.ok()) return fail(file.error());
  if (options.chat_template) {
    const auto text = (*file)->get_string_or("tokenizer.chat_template", "");
    if (!text.ok()) return fail(text.error());
    if (text->empty()) return fail(make_error(ErrorCode::kNotFound, "the file holds no chat template"));
    // As it is for a file or a pipe; a terminal is not to be driven by it.
    fmt::print("{}\n", stdout_is_terminal() ? printable(*text, "\n\t") : std::string(*text));
    return kExitOk;
  }
  const Description description = describe(**file);
  if (options.as_json) {
    fmt::print("{}\n",
               to_json(**file, description, options).dump(2, ' ', false, json::error_handler_t::replace));
  } else {
    print_all(**file, description, options);
  }
  return kExitOk;
}

}  // namespace

void add_show(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("show", "Show what a model file holds and what memory it takes");
  command->footer(kFooter);
  command->add_option("MODEL", options->model, "Name from `hedge list`, or path of a GGUF file")->required();
  command->add_flag("--tensors", options->tensors, "Also every tensor");
  command->add_flag("--metadata", options->metadata, "Also every metadata key");
  command->add_flag("--template", options->chat_template, "Print the chat template and nothing else");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, &chosen] { chosen = [options] { return run_show(*options); }; });
}

}  // namespace hedge::cli
