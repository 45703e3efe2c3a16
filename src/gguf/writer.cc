#include "gguf/writer.h"

#include "base/bytes.h"
#include "base/check.h"
#include "gguf/limits.h"
#include "os/file.h"

namespace hedge::gguf {
namespace {

using Bytes = std::vector<uint8_t>;

// Not vector::insert, for which g++ 12 warns of an overflow that is none (gcc bug 105329).
void append(Bytes& out, std::span<const uint8_t> bytes) {
  if (bytes.empty()) return;
  const size_t end = out.size();
  out.resize(end + bytes.size());
  std::memcpy(out.data() + end, bytes.data(), bytes.size());
}

template <typename T>
void append_le(Bytes& out, T value) {
  uint8_t bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  append(out, bytes);
}

void append_text(Bytes& out, std::string_view text) {
  append_le<uint64_t>(out, text.size());
  append(out, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

template <typename T>
std::span<const uint8_t> as_bytes(std::span<const T> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

uint64_t padding_after(uint64_t size) { return round_up(size, kAlignmentDefault) - size; }

}  // namespace

void Writer::begin_entry(std::string_view key, ValueType type) {
  append_text(metadata_, key);
  append_le(metadata_, static_cast<uint32_t>(type));
  ++metadata_count_;
}

void Writer::add_uint32(std::string_view key, uint32_t value) {
  begin_entry(key, ValueType::kUint32);
  append_le(metadata_, value);
}

void Writer::add_int32(std::string_view key, int32_t value) {
  begin_entry(key, ValueType::kInt32);
  append_le(metadata_, value);
}

void Writer::add_uint64(std::string_view key, uint64_t value) {
  begin_entry(key, ValueType::kUint64);
  append_le(metadata_, value);
}

void Writer::add_float32(std::string_view key, float value) {
  begin_entry(key, ValueType::kFloat32);
  append_le(metadata_, value);
}

void Writer::add_bool(std::string_view key, bool value) {
  begin_entry(key, ValueType::kBool);
  append_le<uint8_t>(metadata_, value ? 1 : 0);
}

void Writer::add_string(std::string_view key, std::string_view value) {
  begin_entry(key, ValueType::kString);
  append_text(metadata_, value);
}

void Writer::add_strings(std::string_view key, std::span<const std::string> values) {
  begin_entry(key, ValueType::kArray);
  append_le(metadata_, static_cast<uint32_t>(ValueType::kString));
  append_le<uint64_t>(metadata_, values.size());
  for (const std::string& value : values) append_text(metadata_, value);
}

void Writer::add_floats(std::string_view key, std::span<const float> values) {
  begin_entry(key, ValueType::kArray);
  append_le(metadata_, static_cast<uint32_t>(ValueType::kFloat32));
  append_le<uint64_t>(metadata_, values.size());
  append(metadata_, as_bytes(values));
}

void Writer::add_ints(std::string_view key, std::span<const int32_t> values) {
  begin_entry(key, ValueType::kArray);
  append_le(metadata_, static_cast<uint32_t>(ValueType::kInt32));
  append_le<uint64_t>(metadata_, values.size());
  append(metadata_, as_bytes(values));
}

void Writer::add_value(std::string_view key, const Value& value) {
  if (key == "general.alignment") return;
  begin_entry(key, value.type);
  if (value.type == ValueType::kArray) {
    append_le(metadata_, static_cast<uint32_t>(value.element_type));
    append_le<uint64_t>(metadata_, value.count);
  } else if (value.type == ValueType::kString) {
    append_le<uint64_t>(metadata_, value.raw.size());
  }
  append(metadata_, value.raw);
}

void Writer::add_tensor(std::string_view name, quant::Type type, std::span<const uint64_t> dims) {
  HEDGE_CHECK(!dims.empty() && dims.size() <= kDimCountMax);
  HEDGE_CHECK(dims[0] % quant::info(type).block_values == 0);
  uint64_t size_bytes = quant::row_bytes(type, dims[0]);
  for (const uint64_t dim : dims.subspan(1)) size_bytes *= dim;
  tensors_.push_back({std::string(name), type, {dims.begin(), dims.end()}, size_bytes, data_bytes_, {}});
  data_bytes_ += size_bytes + padding_after(size_bytes);
}

void Writer::add_tensor(std::string_view name, quant::Type type, std::span<const uint64_t> dims,
                        std::span<const uint8_t> data) {
  add_tensor(name, type, dims);
  HEDGE_CHECK(data.size() == tensors_.back().size_bytes);
  tensors_.back().data = data;
}

std::vector<uint8_t> Writer::head() const {
  Bytes out;
  append(out, std::span<const uint8_t>(reinterpret_cast<const uint8_t*>("GGUF"), 4));
  append_le(out, kVersionMax);
  append_le<uint64_t>(out, tensors_.size());
  append_le(out, metadata_count_);
  append(out, metadata_);
  for (const TensorEntry& tensor : tensors_) {
    append_text(out, tensor.name);
    append_le(out, static_cast<uint32_t>(tensor.dims.size()));
    append(out, as_bytes(std::span<const uint64_t>(tensor.dims)));
    append_le(out, quant::info(tensor.type).gguf_id);
    append_le(out, tensor.offset);
  }
  out.resize(out.size() + padding_after(out.size()));
  return out;
}

std::vector<uint8_t> Writer::to_bytes() const {
  Bytes out = head();
  for (const TensorEntry& tensor : tensors_) {
    HEDGE_CHECK(tensor.data.size() == tensor.size_bytes);
    append(out, tensor.data);
    out.resize(out.size() + padding_after(out.size()));
  }
  return out;
}

Status Writer::write_file(const std::string& path, const TensorData& data_of) const {
  HEDGE_TRY_SET(auto file, os::AtomicFile::create(path));
  HEDGE_TRY(file->write(head()));
  constexpr uint8_t kZeros[kAlignmentDefault] = {};
  for (size_t i = 0; i < tensors_.size(); ++i) {
    HEDGE_TRY_SET(const std::span<const uint8_t> data, data_of(i));
    HEDGE_CHECK(data.size() == tensors_[i].size_bytes);
    HEDGE_TRY(file->write(data));
    HEDGE_TRY(file->write({kZeros, padding_after(data.size())}));
  }
  return file->commit();
}

Status Writer::write_file(const std::string& path) const {
  return write_file(path, [&](size_t i) { return Result<std::span<const uint8_t>>(tensors_[i].data); });
}

}  // namespace hedge::gguf
