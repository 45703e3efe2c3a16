// Q2_K, Q3_K, Q4_K, Q5_K, Q6_K: super-blocks of 256 values whose groups have quantised scales of their own.
// Reading; k_quantize.cc writes all but Q2_K and Q3_K.
#include "base/bytes.h"
#include "quant/formats.h"
#include "quant/k_scales.h"

namespace hedge::quant {
namespace {

constexpr size_t kBlockValues = 256;

template <typename Block, typename Decode>
void for_each_block(const void* blocks, float* out, size_t count, Decode decode) {
  const auto* in = static_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += kBlockValues, in += sizeof(Block)) decode(load_le<Block>(in), out + i);
}

// Writes the 32 values of group g, q(i) being their quants. The products are rounded in this order by every
// reader of the format: d * scale first, then times q, then minus dmin * min.
template <typename Block, typename Quant>
void write_group(const Block& b, size_t g, float* y, Quant q) {
  const ScaleMin s = k4_scale_min(b.scales, g);
  const float d = f16_to_f32(b.d) * static_cast<float>(s.scale);
  const float m = f16_to_f32(b.dmin) * static_cast<float>(s.min);
  for (size_t i = 0; i < 32; ++i) y[32 * g + i] = d * static_cast<float>(q(i)) - m;
}

}  // namespace

void dequantize_q2_k(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ2_K>(blocks, out, count, [](const BlockQ2_K& b, float* y) {
    const float d = f16_to_f32(b.d), dmin = f16_to_f32(b.dmin);
    for (size_t v = 0; v < kBlockValues; ++v) {
      const size_t half = v / 128, quarter = v % 128 / 32, i = v % 32;
      const float scale = d * static_cast<float>(b.scales[v / 16] & 15);
      const float minimum = dmin * static_cast<float>(b.scales[v / 16] >> 4);
      y[v] = scale * static_cast<float>(b.qs[32 * half + i] >> 2 * quarter & 3) - minimum;
    }
  });
}

void dequantize_q3_k(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ3_K>(blocks, out, count, [](const BlockQ3_K& b, float* y) {
    const float d = f16_to_f32(b.d);
    for (size_t v = 0; v < kBlockValues; ++v) {
      const size_t g = v / 16, half = v / 128, quarter = v % 128 / 32, i = v % 32;
      const int scale = (b.scales[g % 8] >> 4 * (g / 8) & 15) | (b.scales[8 + g % 4] >> 2 * (g / 4) & 3) << 4;
      const int q = (b.qs[32 * half + i] >> 2 * quarter & 3) | (b.hmask[i] >> (4 * half + quarter) & 1) << 2;
      y[v] = d * static_cast<float>(scale - 32) * static_cast<float>(q - 4);
    }
  });
}

// Groups 2p and 2p + 1 are the low and high nibbles of qs[32 p .. 32 p + 31].
void dequantize_q4_k(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ4_K>(blocks, out, count, [](const BlockQ4_K& b, float* y) {
    for (size_t g = 0; g < 8; ++g) {
      const uint8_t* qs = b.qs + 32 * (g / 2);
      write_group(b, g, y, [&](size_t i) { return qs[i] >> 4 * (g % 2) & 15; });
    }
  });
}

// As Q4_K; bit g of qh[i] is bit 4 of value i of group g.
void dequantize_q5_k(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ5_K>(blocks, out, count, [](const BlockQ5_K& b, float* y) {
    for (size_t g = 0; g < 8; ++g) {
      const uint8_t* qs = b.qs + 32 * (g / 2);
      write_group(b, g, y, [&](size_t i) { return (qs[i] >> 4 * (g % 2) & 15) | (b.qh[i] >> g & 1) << 4; });
    }
  });
}

// Each half of 128 values has 64 bytes of ql and 32 of qh. Quarter k of a half (32 values): low four bits are
// a nibble of ql[32 (k % 2) + i], low one for k < 2; bits 4 and 5 are bits 2k and 2k + 1 of qh[i].
void dequantize_q6_k(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ6_K>(blocks, out, count, [](const BlockQ6_K& b, float* y) {
    const float d = f16_to_f32(b.d);
    for (size_t v = 0; v < kBlockValues; ++v) {
      const size_t half = v / 128, quarter = v % 128 / 32, i = v % 32;
      const int low = b.ql[64 * half + 32 * (quarter % 2) + i] >> 4 * (quarter / 2) & 15;
      const int high = b.qh[32 * half + i] >> 2 * quarter & 3;
      y[v] = d * static_cast<float>(b.scales[v / 16]) * static_cast<float>((low | high << 4) - 32);
    }
  });
}

}  // namespace hedge::quant
