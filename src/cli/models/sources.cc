#include "cli/models/sources.h"

#include <fmt/format.h>

#include <algorithm>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "cli/names.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

constexpr size_t kSourcesBytesMax = 1u << 20;  // a list written by hand
constexpr size_t kPartsMax = 1000;

Error source_error(std::string_view where, const toml::node& node, const std::string& what) {
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}:{}: {}", where, node.source().begin.line, what));
}

Result<std::string> string_value(std::string_view where, std::string_view key, const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  return source_error(where, node, fmt::format("'{}' must be a string", key));
}

Result<Source> parse_source(std::string_view where, std::string_view name, const toml::node& node) {
  const toml::table* table = node.as_table();
  if (table == nullptr)
    return source_error(where, node, fmt::format("'{}' must be a table: [{}]", name, name));
  Source source;
  source.name = std::string(name);
  for (const auto& [key, value] : *table) {
    if (key == "bytes") {
      const auto bytes = value.value_exact<int64_t>();
      if (!bytes || *bytes <= 0) return source_error(where, value, "'bytes' must be a positive integer");
      source.bytes = static_cast<uint64_t>(*bytes);
    } else if (key == "from") {
      const toml::array* parts = value.as_array();
      if (parts == nullptr || parts->empty() || parts->size() > kPartsMax) {
        return source_error(where, value, fmt::format("'from' must be a list of 1 to {} strings", kPartsMax));
      }
      for (const auto& part : *parts) {
        HEDGE_TRY_SET(std::string text, string_value(where, "from", part));
        source.from.push_back(std::move(text));
      }
    } else if (key == "file" || key == "sha256" || key == "member" || key == "about") {
      HEDGE_TRY_SET(std::string text, string_value(where, key.str(), value));
      if (key == "file") source.file = std::move(text);
      if (key == "sha256") source.sha256 = std::move(text);
      if (key == "member") source.member = std::move(text);
      if (key == "about") source.about = std::move(text);
    } else {
      return source_error(
          where, value,
          fmt::format("unknown key '{}' in [{}]; known are file, bytes, sha256, from, member, about",
                      key.str(), name));
    }
  }
  if (!valid_file_name(source.file)) {
    return source_error(where, node,
                        fmt::format("[{}] needs a 'file' like \"name.gguf\" without folders", name));
  }
  if (source.from.empty()) return source_error(where, node, fmt::format("[{}] needs 'from'", name));
  const bool all_wheels = std::all_of(source.from.begin(), source.from.end(),
                                      [](const std::string& from) { return from.starts_with("pypi:"); });
  if (source.from.size() > 1 && !all_wheels) {
    return source_error(where, node, fmt::format("[{}]: only 'pypi:' parts can be joined", name));
  }
  if (!source.sha256.empty() && !valid_sha256(source.sha256)) {
    return source_error(where, node, fmt::format("'sha256' of [{}] must be 64 lower-case hex digits", name));
  }
  return source;
}

}  // namespace

Result<std::vector<Source>> parse_sources(std::string_view text, std::string_view where) {
  const toml::parse_result parsed = toml::parse(text, where);
  if (!parsed) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}:{}: {}", where, parsed.error().source().begin.line, parsed.error().description()));
  }
  std::vector<Source> sources;
  for (const auto& [name, node] : parsed.table()) {
    HEDGE_TRY_SET(Source source, parse_source(where, name.str(), node));
    sources.push_back(std::move(source));
  }
  return sources;
}

Result<std::vector<Source>> load_sources(const std::string& extra_path) {
  HEDGE_TRY_SET(std::vector<Source> sources, parse_sources(embedded_sources(), "sources.toml"));
  if (!os::file_exists(extra_path)) return sources;
  HEDGE_TRY_SET(const std::string text, os::read_file(extra_path, kSourcesBytesMax));
  HEDGE_TRY_SET(std::vector<Source> extra, parse_sources(text, extra_path));
  for (Source& source : extra) {
    std::erase_if(sources, [&](const Source& s) { return s.name == source.name; });
    sources.push_back(std::move(source));
  }
  std::sort(sources.begin(), sources.end(), [](const Source& a, const Source& b) { return a.name < b.name; });
  return sources;
}

const Source* find_source(const std::vector<Source>& sources, std::string_view name) {
  const auto found =
      std::find_if(sources.begin(), sources.end(), [&](const Source& s) { return s.name == name; });
  return found == sources.end() ? nullptr : &*found;
}

}  // namespace hedge::cli
