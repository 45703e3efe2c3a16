// hedge privacy mask and unmask: placeholders in place of personal values, and back.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "cli/commands/privacy.h"
#include "cli/terminal.h"
#include "os/file.h"
#include "privacy/mask.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr size_t kMapBytesMax = size_t{64} << 20;
constexpr size_t kTextBytesMax = size_t{64} << 20;
constexpr int kPrivateMode = 0600;

constexpr const char* kMaskFooter = R"(
The same value gets the same placeholder everywhere, and over several runs with one --map. The map holds the
values: keep it as you would keep the text. It is written, for its owner alone, before the masked text is.
With --json every line of standard input is an object with "text", which is masked, and gets "map" beside it.

Examples:
  hedge privacy mask --map m.json < letter.txt > masked.txt
  hedge privacy unmask --map m.json < answer.txt
  echo '{"text":"I am Jane Roe"}' | hedge privacy mask --json | hedge privacy unmask --json
  hedge privacy mask --map m.json --types EMAIL_ADDRESS,PHONE_NUMBER < letter.txt)";

constexpr const char* kUnmaskFooter = R"(
All of standard input is read before the map is opened, so that `mask` and `unmask` may stand in one pipe.
Placeholders that the map does not have stay as they are.

Example:
  hedge privacy mask --map m.json < a.txt | hedge privacy unmask --map m.json     # a.txt, byte for byte)";

struct Options {
  bool as_json = false;
  std::string map;
  std::vector<std::string> types;
};

Status read_map(const json& object, privacy::PlaceholderTable& table, const std::string& where) {
  if (!object.is_object())
    return make_error(ErrorCode::kCorrupt,
                      where + ": expected an object of placeholders and values, got something else");
  for (const auto& [placeholder, value] : object.items()) {
    if (!value.is_string())
      return make_error(ErrorCode::kCorrupt, where + ": expected strings as values, got something else");
    if (const Status added = table.add(placeholder, value.get_ref<const std::string&>()); !added.ok())
      return make_error(added.error().code, where + ": " + added.error().detail);
  }
  return {};
}

Status read_map_file(const std::string& path, privacy::PlaceholderTable& table) {
  HEDGE_TRY_SET(const std::string bytes, os::read_file(path, kMapBytesMax));
  return read_map(json::parse(bytes, nullptr, false), table, path);
}

json map_of(const privacy::PlaceholderTable& table) {
  json map = json::object();
  for (const auto& entry : table.entries()) map[entry.placeholder] = entry.value;
  return map;
}

Result<std::string> read_text() {
  std::string text;
  char buffer[1 << 16];
  while (std::cin.read(buffer, sizeof(buffer)) || std::cin.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(std::cin.gcount()));
    if (text.size() > kTextBytesMax)
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("standard input: expected at most {} bytes, got more", kTextBytesMax));
  }
  if (!utf8_valid(text))
    return make_error(ErrorCode::kInvalidArgument, "standard input: expected UTF-8, got other bytes");
  return text;
}

// The object of a line, with a string "text".
Result<json> read_object(std::string_view line, size_t number) {
  json object = json::parse(line, nullptr, false);
  if (!object.is_object() || !object.contains("text") || !object["text"].is_string()) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("standard input, line {}: expected an object with a string "
                                  "\"text\", got something else",
                                  number));
  }
  return object;
}

// With --map the lines of one run share a table, and the file holds it; without, each line carries its own.
Status mask(const Options& options) {
  privacy::Scanner scanner;
  privacy::PlaceholderTable table;
  privacy::TypeSet set = options.types.empty() ? privacy::kAllTypes : 0;
  for (const std::string& type : options.types) set |= privacy::set_of(type);
  if (!options.map.empty() && os::file_exists(options.map)) HEDGE_TRY(read_map_file(options.map, table));
  std::string out;
  if (options.as_json) {
    HEDGE_TRY(for_each_line([&](std::string_view line, size_t number) -> Status {
      HEDGE_TRY_SET(json object, read_object(line, number));
      if (object.contains("map"))
        return make_error(ErrorCode::kInvalidArgument,
                          fmt::format("standard input, line {}: expected no \"map\" yet, got one", number));
      privacy::PlaceholderTable own;
      privacy::PlaceholderTable& used = options.map.empty() ? own : table;
      object["text"] = privacy::Masker(scanner, used, set).mask(object["text"].get<std::string>());
      if (options.map.empty()) object["map"] = map_of(own);
      out += object.dump() + "\n";
      return {};
    }));
  } else {
    HEDGE_TRY_SET(const std::string text, read_text());
    out = privacy::Masker(scanner, table, set).mask(text);
  }
  if (!options.map.empty())
    HEDGE_TRY(os::write_file_atomic(options.map, map_of(table).dump(2) + "\n", kPrivateMode));
  std::fwrite(out.data(), 1, out.size(), stdout);
  return {};
}

Status unmask(const Options& options) {
  if (options.as_json) {
    std::vector<json> objects;
    HEDGE_TRY(for_each_line([&](std::string_view line, size_t number) -> Status {
      HEDGE_TRY_SET(json object, read_object(line, number));
      objects.push_back(std::move(object));
      return {};
    }));
    privacy::PlaceholderTable table;
    if (!options.map.empty()) HEDGE_TRY(read_map_file(options.map, table));
    for (size_t i = 0; i < objects.size(); ++i) {
      json& object = objects[i];
      privacy::PlaceholderTable own;
      if (options.map.empty()) {
        HEDGE_TRY(read_map(object.value("map", json()), own,
                           fmt::format("standard input, line {}: \"map\"", i + 1)));
        object.erase("map");
      }
      object["text"] = privacy::unmask(object["text"].get<std::string>(), options.map.empty() ? own : table);
      fmt::print("{}\n", object.dump());
    }
    return {};
  }
  HEDGE_TRY_SET(const std::string text, read_text());
  privacy::PlaceholderTable table;
  HEDGE_TRY(read_map_file(options.map, table));
  const std::string out = privacy::unmask(text, table);
  std::fwrite(out.data(), 1, out.size(), stdout);
  return {};
}

int run(const Options& options, Status (*what)(const Options&)) {
  if (!options.as_json && options.map.empty())
    return fail(
        make_error(ErrorCode::kInvalidArgument, "expected --map FILE, where the values are kept, or --json"));
  const Status status = what(options);
  return status.ok() ? kExitOk : fail(status.error());
}

}  // namespace

void add_privacy_mask(CLI::App& privacy, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = privacy.add_subcommand("mask", "Put placeholders in the place of personal data");
  command->footer(kMaskFooter);
  command->add_flag("--json", options->as_json, "Read and write lines of JSON");
  command
      ->add_option("--map", options->map, "Where placeholders and values are kept; an old one is continued")
      ->type_name("FILE");
  const std::vector<std::string> types(std::begin(privacy::kClassTypes), std::end(privacy::kClassTypes));
  command->add_option("--types", options->types, "Only these, separated by commas")
      ->type_name("TYPE")
      ->delimiter(',')
      ->check(CLI::IsMember(types));
  command->callback([options, &chosen] { chosen = [options] { return run(*options, mask); }; });
}

void add_privacy_unmask(CLI::App& privacy, Action& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* command = privacy.add_subcommand("unmask", "Put the values back in the place of placeholders");
  command->footer(kUnmaskFooter);
  command->add_flag("--json", options->as_json, "Read and write lines of JSON");
  command->add_option("--map", options->map, "What `hedge privacy mask` wrote")->type_name("FILE");
  command->callback([options, &chosen] { chosen = [options] { return run(*options, unmask); }; });
}

}  // namespace hedge::cli
