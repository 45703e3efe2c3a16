// Private to cli/: small helpers over CLI11 that several commands use.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

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

// An option that takes numbers separated by ',', none of which may be missing.
inline CLI::Option* add_numbers(CLI::App& command, const std::string& names, std::vector<int>& out, int low,
                                int high, const std::string& help) {
  const auto read = [names, &out, low, high](const std::string& text) {
    std::vector<int> numbers;
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      std::string one = text.substr(begin, end - begin);
      if (const std::string wrong = in_range(low, high)(one); !wrong.empty())
        throw CLI::ValidationError(names, wrong);
      numbers.push_back(std::stoi(one));
      begin = end + 1;
    }
    out = std::move(numbers);
  };
  return command.add_option_function<std::string>(names, read, help)
      ->type_name("N")
      ->default_str(fmt::format("{}", fmt::join(out, ",")));
}

// --kv-type, for every command that computes with a model.
inline void add_kv_type(CLI::App& command, std::string& kv_type) {
  command
      .add_option(
          "--kv-type", kv_type,
          "How the KV cache is stored: q8; q5 with 0.6 of its bytes per token; f16 with twice as many")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"q8", "q5", "f16"}))
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
