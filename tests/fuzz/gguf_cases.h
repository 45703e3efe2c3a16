// GGUF files that are broken in one named way each, and a few whole ones. They are the unit test of the
// reader's validation, and, written to corpus/gguf, the seeds of the fuzzer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hedge::fuzz {

struct GgufCase {
  std::string name;
  std::vector<uint8_t> bytes;
  std::optional<ErrorCode> error;  // none: the file is whole
  std::string detail;              // what the error says
};

// The same bytes on every call and machine.
std::vector<GgufCase> gguf_cases();

}  // namespace hedge::fuzz
