// Builds GGUF files, version 3, little endian. What it writes, File reads: sizes that do not fit each other
// are bugs of the caller and end the process. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/file.h"
#include "quant/type.h"

namespace hedge::gguf {

class Writer {
 public:
  // Metadata in the order of the calls. A key may be added once.
  void add_uint32(std::string_view key, uint32_t value);
  void add_int32(std::string_view key, int32_t value);
  void add_uint64(std::string_view key, uint64_t value);
  void add_float32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_string(std::string_view key, std::string_view value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_floats(std::string_view key, std::span<const float> values);
  void add_ints(std::string_view key, std::span<const int32_t> values);
  // Any value as another file holds it. general.alignment is skipped: the writer has its own.
  void add_value(std::string_view key, const Value& value);

  // Announces a tensor of 1 to 4 dimensions, dims[0] being the contiguous one.
  void add_tensor(std::string_view name, quant::Type type, std::span<const uint64_t> dims);
  // The same with its data, which must live until the file is written.
  void add_tensor(std::string_view name, quant::Type type, std::span<const uint64_t> dims,
                  std::span<const uint8_t> data);

  // The whole file. REQUIRES: every tensor came with its data.
  std::vector<uint8_t> to_bytes() const;
  // Writes the file atomically, tensor by tensor, so that a model need not be in memory. `data_of(i)` gives
  // the bytes of tensor i, in the order of the announcements; they need live only until the next call.
  using TensorData = std::function<Result<std::span<const uint8_t>>(size_t index)>;
  Status write_file(const std::string& path, const TensorData& data_of) const;
  Status write_file(const std::string& path) const;

 private:
  struct TensorEntry {
    std::string name;
    quant::Type type;
    std::vector<uint64_t> dims;
    uint64_t size_bytes;
    uint64_t offset;
    std::span<const uint8_t> data;
  };

  void begin_entry(std::string_view key, ValueType type);
  std::vector<uint8_t> head() const;  // all before the tensor data, padded

  std::vector<uint8_t> metadata_;
  uint64_t metadata_count_ = 0;
  std::vector<TensorEntry> tensors_;
  uint64_t data_bytes_ = 0;
};

}  // namespace hedge::gguf
