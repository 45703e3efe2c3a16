// A GGUF file (version 2 and 3, little endian), read from one mapping and validated as a whole before
// anything uses it. Every length, offset, count and type in the file is checked; a broken file gives kCorrupt
// with what was expected and what came, and never a crash, a hang or an allocation larger than the file
// justifies. Immutable after open(); safe to read from any thread. All views live as long as the File.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "quant/type.h"

namespace hedge::os {
class MappedFile;
}

namespace hedge::gguf {

// GGUF metadata value types; the numbers are the file's.
enum class ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
// "uint32", "string"; "type 99" for numbers that are not of the format.
std::string to_string(ValueType type);
// Bytes of a scalar; 0 for strings, arrays and numbers that are not of the format.
size_t scalar_bytes(ValueType type);

// An array of strings as it lies in the file: each has its length before it. Where they begin is found once.
class Strings {
 public:
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::string_view*;
    using reference = std::string_view;
    Iterator() = default;
    Iterator(const Strings* strings, size_t index) : strings_(strings), index_(index) {}
    std::string_view operator*() const { return (*strings_)[index_]; }
    Iterator& operator++() { return ++index_, *this; }
    Iterator operator++(int) { return Iterator(strings_, index_++); }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const Strings* strings_ = nullptr;
    size_t index_ = 0;
  };

  size_t size() const { return begins_.empty() ? 0 : begins_.size() - 1; }
  bool empty() const { return size() == 0; }
  std::string_view operator[](size_t index) const {
    // Not the length in the file, which somebody may be writing to.
    const uint32_t begin = begins_[index] + kLengthBytes;
    return {reinterpret_cast<const char*>(data_) + begin, begins_[index + 1] - begin};
  }
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size()}; }

 private:
  friend class Parser;
  static constexpr uint32_t kLengthBytes = sizeof(uint64_t);
  const uint8_t* data_ = nullptr;
  std::vector<uint32_t> begins_;  // of each string's length, from data_; last, the end of them all
};

// One metadata value: a view into the mapping.
struct Value {
  ValueType type;
  ValueType element_type;        // of an array
  uint64_t count = 1;            // of an array
  std::span<const uint8_t> raw;  // little-endian scalar, string bytes, or packed array elements
  Strings strings;               // of an array of strings
};

struct Tensor {
  std::string_view name;
  quant::Type type;
  uint32_t dim_count;
  uint64_t dims[4];     // dims[0] is the contiguous one (columns); absent ones are 1
  const uint8_t* data;  // in the mapping, aligned as the file says (at least to 8 bytes)
  size_t size_bytes;

  uint64_t columns() const { return dims[0]; }
  uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
};

class File {
 public:
  // Maps and validates. kNotFound, kIo, kCorrupt (broken file) or kUnsupported (a type or version Hedge does
  // not read).
  static Result<std::unique_ptr<File>> open(const std::string& path);
  // The same over bytes that the caller keeps alive; for tests and the fuzzer.
  static Result<std::unique_ptr<File>> parse(std::span<const uint8_t> bytes);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }
  std::span<const uint8_t> bytes() const { return bytes_; }
  uint32_t alignment() const { return alignment_; }
  uint64_t data_offset() const { return data_offset_; }  // of the first byte of tensor data

  // Metadata, in file order. find() gives null when the key is absent.
  std::span<const std::pair<std::string_view, Value>> metadata() const { return metadata_; }
  const Value* find(std::string_view key) const;

  // Typed access. Integers convert between widths when the value fits; anything else, and an absent key, is
  // kCorrupt with the key, the expected type and the type that came. *_or gives the fallback only when the
  // key is absent.
  Result<uint64_t> get_uint(std::string_view key) const;
  Result<uint64_t> get_uint_or(std::string_view key, uint64_t fallback) const;
  Result<double> get_float(std::string_view key) const;
  Result<double> get_float_or(std::string_view key, double fallback) const;
  Result<bool> get_bool_or(std::string_view key, bool fallback) const;
  Result<std::string_view> get_string(std::string_view key) const;
  Result<std::string_view> get_string_or(std::string_view key, std::string_view fallback) const;
  Result<const Strings*> get_strings(std::string_view key) const;
  Result<std::vector<float>> get_floats(
      std::string_view key) const;  // array of F32 (copied: the file is unaligned)
  Result<std::vector<int32_t>> get_ints(std::string_view key) const;  // array of any integer type that fits

  std::span<const Tensor> tensors() const { return tensors_; }
  const Tensor* find_tensor(std::string_view name) const;

 private:
  friend class Parser;
  File();

  std::unique_ptr<os::MappedFile> mapping_;  // null for parse()
  std::string path_;
  std::span<const uint8_t> bytes_;
  uint32_t version_ = 0;
  uint32_t alignment_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<std::pair<std::string_view, Value>> metadata_;
  std::vector<Tensor> tensors_;
  // Positions in the lists above, sorted by name.
  std::vector<uint32_t> metadata_by_key_;
  std::vector<uint32_t> tensors_by_name_;
};

}  // namespace hedge::gguf
