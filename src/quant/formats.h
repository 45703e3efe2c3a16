// Private to quant/: the functions behind each line of type_list.inc. Blocks may be unaligned in the mapping,
// so every function copies one block at a time into a local.
#pragma once

#include <cstddef>

#include "quant/blocks.h"

namespace hedge::quant {

#define HEDGE_QUANT_TYPE(enumerator, gguf_id, name, block, values, suffix) \
  void dequantize_##suffix(const void* blocks, float* out, size_t count);  \
  void quantize_##suffix(const float* values_in, void* blocks, size_t value_count);
#define HEDGE_QUANT_READ_TYPE(enumerator, gguf_id, name, block, values, suffix) \
  void dequantize_##suffix(const void* blocks, float* out, size_t count);
#include "quant/type_list.inc"
#undef HEDGE_QUANT_TYPE

}  // namespace hedge::quant
