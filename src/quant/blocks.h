// The stored blocks of the GGUF types, byte for byte (ggml-common.h of llama.cpp v0.5.0 is the format's
// source). C-compatible and free of the standard library, so that kernel files may include it.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace hedge::quant {

struct Bf16 {
  uint16_t bits;
};

// w = d * (q - 8); q of value i is the low nibble of qs[i] for i < 16, the high nibble of qs[i - 16] after.
struct BlockQ4_0 {
  uint16_t d;  // f16
  uint8_t qs[16];
};
// w = d * q + m
struct BlockQ4_1 {
  uint16_t d, m;  // f16
  uint8_t qs[16];
};
// w = d * (q - 16); bit 4 of value i is bit i of qh.
struct BlockQ5_0 {
  uint16_t d;  // f16
  uint8_t qh[4];
  uint8_t qs[16];
};
// w = d * q + m
struct BlockQ5_1 {
  uint16_t d, m;  // f16
  uint8_t qh[4];
  uint8_t qs[16];
};
// w = d * q
struct BlockQ8_0 {
  uint16_t d;  // f16
  int8_t qs[32];
};
// Sixteen groups of 16: w = d * sc[g] * q - dmin * mn[g]; sc is the low nibble of scales[g], mn the high one.
// Value 32 j + i of half h (128 values) is bits 2j and 2j + 1 of qs[32 h + i].
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d, dmin;  // f16
};
// Sixteen groups of 16: w = d * (sc[g] - 32) * (q - 4). Bits 0 and 1 of value 32 j + i of half h (128 values)
// are bits 2j and 2j + 1 of qs[32 h + i], bit 2 is bit 4h + j of hmask[i]. Bits 0 to 3 of sc[g] are the low
// (g < 8) or high nibble of scales[g % 8], bits 4 and 5 are bits 2 (g / 4) and the next of scales[8 + g % 4].
struct BlockQ3_K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;  // f16
};
// Eight groups of 32: w = d * sc[g] * q - dmin * mn[g]; 6-bit sc and mn packed in 12 bytes (see q4_k.cc).
struct BlockQ4_K {
  uint16_t d, dmin;  // f16
  uint8_t scales[12];
  uint8_t qs[128];
};
struct BlockQ5_K {
  uint16_t d, dmin;  // f16
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
// Sixteen groups of 16: w = d * sc[g] * (q - 32).
struct BlockQ6_K {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;  // f16
};
// w = d * kIq4Values[q], the nibbles lying as in Q4_0.
struct BlockIQ4_NL {
  uint16_t d;  // f16
  uint8_t qs[16];
};
// What the nibbles of the IQ4 types stand for: steps that widen away from zero, as weights thin out. Not
// `inline`: a kernel level may share no symbol.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Eight groups of 32, each as in IQ4_NL: w = d * (sc[g] - 32) * kIq4Values[q]. Bits 0 to 3 of sc[g] are
// nibble g of g of scales_l, bits 4 and 5 are bits 2g and 2g + 1 of scales_h.
struct BlockIQ4_XS {
  uint16_t d;  // f16
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34);
static_assert(sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 &&
              sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);
static_assert(sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);

}  // namespace hedge::quant
