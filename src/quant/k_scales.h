// The 12 bytes of Q4_K and Q5_K that hold eight 6-bit scales and eight 6-bit minima.
//   byte 0..3   low six bits: scale 0..3;  top two bits: bits 4, 5 of scale 4..7
//   byte 4..7   low six bits: min 0..3;    top two bits: bits 4, 5 of min 4..7
//   byte 8..11  low nibble: bits 0..3 of scale 4..7;  high nibble: bits 0..3 of min 4..7
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace hedge::quant {

struct ScaleMin {
  uint8_t scale, min;  // 0..63
};

inline ScaleMin k4_scale_min(const uint8_t* packed, size_t group) {
  if (group < 4) {
    return {static_cast<uint8_t>(packed[group] & 63), static_cast<uint8_t>(packed[group + 4] & 63)};
  }
  return {static_cast<uint8_t>((packed[group + 4] & 15) | packed[group - 4] >> 6 << 4),
          static_cast<uint8_t>(packed[group + 4] >> 4 | packed[group] >> 6 << 4)};
}

// scales[8] and mins[8], each 0..63, into packed[12].
inline void k4_pack_scale_min(const uint8_t* scales, const uint8_t* mins, uint8_t* packed) {
  for (size_t i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(scales[i] | scales[i + 4] >> 4 << 6);
    packed[i + 4] = static_cast<uint8_t>(mins[i] | mins[i + 4] >> 4 << 6);
    packed[i + 8] = static_cast<uint8_t>((scales[i + 4] & 15) | (mins[i + 4] & 15) << 4);
  }
}

}  // namespace hedge::quant
