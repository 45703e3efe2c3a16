// IQ4_NL: four bits that choose one of sixteen uneven steps. Only read: the choice of scale that
// makes the type worth its unevenness is a search of the program that writes the file.
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

}  // namespace hedge::quant
