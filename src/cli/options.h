// Private to cli/: small helpers over CLI11 that several commands use.
#pragma once

#include <CLI/CLI.hpp>

namespace hedge::cli {

// CLI::Range without its bounds in the help, where they would hide the text; errors still give them.
template <typename T>
CLI::Validator in_range(T low, T high) {
  return CLI::Range(low, high).description("");
}

}  // namespace hedge::cli
