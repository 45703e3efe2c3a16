// The GGUF format: magic, version, counts, metadata, tensor descriptions, padding, tensor data
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
#include "gguf/parser.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/bytes.h"
#include "gguf/limits.h"

namespace hedge::gguf {
namespace {

constexpr uint8_t kMagic[4] = {'G', 'G', 'U', 'F'};

// The fewest bytes that an entry can take: lengths, one letter of a name, types, one byte of value. They
// bound the counts.
constexpr uint64_t kMetadataEntryBytesMin = 8 + 1 + 4 + 1;
constexpr uint64_t kTensorInfoBytesMin = 8 + 1 + 4 + 4 + 8;
constexpr uint64_t kStringBytesMin = 8;

Error corrupt(std::string detail) { return make_error(ErrorCode::kCorrupt, std::move(detail)); }

// A name from the file, fit for a terminal and a log line.
std::string quoted(std::string_view name) {
  constexpr size_t kShownMax = 80;
  std::string text = "'";
  for (const char c : name.substr(0, kShownMax)) text += c >= ' ' && c <= '~' ? c : '?';
  return text + (name.size() > kShownMax ? "...'" : "'");
}

std::string number(uint64_t value) { return std::to_string(value); }

// First position whose name equals its predecessor's, after sorting `order` by name; or order.end().
template <typename NameOf>
std::vector<uint32_t>::const_iterator sort_and_find_twin(std::vector<uint32_t>& order, size_t count,
                                                         NameOf name_of) {
  order.resize(count);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return name_of(a) < name_of(b); });
  return std::adjacent_find(order.cbegin(), order.cend(),
                            [&](uint32_t a, uint32_t b) { return name_of(a) == name_of(b); });
}

}  // namespace

Status Parser::run() {
  HEDGE_TRY(read_header());
  HEDGE_TRY(read_metadata());
  HEDGE_TRY(set_alignment());
  HEDGE_TRY(read_tensor_infos());
  HEDGE_TRY(index_names());
  HEDGE_TRY(place_tensors());
  return check_overlaps();
}

const uint8_t* Parser::take(uint64_t size) {
  if (size > left()) return nullptr;
  const uint8_t* start = bytes_.data() + position_;
  position_ += size;
  return start;
}

Error Parser::truncated(std::string_view what, uint64_t needed) const {
  return corrupt("file is truncated: " + std::string(what) + " at byte " + number(position_) + " needs " +
                 number(needed) + " bytes, " + number(left()) + " are left of a file of " +
                 number(bytes_.size()));
}

template <typename T>
Status Parser::read(T& value, std::string_view what) {
  const uint8_t* bytes = take(sizeof(T));
  if (bytes == nullptr) return truncated(what, sizeof(T));
  value = load_le<T>(bytes);
  return {};
}

Status Parser::read_text(std::string_view& text, uint64_t limit_bytes, std::string_view what) {
  uint64_t size = 0;
  HEDGE_TRY(read(size, "the length of " + std::string(what)));
  if (size > limit_bytes) {
    return corrupt(std::string(what) + " has " + number(size) + " bytes, expected at most " +
                   number(limit_bytes));
  }
  const uint8_t* bytes = take(size);
  if (bytes == nullptr) return truncated(what, size);
  text = {reinterpret_cast<const char*>(bytes), size};
  return {};
}

Status Parser::read_header() {
  const uint8_t* magic = take(sizeof(kMagic));
  if (magic == nullptr) return truncated("the magic 'GGUF'", sizeof(kMagic));
  if (std::memcmp(magic, kMagic, sizeof(kMagic)) != 0) {
    return corrupt("not a GGUF file: it starts with " +
                   quoted({reinterpret_cast<const char*>(magic), sizeof(kMagic)}) + ", expected 'GGUF'");
  }
  HEDGE_TRY(read(file_.version_, "the version"));
  const uint32_t version = file_.version_;
  const std::string expected = ", expected " + number(kVersionMin) + " to " + number(kVersionMax);
  if (version == 0) return corrupt("GGUF version 0" + expected);
  // Small in the other byte order: a file for a big-endian machine.
  if ((version & 0xffff) == 0) {
    const uint32_t swapped = __builtin_bswap32(version);
    return make_error(ErrorCode::kUnsupported,
                      "big-endian GGUF file (version " + number(swapped) + "), expected little-endian");
  }
  if (version < kVersionMin || version > kVersionMax) {
    return make_error(ErrorCode::kUnsupported, "GGUF version " + number(version) + expected);
  }
  HEDGE_TRY(read(tensor_count_, "the tensor count"));
  HEDGE_TRY(read(metadata_count_, "the metadata count"));

  const auto check_count = [&](std::string_view what, uint64_t count, uint64_t limit,
                               uint64_t entry_bytes) -> Status {
    if (count > limit) {
      return corrupt(number(count) + " " + std::string(what) + ", expected at most " + number(limit));
    }
    const uint64_t needed = count * entry_bytes;
    if (needed > left()) return truncated(number(count) + " " + std::string(what), needed);
    return {};
  };
  HEDGE_TRY(check_count("metadata entries", metadata_count_, kMetadataCountMax, kMetadataEntryBytesMin));
  return check_count("tensors", tensor_count_, kTensorCountMax, kTensorInfoBytesMin);
}

Status Parser::read_metadata() {
  file_.metadata_.reserve(metadata_count_);
  for (uint64_t i = 0; i < metadata_count_; ++i) HEDGE_TRY(read_entry());
  return {};
}

Status Parser::read_entry() {
  const std::string nth =
      "metadata key " + number(file_.metadata_.size() + 1) + " of " + number(metadata_count_);
  std::string_view key;
  HEDGE_TRY(read_text(key, kKeyBytesMax, nth));
  if (key.empty()) return corrupt(nth + " is empty");
  uint32_t type = 0;
  HEDGE_TRY(read(type, "the type of metadata key " + quoted(key)));
  Value value{};
  value.type = static_cast<ValueType>(type);
  value.count = 1;
  HEDGE_TRY(read_value(key, value));
  file_.metadata_.emplace_back(key, std::move(value));
  return {};
}

Status Parser::read_value(std::string_view key, Value& value) {
  const std::string what = "metadata value " + quoted(key);
  if (value.type == ValueType::kArray) return read_array(key, value);
  if (value.type == ValueType::kString) {
    std::string_view text;
    HEDGE_TRY(read_text(text, kStringBytesMax, what));
    value.raw = {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
    return {};
  }
  const size_t size = scalar_bytes(value.type);
  if (size == 0) return corrupt(what + " has " + to_string(value.type) + ", expected 0 to 12");
  const uint8_t* bytes = take(size);
  if (bytes == nullptr) return truncated(what, size);
  value.raw = {bytes, size};
  if (value.type == ValueType::kBool && *bytes > 1) {
    return corrupt(what + " is a bool of value " + number(*bytes) + ", expected 0 or 1");
  }
  return {};
}

Status Parser::read_array(std::string_view key, Value& value) {
  const std::string what = "metadata array " + quoted(key);
  uint32_t element_type = 0;
  HEDGE_TRY(read(element_type, "the element type of " + what));
  value.element_type = static_cast<ValueType>(element_type);
  HEDGE_TRY(read(value.count, "the count of " + what));
  if (value.count > kArrayCountMax) {
    return corrupt(what + " has " + number(value.count) + " elements, expected at most " +
                   number(kArrayCountMax));
  }
  if (value.element_type == ValueType::kString) return read_strings(key, value);
  if (value.element_type == ValueType::kArray) {
    return make_error(ErrorCode::kUnsupported, what + " holds arrays, expected scalars or strings");
  }
  const size_t element_bytes = scalar_bytes(value.element_type);
  if (element_bytes == 0) {
    return corrupt(what + " has elements of " + to_string(value.element_type) + ", expected 0 to 12");
  }
  const uint64_t size = value.count * element_bytes;
  const uint8_t* bytes = take(size);
  if (bytes == nullptr) return truncated(what, size);
  value.raw = {bytes, size};
  if (value.element_type == ValueType::kBool) {
    const auto wrong = std::find_if(value.raw.begin(), value.raw.end(), [](uint8_t b) { return b > 1; });
    if (wrong != value.raw.end()) {
      return corrupt(what + " holds a bool of value " + number(*wrong) + ", expected 0 or 1");
    }
  }
  return {};
}

// Vocabularies have some 260,000 strings, so this loop is most of the time of open().
Status Parser::read_strings(std::string_view key, Value& value) {
  const auto what = [&] {
    return "string " + number(std::max<size_t>(value.strings.begins_.size(), 1)) + " of " +
           number(value.count) + " of metadata array " + quoted(key);
  };
  if (value.count * kStringBytesMin > left()) return truncated(what(), value.count * kStringBytesMin);
  const uint8_t* const start = bytes_.data() + position_;
  value.strings.data_ = start;
  std::vector<uint32_t>& begins = value.strings.begins_;
  begins.reserve(value.count + 1);
  for (uint64_t i = 0; i < value.count; ++i) {
    begins.push_back(static_cast<uint32_t>(bytes_.data() + position_ - start));
    if (left() < sizeof(uint64_t)) return truncated(what(), sizeof(uint64_t));
    const uint64_t size = load_le<uint64_t>(bytes_.data() + position_);
    if (size > kStringBytesMax) {
      return corrupt(what() + " has " + number(size) + " bytes, expected at most " + number(kStringBytesMax));
    }
    if (size > left() - sizeof(uint64_t)) return truncated(what(), sizeof(uint64_t) + size);
    position_ += sizeof(uint64_t) + size;
    if (static_cast<uint64_t>(bytes_.data() + position_ - start) > kStringsBytesMax) {
      return corrupt(what() + " ends beyond " + number(kStringsBytesMax) + " bytes of the array");
    }
  }
  begins.push_back(static_cast<uint32_t>(bytes_.data() + position_ - start));
  value.raw = {start, static_cast<size_t>(bytes_.data() + position_ - start)};
  return {};
}

Status Parser::set_alignment() {
  file_.alignment_ = kAlignmentDefault;
  constexpr std::string_view kKey = "general.alignment";
  for (const auto& [key, value] : file_.metadata_) {
    if (key != kKey) continue;
    if (value.type != ValueType::kUint32) {
      return corrupt("metadata value 'general.alignment' is " + to_string(value.type) + ", expected uint32");
    }
    const uint32_t alignment = load_le<uint32_t>(value.raw.data());
    if (!std::has_single_bit(alignment) || alignment < kAlignmentMin || alignment > kAlignmentMax) {
      return corrupt("general.alignment is " + number(alignment) + ", expected a power of two from " +
                     number(kAlignmentMin) + " to " + number(kAlignmentMax));
    }
    file_.alignment_ = alignment;
  }
  return {};
}

Status Parser::read_tensor_infos() {
  // Metadata has been read since the header was checked.
  const uint64_t needed = tensor_count_ * kTensorInfoBytesMin;
  if (needed > left()) return truncated("the description of " + number(tensor_count_) + " tensors", needed);
  file_.tensors_.reserve(tensor_count_);
  offsets_.reserve(tensor_count_);
  for (uint64_t i = 0; i < tensor_count_; ++i) HEDGE_TRY(read_tensor_info());
  return {};
}

Status Parser::read_tensor_info() {
  const std::string nth =
      "the name of tensor " + number(file_.tensors_.size() + 1) + " of " + number(tensor_count_);
  Tensor tensor{};
  HEDGE_TRY(read_text(tensor.name, kTensorNameBytesMax, nth));
  if (tensor.name.empty()) return corrupt(nth + " is empty");
  const std::string what = "tensor " + quoted(tensor.name);

  HEDGE_TRY(read(tensor.dim_count, "the dimension count of " + what));
  if (tensor.dim_count > kDimCountMax) {
    return corrupt(what + " has " + number(tensor.dim_count) + " dimensions, expected at most " +
                   number(kDimCountMax));
  }
  std::fill(std::begin(tensor.dims), std::end(tensor.dims), 1);
  for (uint32_t d = 0; d < tensor.dim_count; ++d) {
    HEDGE_TRY(read(tensor.dims[d], "dimension " + number(d) + " of " + what));
    if (tensor.dims[d] == 0)
      return corrupt("dimension " + number(d) + " of " + what + " is 0, expected at least 1");
  }

  uint32_t type_id = 0;
  uint64_t offset = 0;
  HEDGE_TRY(read(type_id, "the type of " + what));
  HEDGE_TRY(read(offset, "the offset of " + what));
  const std::optional<quant::Type> type = quant::type_from_gguf_id(type_id);
  if (!type) {
    std::string supported;
    for (size_t t = 0; t < quant::kTypeCount; ++t) {
      supported += (t == 0 ? "" : ", ") + std::string(quant::info(static_cast<quant::Type>(t)).name);
    }
    return make_error(ErrorCode::kUnsupported,
                      what + " has " + quant::gguf_type_name(type_id) + ", expected one of " + supported);
  }
  tensor.type = *type;

  const quant::TypeInfo& info = quant::info(*type);
  if (tensor.dims[0] % info.block_values != 0) {
    return corrupt(what + " has rows of " + number(tensor.dims[0]) + " values, expected a multiple of " +
                   number(info.block_values) + " for " + std::string(info.name));
  }
  std::optional<uint64_t> size = checked_mul(tensor.dims[0] / info.block_values, info.block_bytes);
  for (uint32_t d = 1; d < kDimCountMax && size; ++d) size = checked_mul(*size, tensor.dims[d]);
  if (!size || !checked_add(offset, *size)) {
    return corrupt("the size or offset of " + what + " exceeds 64 bits, expected at most the file's " +
                   number(bytes_.size()) + " bytes");
  }
  if (offset % file_.alignment_ != 0) {
    return corrupt(what + " starts at offset " + number(offset) + ", expected a multiple of " +
                   number(file_.alignment_));
  }
  tensor.size_bytes = *size;
  file_.tensors_.push_back(tensor);
  offsets_.push_back(offset);
  return {};
}

Status Parser::index_names() {
  auto& keys = file_.metadata_by_key_;
  const auto key_of = [&](uint32_t i) { return file_.metadata_[i].first; };
  if (auto twin = sort_and_find_twin(keys, file_.metadata_.size(), key_of); twin != keys.cend()) {
    return corrupt("metadata key " + quoted(key_of(*twin)) + " appears more than once, expected once");
  }
  auto& names = file_.tensors_by_name_;
  const auto name_of = [&](uint32_t i) { return file_.tensors_[i].name; };
  if (auto twin = sort_and_find_twin(names, file_.tensors_.size(), name_of); twin != names.cend()) {
    return corrupt("tensor " + quoted(name_of(*twin)) + " appears more than once, expected once");
  }
  return {};
}

Status Parser::place_tensors() {
  // A file without tensors (a vocabulary) may end before the padding.
  file_.data_offset_ = round_up(position_, file_.alignment_);
  uint64_t needed = 0;
  size_t last = 0;
  for (size_t i = 0; i < offsets_.size(); ++i) {
    const std::optional<uint64_t> end =
        checked_add(file_.data_offset_, offsets_[i] + file_.tensors_[i].size_bytes);
    if (!end) return corrupt("the offset of tensor " + quoted(file_.tensors_[i].name) + " exceeds 64 bits");
    if (*end > needed) {
      needed = *end;
      last = i;
    }
  }
  if (needed > bytes_.size()) {
    return corrupt("file is truncated: tensor data ends at byte " + number(needed) + " (" +
                   quoted(file_.tensors_[last].name) + "), the file has " + number(bytes_.size()) + " bytes");
  }
  for (size_t i = 0; i < offsets_.size(); ++i) {
    file_.tensors_[i].data = bytes_.data() + file_.data_offset_ + offsets_[i];
  }
  return {};
}

// Two tensors in the same bytes would be two names for one matrix at best; no writer makes that.
Status Parser::check_overlaps() const {
  std::vector<uint32_t> order(offsets_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return offsets_[a] < offsets_[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    const uint32_t before = order[i - 1], after = order[i];
    const uint64_t end = offsets_[before] + file_.tensors_[before].size_bytes;
    if (end > offsets_[after]) {
      return corrupt("tensor " + quoted(file_.tensors_[after].name) + " starts at offset " +
                     number(offsets_[after]) + ", expected " + number(end) + " or later, where " +
                     quoted(file_.tensors_[before].name) + " ends");
    }
  }
  return {};
}

}  // namespace hedge::gguf
