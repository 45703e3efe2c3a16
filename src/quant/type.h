// The tensor types of GGUF that Hedge reads. The scalar dequantiser of each type is its specification; every
// kernel is tested against it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "quant/blocks.h"

namespace hedge::quant {

enum class Type : uint8_t {
#define HEDGE_QUANT_TYPE(enumerator, gguf_id, name, block, values, suffix) enumerator,
#include "quant/type_list.inc"
#undef HEDGE_QUANT_TYPE
};

inline constexpr size_t kTypeCount = 0
#define HEDGE_QUANT_TYPE(enumerator, gguf_id, name, block, values, suffix) +1
#include "quant/type_list.inc"
#undef HEDGE_QUANT_TYPE
    ;

struct TypeInfo {
  Type type;
  uint32_t gguf_id;
  std::string_view name;  // as llama.cpp writes it
  size_t block_values;
  size_t block_bytes;
  // count is a multiple of block_values. `blocks` may be unaligned.
  void (*dequantize)(const void* blocks, float* out, size_t count);
  // Null where Hedge only reads the type. The bytes that llama.cpp's reference quantiser writes. REQUIRES:
  // values are finite.
  void (*quantize)(const float* values, void* blocks, size_t count);
};

const TypeInfo& info(Type type);
std::optional<Type> type_from_gguf_id(uint32_t gguf_id);
// Name of any id of the GGUF standard, also of those that Hedge does not read ("IQ2_XXS"); "type 99" for
// unknown ones. For error messages.
std::string gguf_type_name(uint32_t gguf_id);

// Bytes of a row of `count` values. REQUIRES: count is a multiple of block_values.
inline size_t row_bytes(Type type, size_t count) {
  const TypeInfo& t = info(type);
  return count / t.block_values * t.block_bytes;
}

}  // namespace hedge::quant
