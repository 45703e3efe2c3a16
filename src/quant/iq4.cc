// IQ4_NL and IQ4_XS: four bits that choose one of sixteen uneven steps. Only read: the choice of scale that
// makes the types worth their unevenness is a search of the program that writes the file.
#include "base/bytes.h"
#include "quant/formats.h"

namespace hedge::quant {
namespace {

// Values i < 16 of a group of 32 are low nibbles, the others high ones.
void write_group(const uint8_t* qs, float d, float* y) {
  for (size_t i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(kIq4Values[qs[i] & 15]);
    y[i + 16] = d * static_cast<float>(kIq4Values[qs[i] >> 4]);
  }
}

}  // namespace

void dequantize_iq4_nl(const void* blocks, float* out, size_t count) {
  const auto* in = static_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += 32, in += sizeof(BlockIQ4_NL)) {
    const auto b = load_le<BlockIQ4_NL>(in);
    write_group(b.qs, f16_to_f32(b.d), out + i);
  }
}

void dequantize_iq4_xs(const void* blocks, float* out, size_t count) {
  const auto* in = static_cast<const uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += 256, in += sizeof(BlockIQ4_XS)) {
    const auto b = load_le<BlockIQ4_XS>(in);
    const float d = f16_to_f32(b.d);
    for (size_t g = 0; g < 8; ++g) {
      const int scale = (b.scales_l[g / 2] >> 4 * (g % 2) & 15) | (b.scales_h >> 2 * g & 3) << 4;
      write_group(b.qs + 16 * g, d * static_cast<float>(scale - 32), out + i + 32 * g);
    }
  }
}

}  // namespace hedge::quant
