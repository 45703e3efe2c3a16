// AVX2 with FMA and F16C (Haswell, Zen and later).
//
// There is no u8 x s8 dot product with 32-bit sums here: vpmaddubsw gives 16-bit sums of pairs, which saturate when both
// factors are wide. Values up to 63 (all types but Q8_0) are safe: 2 * 63 * 127 = 16,002. Q8_0 goes by its signed value:
// |q| as the unsigned factor and the sign moved to the activation, 2 * 128 * 127 = 32,512 < 32,767.
#include "kernels/table.h"

#include <immintrin.h>
#include <string.h>

#include "quant/blocks.h"

#define HEDGE_VECTOR_BYTES 32
#define HEDGE_F16C 1

namespace hedge::kernels {
namespace {

#include "kernels/common/vector_ops.inc"
#include "kernels/common/unpack.inc"

constexpr size_t kPanelRows = 16;

// Sums of four neighbouring products v * a with v = u - 128. The caller adds the constant's part: u.a = v.a + 128 sum(a),
// so d * u.a + m * sum(a) = d * v.a + (m + 128 d) * sum(a).
inline __m256i dot4_wide(__m256i u, __m256i a, __m256i ones) {
  const __m256i v = _mm256_xor_si256(u, _mm256_set1_epi8((char)0x80));
  return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(v), _mm256_sign_epi8(a, v)), ones);
}

// Sums of four neighbouring products u * a for u <= 63.
inline __m256i dot4_small(__m256i u, __m256i a, __m256i ones) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(u, a), ones);
}

inline float sum_lanes(__m256 v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  x = _mm_add_ss(x, _mm_shuffle_ps(x, x, 1));
  return _mm_cvtss_f32(x);
}

bool has_wide_values(const UnpackedRow* row, size_t columns) {
  __m256i top = _mm256_setzero_si256();
  for (size_t k = 0; k + 32 <= columns; k += 32) {
    top = _mm256_or_si256(top, _mm256_loadu_si256((const __m256i*)(row->u + k)));
  }
  return !_mm256_testz_si256(top, _mm256_set1_epi8((char)0xc0));
}

template <int Rows, bool Group16, bool Wide>
void dot_rows(const UnpackedRow* row, size_t columns, const Activations* act, size_t first, float* out,
              size_t out_stride) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 acc[Rows];
  float minimums[Rows];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    const size_t ar = first + (size_t)r;
    acc[r] = _mm256_setzero_ps();
    minimums[r] = Group16 ? dot_f32(row->m, act->s16 + ar * 2 * act->group_stride, columns / 16)
                          : dot_f32(row->m, act->s + ar * act->group_stride, columns / 32);
    if (Wide) minimums[r] += 128 * dot_f32(row->d, act->s + ar * act->group_stride, columns / 32);
  }
  for (size_t k = 0; k < columns; k += 32) {
    const __m256i u = _mm256_loadu_si256((const __m256i*)(row->u + k));
    const __m256 wd = Group16 ? _mm256_set_m128(_mm_set1_ps(row->d[k / 16 + 1]), _mm_set1_ps(row->d[k / 16]))
                              : _mm256_set1_ps(row->d[k / 32]);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const size_t ar = first + (size_t)r;
      const __m256i a = _mm256_loadu_si256((const __m256i*)(act->q + ar * act->q_stride + k));
      const __m256i dots = Wide ? dot4_wide(u, a, ones) : dot4_small(u, a, ones);
      const __m256 scale = _mm256_mul_ps(wd, _mm256_set1_ps(act->d[ar * act->group_stride + k / 32]));
      acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, acc[r]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) out[(first + (size_t)r) * out_stride] = sum_lanes(acc[r]) + minimums[r];
}

template <bool Group16, bool Wide>
void dot_all(const UnpackedRow* row, size_t columns, const Activations* act, size_t rows, float* out,
             size_t out_stride) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) dot_rows<4, Group16, Wide>(row, columns, act, r, out, out_stride);
  for (; r < rows; ++r) dot_rows<1, Group16, Wide>(row, columns, act, r, out, out_stride);
}

void dot_unpacked(const UnpackedRow* row, size_t columns, size_t group, const Activations* act, size_t rows, float* out,
                  size_t out_stride) {
  if (group == 16) {
    dot_all<true, false>(row, columns, act, rows, out, out_stride);
  } else if (has_wide_values(row, columns)) {
    dot_all<false, true>(row, columns, act, rows, out, out_stride);
  } else {
    dot_all<false, false>(row, columns, act, rows, out, out_stride);
  }
}

void pack_panel(const UnpackedRow* rows, size_t n_rows, const Panel* panel) {
  const size_t groups = panel->columns / panel->group;
  const size_t words = panel->columns / 4;
  for (size_t r = 0; r < kPanelRows; ++r) {  // A missing row repeats the last; its results are not written out.
    const UnpackedRow* row = rows + (r < n_rows ? r : n_rows - 1);
    for (size_t k = 0; k < words; ++k) memcpy(panel->u + (k * kPanelRows + r) * 4, row->u + k * 4, 4);
    for (size_t g = 0; g < groups; ++g) {
      panel->d[g * kPanelRows + r] = row->d[g];
      panel->m[g * kPanelRows + r] = row->m[g];
    }
  }
}

// Rows x 16 outputs.
template <int Rows, bool Group16, bool Wide>
void gemm_tile(const Panel* panel, const Activations* act, size_t first, float* out, size_t out_stride,
               size_t columns_out) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 sum[Rows][2];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
  constexpr size_t kGroup = Group16 ? 16 : 32;
  const size_t groups = panel->columns / kGroup;
  const uint8_t* u = panel->u;
  for (size_t g = 0; g < groups; ++g) {
    __m256i inner[Rows][2];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) inner[r][0] = inner[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t k = 0; k < kGroup / 4; ++k) {
      const __m256i w0 = _mm256_loadu_si256((const __m256i*)u);
      const __m256i w1 = _mm256_loadu_si256((const __m256i*)(u + 32));
      u += 64;
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        int word;
        memcpy(&word, act->q + (first + (size_t)r) * act->q_stride + g * kGroup + k * 4, 4);
        const __m256i a = _mm256_set1_epi32(word);
        inner[r][0] = _mm256_add_epi32(inner[r][0], Wide ? dot4_wide(w0, a, ones) : dot4_small(w0, a, ones));
        inner[r][1] = _mm256_add_epi32(inner[r][1], Wide ? dot4_wide(w1, a, ones) : dot4_small(w1, a, ones));
      }
    }
    const __m256 d0 = _mm256_loadu_ps(panel->d + g * kPanelRows);
    const __m256 d1 = _mm256_loadu_ps(panel->d + g * kPanelRows + 8);
    __m256 m0 = _mm256_loadu_ps(panel->m + g * kPanelRows);
    __m256 m1 = _mm256_loadu_ps(panel->m + g * kPanelRows + 8);
    if (Wide) {
      m0 = _mm256_fmadd_ps(d0, _mm256_set1_ps(128), m0);
      m1 = _mm256_fmadd_ps(d1, _mm256_set1_ps(128), m1);
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const size_t ar = first + (size_t)r;
      const __m256 ad = _mm256_set1_ps(act->d[ar * act->group_stride + (Group16 ? g / 2 : g)]);
      const __m256 as = _mm256_set1_ps(Group16 ? act->s16[ar * 2 * act->group_stride + g]
                                               : act->s[ar * act->group_stride + g]);
      sum[r][0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(inner[r][0]), _mm256_mul_ps(d0, ad), sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(inner[r][1]), _mm256_mul_ps(d1, ad), sum[r][1]);
      sum[r][0] = _mm256_fmadd_ps(m0, as, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(m1, as, sum[r][1]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    float lanes[kPanelRows];
    _mm256_storeu_ps(lanes, sum[r][0]);
    _mm256_storeu_ps(lanes + 8, sum[r][1]);
    memcpy(out + (first + (size_t)r) * out_stride, lanes, columns_out * sizeof(float));
  }
}

template <bool Group16, bool Wide>
void gemm_all(const Panel* panel, const Activations* act, size_t rows, float* out, size_t out_stride,
              size_t columns_out) {
  size_t r = 0;
  for (; r + 3 <= rows; r += 3) gemm_tile<3, Group16, Wide>(panel, act, r, out, out_stride, columns_out);
  for (; r < rows; ++r) gemm_tile<1, Group16, Wide>(panel, act, r, out, out_stride, columns_out);
}

bool panel_is_wide(const Panel* panel) {
  const UnpackedRow all = {panel->u, nullptr, nullptr};
  return has_wide_values(&all, panel->columns * kPanelRows);
}

void gemm_panel(const Panel* panel, const Activations* act, size_t rows, float* out, size_t out_stride,
                size_t columns_out) {
  if (panel->group == 16) {
    gemm_all<true, false>(panel, act, rows, out, out_stride, columns_out);
  } else if (panel_is_wide(panel)) {
    gemm_all<false, true>(panel, act, rows, out, out_stride, columns_out);
  } else {
    gemm_all<false, false>(panel, act, rows, out, out_stride, columns_out);
  }
}

}  // namespace

constinit const Table kAvx2Table = {
    "avx2",    kPanelRows, quantize_row, HEDGE_UNPACK_LIST, dot_unpacked, {},       pack_panel, gemm_panel, dot_f32, dot_f16,
    dot_bf16,  f16_to_f32, f32_to_f16,   axpy_f16,          add,          rms_norm, silu_mul,   gelu_mul,   exp_sum, max_of,
    scale_by,  sgemm,
};

}  // namespace hedge::kernels
