// Private to gguf/: turns bytes into a File, or says what is wrong with them. One use per object.
//
// Invariant: nothing is read, and no memory is taken, before the bytes that would justify it are known to be
// there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "gguf/file.h"

namespace hedge::gguf {

class Parser {
 public:
  // Fills `file` from file.bytes_.
  explicit Parser(File& file) : file_(file), bytes_(file.bytes_) {}
  Status run();

 private:
  Status read_header();
  Status read_metadata();
  Status read_entry();
  Status read_value(std::string_view key, Value& value);
  Status read_array(std::string_view key, Value& value);
  Status read_strings(std::string_view key, Value& value);
  Status set_alignment();
  Status read_tensor_infos();
  Status read_tensor_info();
  Status place_tensors();
  Status check_overlaps() const;
  Status index_names();

  uint64_t left() const { return bytes_.size() - position_; }
  // Takes `size` bytes, or null when they are not there.
  const uint8_t* take(uint64_t size);
  template <typename T>
  Status read(T& value, std::string_view what);
  Status read_text(std::string_view& text, uint64_t limit_bytes, std::string_view what);
  Error truncated(std::string_view what, uint64_t needed) const;

  File& file_;
  std::span<const uint8_t> bytes_;
  uint64_t position_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t metadata_count_ = 0;
  std::vector<uint64_t> offsets_;  // of each tensor, from the start of the data
};

}  // namespace hedge::gguf
