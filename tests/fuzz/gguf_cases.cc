#include "tests/fuzz/gguf_cases.h"

#include <cstring>
#include <string_view>

namespace hedge::fuzz {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kHuge = ~uint64_t{0};

// GGUF value types and tensor types by number, as a broken file would hold them: not the reader's enums.
enum : uint32_t { kUint8 = 0, kUint32 = 4, kInt32 = 5, kBool = 7, kString = 8, kArray = 9, kUint64 = 10 };
enum : uint32_t { kF32 = 0, kQ4_0 = 2, kIQ2_XXS = 16 };

// Writes fields one after the other, right or wrong.
class Raw {
 public:
  Raw& u8(uint8_t v) { return put(&v, sizeof(v)); }
  Raw& u32(uint32_t v) { return put(&v, sizeof(v)); }
  Raw& u64(uint64_t v) { return put(&v, sizeof(v)); }
  Raw& raw(std::string_view text) { return put(text.data(), text.size()); }
  Raw& text(std::string_view s) { return u64(s.size()).raw(s); }
  Raw& zeros(size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  Raw& pad(size_t alignment = 32) { return zeros((alignment - bytes_.size() % alignment) % alignment); }

  Raw& header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return raw("GGUF").u32(version).u64(tensors).u64(keys);
  }
  Raw& key(std::string_view name, uint32_t type) { return text(name).u32(type); }
  Raw& array(std::string_view name, uint32_t element_type, uint64_t count) {
    return key(name, kArray).u32(element_type).u64(count);
  }
  Raw& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    text(name).u32(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) u64(dim);
    return u32(type).u64(offset);
  }

  operator Bytes() const { return bytes_; }

 private:
  Raw& put(const void* data, size_t size) {
    const size_t end = bytes_.size();
    bytes_.resize(end + size);
    if (size > 0) std::memcpy(bytes_.data() + end, data, size);
    return *this;
  }
  Bytes bytes_;
};

class Cases {
 public:
  void whole(std::string name, Bytes bytes) { cases_.push_back({std::move(name), std::move(bytes), {}, {}}); }
  void corrupt(std::string name, Bytes bytes, std::string detail) {
    cases_.push_back({std::move(name), std::move(bytes), ErrorCode::kCorrupt, std::move(detail)});
  }
  void unsupported(std::string name, Bytes bytes, std::string detail) {
    cases_.push_back({std::move(name), std::move(bytes), ErrorCode::kUnsupported, std::move(detail)});
  }
  std::vector<GgufCase> take() { return std::move(cases_); }

 private:
  std::vector<GgufCase> cases_;
};

void add_headers(Cases& cases) {
  cases.corrupt("empty_file", Bytes{}, "needs 4 bytes, 0 are left of a file of 0");
  cases.corrupt("cut_magic", Raw().raw("GGU"), "needs 4 bytes, 3 are left of a file of 3");
  cases.corrupt("only_magic", Raw().raw("GGUF"),
                "the version at byte 4 needs 4 bytes, 0 are left of a file of 4");
  cases.corrupt("bad_magic", Raw().raw("FUGG").u32(3).u64(0).u64(0), "starts with 'FUGG', expected 'GGUF'");
  cases.corrupt("control_bytes_in_magic", Raw().raw("\x1b[2J").u32(3), "starts with '?[2J', expected 'GGUF'");
  cases.corrupt("version_zero", Raw().header(0, 0, 0), "GGUF version 0, expected 2 to 3");
  cases.unsupported("version_1", Raw().raw("GGUF").u32(1).u32(0).u32(0), "GGUF version 1, expected 2 to 3");
  cases.unsupported("version_99", Raw().header(0, 0, 99), "GGUF version 99, expected 2 to 3");
  cases.unsupported("big_endian", Raw().header(0, 0, 0x03000000),
                    "big-endian GGUF file (version 3), expected little-endian");
  cases.corrupt("truncated_header", Raw().raw("GGUF").u32(3).u64(0).u32(0),
                "the metadata count at byte 16 needs 8 bytes, 4 are left of a file of 20");
  cases.corrupt("tensor_count_huge", Raw().header(kHuge, 0),
                "18446744073709551615 tensors, expected at most 131072");
  cases.corrupt("tensor_count_past_end", Raw().header(1000, 0).pad(),
                "1000 tensors at byte 24 needs 25000 bytes, 8 are left of a file of 32");
  cases.corrupt("metadata_count_huge", Raw().header(0, kHuge),
                "18446744073709551615 metadata entries, expected at most 65536");
  cases.corrupt("metadata_count_past_end", Raw().header(0, 1000).pad(),
                "1000 metadata entries at byte 24 needs 14000 bytes, 8 are left of a file of 32");
}

void add_keys(Cases& cases) {
  const auto one = [] { return Raw().header(0, 1); };
  cases.corrupt("truncated_metadata", Raw().header(0, 2).key("a", kUint32).u32(1).key("b", kUint64).u32(1),
                "metadata value 'b' at byte 54 needs 8 bytes, 4 are left of a file of 58");
  cases.corrupt("empty_key", one().key("", kUint32).u32(1), "metadata key 1 of 1 is empty");
  cases.corrupt("key_length_huge", one().u64(kHuge).zeros(16),
                "metadata key 1 of 1 has 18446744073709551615 bytes, expected at most 65535");
  cases.corrupt("key_past_end", one().u64(100).zeros(16),
                "metadata key 1 of 1 at byte 32 needs 100 bytes, 16 are left of a file of 48");
  cases.corrupt("unknown_value_type", one().key("a", 13).u64(0),
                "metadata value 'a' has type 13, expected 0 to 12");
  cases.corrupt("bool_not_0_or_1", one().key("a", kBool).u8(2),
                "metadata value 'a' is a bool of value 2, expected 0 or 1");
  cases.corrupt("bool_in_array_not_0_or_1", one().array("a", kBool, 3).u8(0).u8(1).u8(255),
                "metadata array 'a' holds a bool of value 255, expected 0 or 1");
  cases.corrupt("duplicate_key",
                Raw().header(0, 3).key("a", kUint8).u8(1).key("b", kUint8).u8(1).key("a", kBool).u8(1),
                "metadata key 'a' appears more than once, expected once");
  cases.corrupt("control_bytes_in_key", one().key("\x1b[31m", 99).u64(0),
                "metadata value '?[31m' has type 99");

  cases.corrupt("string_length_huge", one().key("a", kString).u64(kHuge).zeros(8),
                "metadata value 'a' has 18446744073709551615 bytes, expected at most 16777216");
  cases.corrupt("string_past_end", one().key("a", kString).u64(64).zeros(8),
                "metadata value 'a' at byte 45 needs 64 bytes, 8 are left of a file of 53");
  cases.corrupt("array_count_overflow", one().array("a", kUint64, kHuge / 8 + 1).zeros(8),
                "metadata array 'a' has 2305843009213693952 elements, expected at most 16777216");
  cases.corrupt("array_past_end", one().array("a", kUint64, 1000).zeros(8),
                "metadata array 'a' at byte 49 needs 8000 bytes, 8 are left of a file of 57");
  cases.corrupt("array_of_unknown_type", one().array("a", 13, 1).zeros(8),
                "metadata array 'a' has elements of type 13, expected 0 to 12");
  cases.unsupported("nested_array", one().array("a", kArray, 1).u32(kUint8).u64(1).u8(1),
                    "metadata array 'a' holds arrays, expected scalars or strings");
  cases.corrupt("string_array_count_huge", one().array("a", kString, kHuge).text("x"),
                "metadata array 'a' has 18446744073709551615 elements, expected at most 16777216");
  cases.corrupt("string_array_past_end", one().array("a", kString, 1 << 20).text("x"),
                "string 1 of 1048576 of metadata array 'a' at byte 49 needs 8388608 bytes, 9 are left");
  cases.corrupt("string_in_array_past_end", one().array("a", kString, 2).text("x").u64(100).raw("y"),
                "string 2 of 2 of metadata array 'a' at byte 58 needs 108 bytes, 9 are left of a file of 67");
  cases.corrupt(
      "string_in_array_length_huge", one().array("a", kString, 1).u64(kHuge),
      "string 1 of 1 of metadata array 'a' has 18446744073709551615 bytes, expected at most 16777216");
  cases.corrupt("string_array_ends_early", one().array("a", kString, 2).text("0123456789").u32(0),
                "string 2 of 2 of metadata array 'a' at byte 67 needs 8 bytes, 4 are left of a file of 71");

  const auto alignment = [&](uint32_t value) { return one().key("general.alignment", kUint32).u32(value); };
  cases.corrupt("alignment_zero", alignment(0),
                "general.alignment is 0, expected a power of two from 8 to 65536");
  cases.corrupt("alignment_not_power_of_two", alignment(13),
                "general.alignment is 13, expected a power of two");
  cases.corrupt("alignment_too_small", alignment(4),
                "general.alignment is 4, expected a power of two from 8 to 65536");
  cases.corrupt("alignment_too_large", alignment(1u << 31),
                "general.alignment is 2147483648, expected a power of two");
  cases.corrupt("alignment_of_wrong_type", one().key("general.alignment", kInt32).u32(32),
                "'general.alignment' is int32, expected uint32");
}

void add_tensors(Cases& cases) {
  const auto one = [] { return Raw().header(1, 0); };
  const auto two = [] { return Raw().header(2, 0); };
  cases.corrupt("tensor_infos_truncated",
                Raw().header(1, 1).key("a", kString).text("no room is left for the tensor"),
                "the description of 1 tensors at byte 75 needs 25 bytes, 0 are left of a file of 75");
  cases.corrupt("tensor_info_cut", one().text("weight").u32(2).u64(32).u32(0),
                "dimension 1 of tensor 'weight' at byte 50 needs 8 bytes, 4 are left of a file of 54");
  cases.corrupt("tensor_name_empty", one().tensor("", {32}, kF32, 0).pad().zeros(128),
                "the name of tensor 1 of 1 is empty");
  cases.corrupt("tensor_name_too_long", one().tensor(std::string(128, 'n'), {32}, kF32, 0).pad().zeros(128),
                "the name of tensor 1 of 1 has 128 bytes, expected at most 127");
  cases.corrupt("five_dims", one().tensor("t", {1, 1, 1, 1, 1}, kF32, 0).pad().zeros(4),
                "tensor 't' has 5 dimensions, expected at most 4");
  cases.corrupt("dim_count_huge", one().text("t").u32(0xffffffff).zeros(64),
                "tensor 't' has 4294967295 dimensions, expected at most 4");
  cases.corrupt("zero_dim", one().tensor("t", {32, 0}, kF32, 0).pad(),
                "dimension 1 of tensor 't' is 0, expected at least 1");
  cases.corrupt("dims_product_overflows", one().tensor("t", {1ull << 32, 1ull << 32}, kF32, 0).pad(),
                "the size or offset of tensor 't' exceeds 64 bits, expected at most the file's 96 bytes");
  cases.corrupt("dims_product_overflows_to_small",
                one().tensor("t", {32, 1ull << 59, 1ull << 5}, kF32, 0).pad().zeros(128),
                "the size or offset of tensor 't' exceeds 64 bits");
  cases.corrupt("bytes_overflow", one().tensor("t", {1ull << 62}, kF32, 0).pad(),
                "the size or offset of tensor 't' exceeds 64 bits");
  cases.corrupt("negative_dim", one().tensor("t", {kHuge - 31}, kF32, 0).pad(),
                "the size or offset of tensor 't' exceeds 64 bits");
  cases.corrupt("bytes_huge", one().tensor("t", {1ull << 60}, kF32, 0).pad(),
                "tensor data ends at byte 4611686018427387968 ('t'), the file has 64 bytes");
  cases.corrupt("sizes_sum_overflows",
                two().tensor("a", {1ull << 61}, kF32, 0).tensor("b", {1ull << 61}, kF32, 1ull << 63).pad(),
                "the size or offset of tensor 'b' exceeds 64 bits");
  cases.unsupported("unknown_type", one().tensor("t", {32}, 99, 0).pad().zeros(128),
                    "tensor 't' has type 99, expected one of F32, F16, Q4_0,");
  cases.unsupported("unsupported_type", one().tensor("t", {256}, kIQ2_XXS, 0).pad().zeros(128),
                    "tensor 't' has IQ2_XXS, expected one of F32, F16, Q4_0,");
  cases.corrupt("columns_not_multiple_of_block", one().tensor("t", {33, 32}, kQ4_0, 0).pad().zeros(1024),
                "tensor 't' has rows of 33 values, expected a multiple of 32 for Q4_0");
  cases.corrupt("duplicate_tensor",
                two().tensor("t", {8}, kF32, 0).tensor("t", {8}, kF32, 32).pad().zeros(64),
                "tensor 't' appears more than once, expected once");
  cases.corrupt("tensor_offset_unaligned", one().tensor("t", {8}, kF32, 8).pad().zeros(64),
                "tensor 't' starts at offset 8, expected a multiple of 32");
  cases.corrupt("tensor_offset_against_alignment",
                Raw()
                    .header(1, 1)
                    .key("general.alignment", kUint32)
                    .u32(64)
                    .tensor("t", {8}, kF32, 32)
                    .pad(64)
                    .zeros(64),
                "tensor 't' starts at offset 32, expected a multiple of 64");
  cases.corrupt("tensor_offset_past_end", one().tensor("t", {8}, kF32, 1 << 20).pad().zeros(32),
                "file is truncated: tensor data ends at byte 1048672 ('t'), the file has 96 bytes");
  cases.corrupt("tensor_offset_overflows", one().tensor("t", {8}, kF32, kHuge - 31).pad().zeros(32),
                "the size or offset of tensor 't' exceeds 64 bits");
  cases.corrupt("tensor_end_overflows", one().tensor("t", {8}, kF32, kHuge - 63).pad().zeros(32),
                "the offset of tensor 't' exceeds 64 bits");
  cases.corrupt("tensors_overlap",
                two().tensor("a", {16}, kF32, 0).tensor("b", {8}, kF32, 32).pad().zeros(64),
                "tensor 'b' starts at offset 32, expected 64 or later, where 'a' ends");
  cases.corrupt("tensors_in_the_same_bytes",
                two().tensor("a", {8}, kF32, 0).tensor("b", {8}, kF32, 0).pad().zeros(64),
                "starts at offset 0, expected 32 or later");
  cases.corrupt("data_missing", one().tensor("t", {8}, kF32, 0),
                "file is truncated: tensor data ends at byte 96 ('t'), the file has 57 bytes");
  cases.corrupt("data_truncated", one().tensor("t", {8}, kF32, 0).pad().zeros(31),
                "file is truncated: tensor data ends at byte 96 ('t'), the file has 95 bytes");
}

Raw every_value_type(uint32_t version) {
  constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  Raw file;
  file.header(0, 24, version);
  for (uint32_t type = 0; type < 13; ++type) {
    if (type == kArray) continue;
    file.key("scalar" + std::to_string(type), type);
    type == kString ? file.text("text") : file.zeros(kSizes[type]);
    file.array("array" + std::to_string(type), type, 3);
    type == kString ? file.text("a").text("").text("ccc") : file.zeros(3 * kSizes[type]);
  }
  return file;
}

void add_whole(Cases& cases) {
  cases.whole("whole_empty", Raw().header(0, 0));
  cases.whole("whole_empty_padded", Raw().header(0, 0).pad());
  cases.whole("whole_values", every_value_type(3));
  cases.whole("whole_version_2", every_value_type(2));
  cases.whole("whole_empty_arrays",
              Raw().header(0, 2).array("numbers", kUint8, 0).array("texts", kString, 0));
  cases.whole("whole_alignment_64", Raw()
                                        .header(1, 1)
                                        .key("general.alignment", kUint32)
                                        .u32(64)
                                        .tensor("t", {8}, kF32, 64)
                                        .pad(64)
                                        .zeros(96));
  cases.whole("whole_scalar_tensor", Raw().header(1, 0).tensor("t", {}, kF32, 0).pad().zeros(4));

  // One block of each type that Hedge reads, and a gap before the last, which the format allows.
  const struct {
    uint32_t id;
    uint64_t values, bytes;
  } kTypes[] = {{0, 1, 4},   {1, 1, 2},      {2, 32, 18},    {3, 32, 20},    {6, 32, 22}, {7, 32, 24},
                {8, 32, 34}, {12, 256, 144}, {13, 256, 176}, {14, 256, 210}, {30, 1, 2}};
  Raw file;
  file.header(std::size(kTypes), 0);
  uint64_t offset = 0;
  for (const auto& type : kTypes) {
    if (type.id == 30) offset += 64;
    file.tensor("t" + std::to_string(type.id), {type.values, 1}, type.id, offset);
    offset += (type.bytes + 31) / 32 * 32;
  }
  cases.whole("whole_every_tensor_type", file.pad().zeros(offset));
}

}  // namespace

std::vector<GgufCase> gguf_cases() {
  Cases cases;
  add_whole(cases);
  add_headers(cases);
  add_keys(cases);
  add_tensors(cases);
  return cases.take();
}

}  // namespace hedge::fuzz
