// Opening and typed access. The format itself is read in parser.cc.
#include "gguf/file.h"

#include <algorithm>
#include <limits>

#include "base/bytes.h"
#include "gguf/parser.h"
#include "os/file.h"

namespace hedge::gguf {
namespace {

struct ValueTypeInfo {
  const char* name;
  size_t bytes;
};

constexpr ValueTypeInfo kValueTypes[] = {
    {"uint8", 1}, {"int8", 1},   {"uint16", 2}, {"int16", 2},  {"uint32", 4}, {"int32", 4},   {"float32", 4},
    {"bool", 1},  {"string", 0}, {"array", 0},  {"uint64", 8}, {"int64", 8},  {"float64", 8},
};

// An integer of the file, wide enough for all of them.
struct Integer {
  bool negative;
  uint64_t bits;  // two's complement
};

std::optional<Integer> load_integer(ValueType type, const uint8_t* bytes) {
  const auto from_signed = [](int64_t v) { return Integer{v < 0, static_cast<uint64_t>(v)}; };
  switch (type) {
    case ValueType::kUint8:
      return Integer{false, load_le<uint8_t>(bytes)};
    case ValueType::kInt8:
      return from_signed(load_le<int8_t>(bytes));
    case ValueType::kUint16:
      return Integer{false, load_le<uint16_t>(bytes)};
    case ValueType::kInt16:
      return from_signed(load_le<int16_t>(bytes));
    case ValueType::kUint32:
      return Integer{false, load_le<uint32_t>(bytes)};
    case ValueType::kInt32:
      return from_signed(load_le<int32_t>(bytes));
    case ValueType::kUint64:
      return Integer{false, load_le<uint64_t>(bytes)};
    case ValueType::kInt64:
      return from_signed(load_le<int64_t>(bytes));
    case ValueType::kFloat32:
    case ValueType::kFloat64:
    case ValueType::kBool:
    case ValueType::kString:
    case ValueType::kArray:
      return std::nullopt;
  }
  return std::nullopt;
}

std::string type_text(const Value& value) {
  return value.type == ValueType::kArray ? "array of " + to_string(value.element_type)
                                         : to_string(value.type);
}

Error wrong(std::string_view key, const std::string& expected, const std::string& actual) {
  return make_error(ErrorCode::kCorrupt,
                    "metadata value '" + std::string(key) + "': expected " + expected + ", it is " + actual);
}

Error wrong_type(std::string_view key, const std::string& expected, const Value* value) {
  return wrong(key, expected, value == nullptr ? "absent" : type_text(*value));
}

bool is_array_of(const Value* value, ValueType element_type) {
  return value != nullptr && value->type == ValueType::kArray && value->element_type == element_type;
}

// The item of `items` whose name is `name`, through the sorted positions; null when there is none.
template <typename Item, typename NameOf>
const Item* find_sorted(const std::vector<Item>& items, const std::vector<uint32_t>& order,
                        std::string_view name, NameOf name_of) {
  const auto at =
      std::lower_bound(order.begin(), order.end(), name,
                       [&](uint32_t i, std::string_view wanted) { return name_of(items[i]) < wanted; });
  return at != order.end() && name_of(items[*at]) == name ? &items[*at] : nullptr;
}

}  // namespace

std::string to_string(ValueType type) {
  const auto id = static_cast<uint32_t>(type);
  return id < std::size(kValueTypes) ? kValueTypes[id].name : "type " + std::to_string(id);
}

size_t scalar_bytes(ValueType type) {
  const auto id = static_cast<uint32_t>(type);
  return id < std::size(kValueTypes) ? kValueTypes[id].bytes : 0;
}

File::File() = default;
File::~File() = default;

Result<std::unique_ptr<File>> File::open(const std::string& path) {
  HEDGE_TRY_SET(auto mapping, os::MappedFile::open(path));
  auto parsed = parse(mapping->bytes());
  if (!parsed.ok()) {
    Error error = std::move(parsed).error();
    error.detail = path + ": " + error.detail;
    return error;
  }
  std::unique_ptr<File> file = std::move(parsed).value();
  file->mapping_ = std::move(mapping);
  file->path_ = path;
  return file;
}

Result<std::unique_ptr<File>> File::parse(std::span<const uint8_t> bytes) {
  std::unique_ptr<File> file(new File());
  file->bytes_ = bytes;
  HEDGE_TRY(Parser(*file).run());
  return file;
}

const Value* File::find(std::string_view key) const {
  const auto* entry = find_sorted(metadata_, metadata_by_key_, key, [](const auto& e) { return e.first; });
  return entry == nullptr ? nullptr : &entry->second;
}

const Tensor* File::find_tensor(std::string_view name) const {
  return find_sorted(tensors_, tensors_by_name_, name, [](const Tensor& t) { return t.name; });
}

Result<uint64_t> File::get_uint(std::string_view key) const {
  const Value* value = find(key);
  const auto integer = value == nullptr ? std::nullopt : load_integer(value->type, value->raw.data());
  if (!integer) return wrong_type(key, "an integer", value);
  if (integer->negative) {
    return wrong(key, "an integer >= 0", std::to_string(static_cast<int64_t>(integer->bits)));
  }
  return integer->bits;
}

Result<uint64_t> File::get_uint_or(std::string_view key, uint64_t fallback) const {
  return find(key) == nullptr ? Result<uint64_t>(fallback) : get_uint(key);
}

Result<double> File::get_float(std::string_view key) const {
  const Value* value = find(key);
  if (value != nullptr && value->type == ValueType::kFloat32) {
    return static_cast<double>(load_le<float>(value->raw.data()));
  }
  if (value != nullptr && value->type == ValueType::kFloat64) return load_le<double>(value->raw.data());
  return wrong_type(key, "float32 or float64", value);
}

Result<double> File::get_float_or(std::string_view key, double fallback) const {
  return find(key) == nullptr ? Result<double>(fallback) : get_float(key);
}

Result<bool> File::get_bool_or(std::string_view key, bool fallback) const {
  const Value* value = find(key);
  if (value == nullptr) return fallback;
  if (value->type != ValueType::kBool) return wrong_type(key, "bool", value);
  return value->raw[0] != 0;
}

Result<std::string_view> File::get_string(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr || value->type != ValueType::kString) return wrong_type(key, "string", value);
  return std::string_view(reinterpret_cast<const char*>(value->raw.data()), value->raw.size());
}

Result<std::string_view> File::get_string_or(std::string_view key, std::string_view fallback) const {
  return find(key) == nullptr ? Result<std::string_view>(fallback) : get_string(key);
}

Result<const Strings*> File::get_strings(std::string_view key) const {
  const Value* value = find(key);
  if (!is_array_of(value, ValueType::kString)) return wrong_type(key, "array of string", value);
  return &value->strings;
}

Result<std::vector<float>> File::get_floats(std::string_view key) const {
  const Value* value = find(key);
  if (!is_array_of(value, ValueType::kFloat32)) return wrong_type(key, "array of float32", value);
  std::vector<float> floats(value->count);
  if (!floats.empty()) std::memcpy(floats.data(), value->raw.data(), value->raw.size());
  return floats;
}

Result<std::vector<int32_t>> File::get_ints(std::string_view key) const {
  const Value* value = find(key);
  const size_t element_bytes =
      value != nullptr && value->type == ValueType::kArray ? scalar_bytes(value->element_type) : 0;
  std::vector<int32_t> ints;
  if (element_bytes == 0) return wrong_type(key, "array of integers", value);
  if (value->element_type == ValueType::kInt32) {
    ints.resize(value->count);
    if (!ints.empty()) std::memcpy(ints.data(), value->raw.data(), value->raw.size());
    return ints;
  }
  ints.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto integer = load_integer(value->element_type, value->raw.data() + i * element_bytes);
    if (!integer) return wrong_type(key, "array of integers", value);
    const auto narrow = static_cast<int32_t>(integer->bits);
    const bool fits = static_cast<uint64_t>(static_cast<int64_t>(narrow)) == integer->bits &&
                      (narrow < 0) == integer->negative;
    if (!fits) return wrong(key, "elements that fit 32 bits", "larger at element " + std::to_string(i));
    ints.push_back(narrow);
  }
  return ints;
}

}  // namespace hedge::gguf
