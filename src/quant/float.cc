// F32, F16 and BF16: one value per block.
#include <cstring>

#include "base/bytes.h"
#include "quant/formats.h"

namespace hedge::quant {

void dequantize_f32(const void* blocks, float* out, size_t count) {
  std::memcpy(out, blocks, count * sizeof(float));
}

void quantize_f32(const float* values, void* blocks, size_t count) {
  std::memcpy(blocks, values, count * sizeof(float));
}

void dequantize_f16(const void* blocks, float* out, size_t count) {
  const auto* in = static_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < count; ++i) out[i] = f16_to_f32(load_le<uint16_t>(in + 2 * i));
}

void quantize_f16(const float* values, void* blocks, size_t count) {
  auto* out = static_cast<uint8_t*>(blocks);
  for (size_t i = 0; i < count; ++i) {
    const uint16_t half = f32_to_f16(values[i]);
    std::memcpy(out + 2 * i, &half, sizeof(half));
  }
}

void dequantize_bf16(const void* blocks, float* out, size_t count) {
  const auto* in = static_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < count; ++i) out[i] = bf16_to_f32(load_le<uint16_t>(in + 2 * i));
}

void quantize_bf16(const float* values, void* blocks, size_t count) {
  auto* out = static_cast<uint8_t*>(blocks);
  for (size_t i = 0; i < count; ++i) {
    const uint16_t bits = f32_to_bf16(values[i]);
    std::memcpy(out + 2 * i, &bits, sizeof(bits));
  }
}

}  // namespace hedge::quant
