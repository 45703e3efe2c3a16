// Writing of Q4_K, Q5_K and Q6_K without an importance matrix. The searches are those of llama.cpp's
// reference quantisers (make_qkx2_quants and make_qx_quants in ggml-quants.c): sums run in the same order, so
// that the same bytes come out.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "quant/formats.h"
#include "quant/k_scales.h"

namespace hedge::quant {
namespace {

constexpr size_t kBlockValues = 256;

// Nearest integer, ties to even, held in [low, high]; NaN becomes low.
int nearest(float v, int low, int high) {
  if (!(v > static_cast<float>(low))) return low;
  if (v >= static_cast<float>(high)) return high;
  return static_cast<int>(std::nearbyint(v));
}

// x ~ scale * q + min with q in [0, top] and min <= 0.
struct AffineFit {
  float scale, min;
};

struct AffineSearch {
  int top;
  float first, step;  // the inverse scales tried are (top + first + step * i) / range
  int steps;
};

// Weighted least squares over the 32 values of one group: for each candidate inverse scale, round, solve for
// the best scale and minimum, and keep the one with the smallest weighted squared error. Its quants go to
// best_q.
AffineFit fit_affine(const float* x, const float* weights, const AffineSearch& search, uint8_t* best_q) {
  constexpr size_t n = 32;
  float low = x[0], high = x[0];
  float sum_w = weights[0], sum_x = weights[0] * x[0];
  for (size_t i = 1; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  low = std::min(low, 0.0f);
  std::memset(best_q, 0, n);
  if (high == low) return {0.0f, low};

  uint8_t q[n];
  const auto round_all = [&](float inverse, float from) {
    for (size_t i = 0; i < n; ++i)
      q[i] = static_cast<uint8_t>(nearest(inverse * (x[i] - from), 0, search.top));
  };
  const auto error_of = [&](const AffineFit& fit) {
    float sum = 0;
    for (size_t i = 0; i < n; ++i) {
      const float difference = fit.scale * static_cast<float>(q[i]) + fit.min - x[i];
      sum += weights[i] * (difference * difference);
    }
    return sum;
  };

  const float top = static_cast<float>(search.top);
  const float first_inverse = top / (high - low);
  AffineFit best{1.0f / first_inverse, low};
  round_all(first_inverse, low);
  std::memcpy(best_q, q, n);
  float best_error = error_of(best);
  for (int step = 0; step <= search.steps; ++step) {
    // The range is measured from the best minimum so far, as the reference does.
    round_all((search.first + search.step * static_cast<float>(step) + top) / (high - best.min), best.min);
    float sum_q = 0, sum_qq = 0, sum_xq = 0;
    for (size_t i = 0; i < n; ++i) {
      const float l = static_cast<float>(q[i]);
      sum_q += weights[i] * l;
      sum_qq += weights[i] * l * l;
      sum_xq += weights[i] * l * x[i];
    }
    const float determinant = sum_w * sum_qq - sum_q * sum_q;
    if (!(determinant > 0)) continue;
    AffineFit fit{(sum_w * sum_xq - sum_x * sum_q) / determinant,
                  (sum_qq * sum_x - sum_q * sum_xq) / determinant};
    if (fit.min > 0) fit = {sum_xq / sum_qq, 0.0f};
    const float error = error_of(fit);
    if (error < best_error) {
      best_error = error;
      best = fit;
      std::memcpy(best_q, q, n);
    }
  }
  return best;
}

// Common to Q4_K and Q5_K: scales into the block, quants of all 256 values into q.
template <typename Block>
void quantize_groups(const float* x, const AffineSearch& search, Block& b, uint8_t* q) {
  constexpr size_t kGroups = 8, kGroupValues = 32;
  float scales[kGroups], mins[kGroups];
  float scale_max = 0, min_max = 0;
  for (size_t g = 0; g < kGroups; ++g) {
    const float* values = x + kGroupValues * g;
    float sum_squares = 0;
    for (size_t i = 0; i < kGroupValues; ++i) sum_squares += values[i] * values[i];
    const float rms = std::sqrt(sum_squares / static_cast<float>(kGroupValues));
    float weights[kGroupValues];
    for (size_t i = 0; i < kGroupValues; ++i) weights[i] = rms + std::fabs(values[i]);
    const AffineFit fit = fit_affine(values, weights, search, q + kGroupValues * g);
    scales[g] = fit.scale;
    mins[g] = -fit.min;
    scale_max = std::max(scale_max, scales[g]);
    min_max = std::max(min_max, mins[g]);
  }

  constexpr int kScaleTop = 63;
  const float inverse_scale = scale_max > 0 ? kScaleTop / scale_max : 0.0f;
  const float inverse_min = min_max > 0 ? kScaleTop / min_max : 0.0f;
  uint8_t scale_quants[kGroups], min_quants[kGroups];
  for (size_t g = 0; g < kGroups; ++g) {
    scale_quants[g] = static_cast<uint8_t>(nearest(inverse_scale * scales[g], 0, kScaleTop));
    min_quants[g] = static_cast<uint8_t>(nearest(inverse_min * mins[g], 0, kScaleTop));
  }
  k4_pack_scale_min(scale_quants, min_quants, b.scales);
  b.d = f32_to_f16(scale_max / kScaleTop);
  b.dmin = f32_to_f16(min_max / kScaleTop);

  // Round again with the scales that were stored. Where the stored scale is zero, the quants mean nothing:
  // those of the search stay, as in the reference.
  for (size_t v = 0; v < kBlockValues; ++v) {
    const size_t g = v / kGroupValues;
    const float d = f16_to_f32(b.d) * static_cast<float>(scale_quants[g]);
    const float m = f16_to_f32(b.dmin) * static_cast<float>(min_quants[g]);
    if (d != 0) q[v] = static_cast<uint8_t>(nearest((x[v] + m) / d, 0, search.top));
  }
}

// Low four bits: groups 2p and 2p + 1 share 32 bytes.
void store_nibbles(const uint8_t* q, uint8_t* qs) {
  for (size_t pair = 0; pair < 4; ++pair) {
    for (size_t i = 0; i < 32; ++i) {
      const size_t v = 64 * pair + i;
      qs[32 * pair + i] = static_cast<uint8_t>((q[v] & 15) | (q[v + 32] & 15) << 4);
    }
  }
}

// The largest magnitude of a group or of its scales that counts as zero (the reference's GROUP_MAX_EPS).
constexpr float kZeroMagnitude = 1e-15f;

// Scale of x ~ scale * q with q in [-32, 31] over 16 values, weights x * x: 18 inverse scales around the
// first are tried. The first of equal magnitudes decides the sign. The quants plus 32 go to best_q.
float fit_symmetric(const float* x, uint8_t* best_q) {
  constexpr size_t n = 16;
  constexpr int kTop = 32;
  float largest = 0;
  for (size_t i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  }
  std::memset(best_q, 0, n);
  if (std::fabs(largest) < kZeroMagnitude) return 0.0f;

  float best_scale = 0, best_score = 0;
  const auto try_inverse = [&](float inverse, bool first) {
    uint8_t q[n];
    float sum_xq = 0, sum_qq = 0;
    for (size_t i = 0; i < n; ++i) {
      const int rounded = nearest(inverse * x[i], -kTop, kTop - 1);
      q[i] = static_cast<uint8_t>(rounded + kTop);
      const float l = static_cast<float>(rounded);
      const float w = x[i] * x[i];
      sum_xq += w * x[i] * l;
      sum_qq += w * l * l;
    }
    if (first) {
      best_scale = sum_qq != 0 ? sum_xq / sum_qq : 0.0f;
    } else if (sum_qq > 0 && sum_xq * sum_xq > best_score * sum_qq) {
      best_scale = sum_xq / sum_qq;
    } else {
      return;
    }
    best_score = best_scale * sum_xq;
    std::memcpy(best_q, q, n);
  };
  try_inverse(-static_cast<float>(kTop) / largest, true);
  for (int step = -9; step <= 9; ++step) {
    if (step != 0)
      try_inverse(-(static_cast<float>(kTop) + 0.1f * static_cast<float>(step)) / largest, false);
  }
  return best_scale;
}

BlockQ6_K make_q6_k(const float* x) {
  constexpr size_t kGroups = 16, kGroupValues = 16;
  BlockQ6_K b{};
  uint8_t q[kBlockValues];
  float scales[kGroups];
  float largest = 0;
  for (size_t g = 0; g < kGroups; ++g) {
    scales[g] = fit_symmetric(x + kGroupValues * g, q + kGroupValues * g);
    if (std::fabs(scales[g]) > std::fabs(largest)) largest = scales[g];
  }
  if (std::fabs(largest) < kZeroMagnitude) return b;

  const float inverse = -128.0f / largest;
  b.d = f32_to_f16(1.0f / inverse);
  for (size_t g = 0; g < kGroups; ++g)
    b.scales[g] = static_cast<int8_t>(nearest(inverse * scales[g], -128, 127));
  for (size_t v = 0; v < kBlockValues; ++v) {
    const float d = f16_to_f32(b.d) * static_cast<float>(b.scales[v / kGroupValues]);
    if (d != 0) q[v] = static_cast<uint8_t>(nearest(x[v] / d, -32, 31) + 32);
    const size_t half = v / 128, quarter = v % 128 / 32, i = v % 32;
    b.ql[64 * half + 32 * (quarter % 2) + i] |= static_cast<uint8_t>((q[v] & 15) << 4 * (quarter / 2));
    b.qh[32 * half + i] |= static_cast<uint8_t>(q[v] >> 4 << 2 * quarter);
  }
  return b;
}

}  // namespace

void quantize_q4_k(const float* values, void* blocks, size_t count) {
  auto* out = static_cast<uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += kBlockValues, out += sizeof(BlockQ4_K)) {
    BlockQ4_K b;
    uint8_t q[kBlockValues];
    quantize_groups(values + i, {15, -1.0f, 0.1f, 20}, b, q);
    store_nibbles(q, b.qs);
    std::memcpy(out, &b, sizeof(b));
  }
}

void quantize_q5_k(const float* values, void* blocks, size_t count) {
  auto* out = static_cast<uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += kBlockValues, out += sizeof(BlockQ5_K)) {
    BlockQ5_K b{};
    uint8_t q[kBlockValues];
    quantize_groups(values + i, {31, -0.5f, 0.1f, 15}, b, q);
    store_nibbles(q, b.qs);
    for (size_t v = 0; v < kBlockValues; ++v) b.qh[v % 32] |= static_cast<uint8_t>(q[v] >> 4 << v / 32);
    std::memcpy(out, &b, sizeof(b));
  }
}

void quantize_q6_k(const float* values, void* blocks, size_t count) {
  auto* out = static_cast<uint8_t*>(blocks);
  for (size_t i = 0; i < count; i += kBlockValues, out += sizeof(BlockQ6_K)) {
    const BlockQ6_K b = make_q6_k(values + i);
    std::memcpy(out, &b, sizeof(b));
  }
}

}  // namespace hedge::quant
