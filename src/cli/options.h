// Private to cli/: small helpers over CLI11 that several commands use.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <string>
#include <type_traits>

namespace hedge::cli {

// Checks a number from the command line: decimal, the whole of the text, low to high; NaN is in no range. For
// CLI::Option::transform(): the text becomes the plain form of the number, because CLI11 would read "010"
// as 8.
template <typename Number>
CLI::Validator in_range(Number low, Number high) {
  return CLI::Validator(
      [low, high](std::string& text) -> std::string {
        Number value{};
        const char* const end = text.data() + text.size();
        const auto [stop, failed] = std::from_chars(text.data(), end, value);
        if (failed != std::errc() || stop != end || !(value >= low && value <= high)) {
          return fmt::format("expected {} {} to {}, got '{}'",
                             std::is_integral_v<Number> ? "a whole number," : "a number,", low, high, text);
        }
        text = fmt::format("{}", value);
        return {};
      },
      "");  // no description: in the help it would hide the text
}

// --kv-type, for every command that computes with a model.
inline void add_kv_type(CLI::App& command, std::string& kv_type) {
  command.add_option("--kv-type", kv_type, "How the KV cache is stored: q8, or f16 with twice the memory")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"q8", "f16"}))
      ->capture_default_str();
}

// --kv-memory, for every command that runs an engine.
inline void add_kv_memory(CLI::App& command, int& kv_memory_mb) {
  command.add_option("--kv-memory", kv_memory_mb, "MiB of all KV caches; 0: by the machine")
      ->type_name("N")
      ->transform(in_range(0, 1 << 24))
      ->capture_default_str();
}

}  // namespace hedge::cli
