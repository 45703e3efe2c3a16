// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: blocks of 32 values with one scale and, for the _1 types, one minimum.
// Rounding follows llama.cpp's reference quantisers (ggml-quants.c): the scale is rounded to f16 for storage,
// but the values are divided by the unrounded one; the files it writes and ours are then the same bytes.
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "quant/formats.h"

namespace hedge::quant {
namespace {

constexpr size_t kBlockValues = 32;
constexpr size_t kHalf = kBlockValues / 2;

// Calls decode(block, out) for every block of the row.
template <typename Block, typename Decode>
void for_each_block(const void* blocks, float* out, size_t count, Decode decode) {
  const auto* in = static_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += kBlockValues, in += sizeof(Block)) {
    decode(load_le<Block>(in), out + i);
  }
}

template <typename Block, typename Encode>
void make_each_block(const float* values, void* blocks, size_t count, Encode encode) {
  auto* out = static_cast<uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += kBlockValues, out += sizeof(Block)) {
    const Block block = encode(values + i);
    std::memcpy(out, &block, sizeof(block));
  }
}

int nibble(const uint8_t* qs, size_t i) { return i < kHalf ? qs[i] & 15 : qs[i - kHalf] >> 4; }

int five_bits(const uint8_t* qs, const uint8_t* qh, size_t i) {
  return nibble(qs, i) | ((qh[i / 8] >> (i % 8)) & 1) << 4;
}

// Low four bits of all 32 values into qs.
void store_nibbles(const uint8_t* q, uint8_t* qs) {
  for (size_t i = 0; i < kHalf; ++i) qs[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + kHalf] & 15) << 4);
}

void store_fifth_bits(const uint8_t* q, uint8_t* qh) {
  std::memset(qh, 0, kBlockValues / 8);
  for (size_t i = 0; i < kBlockValues; ++i) qh[i / 8] |= static_cast<uint8_t>((q[i] >> 4 & 1) << (i % 8));
}

// The value of largest magnitude, with its sign; the first of equals.
float signed_max(const float* x) {
  float best = 0;
  for (size_t i = 0; i < kBlockValues; ++i) {
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  }
  return best;
}

// Cut to an integer in [0, top]. Also for what is not a number: the inverse of a subnormal scale is infinite.
uint8_t to_quant(float v, int top) {
  if (!(v > 0)) return 0;
  return static_cast<uint8_t>(v >= static_cast<float>(top) ? top : static_cast<int>(v));
}

struct Symmetric {
  float d;
  uint8_t q[kBlockValues];  // offset by 2^(bits - 1)
};

// The value of largest magnitude becomes exactly -2^(bits - 1), so the full negative range is used; hence the
// negative divisor and a scale of either sign.
Symmetric quantize_symmetric(const float* x, int bits) {
  const int offset = 1 << (bits - 1);
  Symmetric s;
  s.d = signed_max(x) / static_cast<float>(-offset);
  const float inverse = s.d != 0 ? 1.0f / s.d : 0.0f;
  for (size_t i = 0; i < kBlockValues; ++i) {
    const float shifted = x[i] * inverse + (static_cast<float>(offset) + 0.5f);
    s.q[i] = to_quant(shifted, 2 * offset - 1);
  }
  return s;
}

struct Affine {
  float d, m;
  uint8_t q[kBlockValues];
};

Affine quantize_affine(const float* x, int bits) {
  const int top = (1 << bits) - 1;
  // The first of equals, so that the signs of zeros come out as in the reference.
  float low = x[0], high = x[0];
  for (size_t i = 1; i < kBlockValues; ++i) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
  }
  Affine a;
  a.m = low;
  a.d = (high - low) / static_cast<float>(top);
  const float inverse = a.d != 0 ? 1.0f / a.d : 0.0f;
  for (size_t i = 0; i < kBlockValues; ++i) {
    a.q[i] = to_quant((x[i] - a.m) * inverse + 0.5f, top);
  }
  return a;
}

}  // namespace

void dequantize_q4_0(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ4_0>(blocks, out, count, [](const BlockQ4_0& b, float* y) {
    const float d = f16_to_f32(b.d);
    for (size_t i = 0; i < kBlockValues; ++i) y[i] = static_cast<float>(nibble(b.qs, i) - 8) * d;
  });
}

void dequantize_q4_1(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ4_1>(blocks, out, count, [](const BlockQ4_1& b, float* y) {
    const float d = f16_to_f32(b.d), m = f16_to_f32(b.m);
    for (size_t i = 0; i < kBlockValues; ++i) y[i] = static_cast<float>(nibble(b.qs, i)) * d + m;
  });
}

void dequantize_q5_0(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ5_0>(blocks, out, count, [](const BlockQ5_0& b, float* y) {
    const float d = f16_to_f32(b.d);
    for (size_t i = 0; i < kBlockValues; ++i) y[i] = static_cast<float>(five_bits(b.qs, b.qh, i) - 16) * d;
  });
}

void dequantize_q5_1(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ5_1>(blocks, out, count, [](const BlockQ5_1& b, float* y) {
    const float d = f16_to_f32(b.d), m = f16_to_f32(b.m);
    for (size_t i = 0; i < kBlockValues; ++i) y[i] = static_cast<float>(five_bits(b.qs, b.qh, i)) * d + m;
  });
}

void dequantize_q8_0(const void* blocks, float* out, size_t count) {
  for_each_block<BlockQ8_0>(blocks, out, count, [](const BlockQ8_0& b, float* y) {
    const float d = f16_to_f32(b.d);
    for (size_t i = 0; i < kBlockValues; ++i) y[i] = static_cast<float>(b.qs[i]) * d;
  });
}

void quantize_q4_0(const float* values, void* blocks, size_t count) {
  make_each_block<BlockQ4_0>(values, blocks, count, [](const float* x) {
    const Symmetric s = quantize_symmetric(x, 4);
    BlockQ4_0 b;
    b.d = f32_to_f16(s.d);
    store_nibbles(s.q, b.qs);
    return b;
  });
}

void quantize_q4_1(const float* values, void* blocks, size_t count) {
  make_each_block<BlockQ4_1>(values, blocks, count, [](const float* x) {
    const Affine a = quantize_affine(x, 4);
    BlockQ4_1 b;
    b.d = f32_to_f16(a.d);
    b.m = f32_to_f16(a.m);
    store_nibbles(a.q, b.qs);
    return b;
  });
}

void quantize_q5_0(const float* values, void* blocks, size_t count) {
  make_each_block<BlockQ5_0>(values, blocks, count, [](const float* x) {
    const Symmetric s = quantize_symmetric(x, 5);
    BlockQ5_0 b;
    b.d = f32_to_f16(s.d);
    store_nibbles(s.q, b.qs);
    store_fifth_bits(s.q, b.qh);
    return b;
  });
}

void quantize_q5_1(const float* values, void* blocks, size_t count) {
  make_each_block<BlockQ5_1>(values, blocks, count, [](const float* x) {
    const Affine a = quantize_affine(x, 5);
    BlockQ5_1 b;
    b.d = f32_to_f16(a.d);
    b.m = f32_to_f16(a.m);
    store_nibbles(a.q, b.qs);
    store_fifth_bits(a.q, b.qh);
    return b;
  });
}

void quantize_q8_0(const float* values, void* blocks, size_t count) {
  make_each_block<BlockQ8_0>(values, blocks, count, [](const float* x) {
    const float d = std::fabs(signed_max(x)) / 127.0f;
    const float inverse = d != 0 ? 1.0f / d : 0.0f;
    BlockQ8_0 b;
    b.d = f32_to_f16(d);
    for (size_t i = 0; i < kBlockValues; ++i) {
      const float magnitude = std::round(std::fabs(x[i]) * inverse);
      const int q = to_quant(magnitude, 127);
      b.qs[i] = static_cast<int8_t>(x[i] < 0 ? -q : q);
    }
    return b;
  });
}

}  // namespace hedge::quant
