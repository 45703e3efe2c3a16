// What a GGUF file says about itself, for `hedge list` and `hedge show`. Pure functions over an opened file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/file.h"

namespace hedge::cli {

struct TypeShare {
  std::string type;  // "Q4_1"
  uint64_t tensors = 0;
  uint64_t parameters = 0;
  uint64_t bytes = 0;
};

struct MemoryEstimate {
  uint64_t context_tokens = 0;
  uint64_t file_bytes = 0;
  uint64_t kv_bytes = 0;  // keys and values of every layer, as the engine stores them
};

struct Description {
  std::string architecture;
  std::string title;      // general.name
  std::string file_type;  // the mix of types, "Q4_K_M"
  uint64_t parameters = 0;
  uint64_t context_tokens = 0;
  uint64_t layers = 0;
  uint64_t embedding = 0;
  uint64_t vocabulary = 0;
  std::string tokenizer;  // tokenizer.ggml.model and .pre
  bool has_template = false;
  std::string license;
  std::vector<TypeShare> types;        // most bytes first
  std::vector<MemoryEstimate> memory;  // for a few context lengths; empty when Hedge cannot run the model
  std::string cannot_run;              // why Hedge cannot run it; empty: it can
};

Description describe(const gguf::File& file);

// A metadata value as one line of text; long strings and arrays are cut.
std::string value_text(const gguf::Value& value, size_t bytes_max);

}  // namespace hedge::cli
