// AVX-512 with VNNI and VBMI (Ice Lake, Zen 4 and later).
#include "kernels/table.h"

#include <immintrin.h>
#include <string.h>

#include "quant/blocks.h"

#define HEDGE_VECTOR_BYTES 64
#define HEDGE_F16C 1

namespace hedge::kernels {
namespace {

// Each uses those above it.
// clang-format off
#include "kernels/common/vector_ops.inc"
#include "kernels/avx512/pick.inc"
#include "kernels/common/unpack.inc"
#include "kernels/common/attention.inc"
#include "kernels/common/kv_packed.inc"
#include "kernels/avx512/attention.inc"
#include "kernels/avx512/unpack_block.inc"
#include "kernels/common/attend_block.inc"
// clang-format on

constexpr size_t kPanelRows = 32;

// ---- few activation rows ----

// Lane i of 16 takes element `base + i / lanes_per_group`.
inline __m512i spread_index(int base, int shift) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_add_epi32(_mm512_srli_epi32(lane, (unsigned)shift), _mm512_set1_epi32(base));
}

// One pass over the row for `Rows` activation rows. 512 columns (16 groups of 32) or 256 (16 groups of 16) at
// a time.
template <int Rows, bool Group16>
void dot_rows(const UnpackedRow* row, size_t columns, const Activations* act, size_t first, float* out,
              size_t out_stride) {
  __m512 acc[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) acc[r] = _mm512_setzero_ps();
  constexpr size_t kGroup = Group16 ? 16 : 32;
  constexpr size_t kSpan = 16 * kGroup;
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  for (size_t base = 0; base < columns; base += kSpan) {
    const size_t g = base / kGroup;
    const __m512 wd = _mm512_loadu_ps(row->d + g);
    const __m512 wm = _mm512_loadu_ps(row->m + g);
    __m512 scales[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const size_t ar = first + (size_t)r;
      if (Group16) {
        const __m256 ad = _mm256_loadu_ps(act->d + ar * act->group_stride + g / 2);
        scales[r] = _mm512_mul_ps(wd, _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(ad)));
        acc[r] = _mm512_fmadd_ps(wm, _mm512_loadu_ps(act->s16 + ar * 2 * act->group_stride + g), acc[r]);
      } else {
        scales[r] = _mm512_mul_ps(wd, _mm512_loadu_ps(act->d + ar * act->group_stride + g));
        acc[r] = _mm512_fmadd_ps(wm, _mm512_loadu_ps(act->s + ar * act->group_stride + g), acc[r]);
      }
    }
    const size_t left = columns - base < kSpan ? columns - base : kSpan;
    for (size_t k = 0; k < left; k += 64) {
      const __m512i u = _mm512_loadu_si512(row->u + base + k);
      const __m512i index = Group16 ? spread_index((int)(k / 16), 2) : spread_index((int)(k / 32), 3);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const __m512i a = _mm512_loadu_si512(act->q + (first + (size_t)r) * act->q_stride + base + k);
        const __m512i dots = _mm512_dpbusd_epi32(_mm512_setzero_si512(), u, a);
        acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_permutexvar_ps(index, scales[r]), acc[r]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) out[(first + (size_t)r) * out_stride] = _mm512_reduce_add_ps(acc[r]);
}

template <bool Group16>
void dot_all(const UnpackedRow* row, size_t columns, const Activations* act, size_t rows, float* out,
             size_t out_stride) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) dot_rows<4, Group16>(row, columns, act, r, out, out_stride);
  if (rows - r == 3) dot_rows<3, Group16>(row, columns, act, r, out, out_stride);
  if (rows - r == 2) dot_rows<2, Group16>(row, columns, act, r, out, out_stride);
  if (rows - r == 1) dot_rows<1, Group16>(row, columns, act, r, out, out_stride);
}

void dot_unpacked(const UnpackedRow* row, size_t columns, size_t group, const Activations* act, size_t rows,
                  float* out, size_t out_stride) {
  if (group == 16) {
    dot_all<true>(row, columns, act, rows, out, out_stride);
  } else {
    dot_all<false>(row, columns, act, rows, out, out_stride);
  }
}

#include "kernels/avx512/dot_direct.inc"

// ---- many activation rows ----

// Transposes 16 rows of 16 32-bit words.
inline void transpose_16x16(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Words of 4 bytes: source row r, word k -> to[k * kPanelRows + r], for 16 rows starting at `half` * 16.
void interleave(const uint32_t* const source[16], size_t words, uint32_t* to) {
  size_t k = 0;
  for (; k + 16 <= words; k += 16) {
    __m512i block[16];
    for (int r = 0; r < 16; ++r) block[r] = _mm512_loadu_si512(source[r] + k);
    transpose_16x16(block);
    for (size_t i = 0; i < 16; ++i) _mm512_storeu_si512(to + (k + i) * kPanelRows, block[i]);
  }
  for (; k < words; ++k) {
    for (size_t r = 0; r < 16; ++r) to[k * kPanelRows + r] = source[r][k];
  }
}

void pack_panel(const UnpackedRow* rows, size_t n_rows, const Panel* panel) {
  const size_t groups = panel->columns / panel->group;
  for (size_t half = 0; half < 2; ++half) {
    const uint32_t *u[16], *d[16], *m[16];
    for (size_t r = 0; r < 16; ++r) {  // A missing row repeats the last; its results are not written out.
      const size_t index = half * 16 + r < n_rows ? half * 16 + r : n_rows - 1;
      u[r] = (const uint32_t*)(const void*)rows[index].u;
      d[r] = (const uint32_t*)(const void*)rows[index].d;
      m[r] = (const uint32_t*)(const void*)rows[index].m;
    }
    interleave(u, panel->columns / 4, (uint32_t*)(void*)panel->u + half * 16);
    interleave(d, groups, (uint32_t*)(void*)panel->d + half * 16);
    if (panel->zero == 0) interleave(m, groups, (uint32_t*)(void*)panel->m + half * 16);
  }
}

// Rows x 32 outputs. Registers: 2 Rows integer and 2 Rows float accumulators, 2 for weights, 1 for the
// broadcast: 27 of 32 at Rows = 6.
// Symmetric: every minimum is -2^shift scales, which goes into the integer sums as 2^shift times minus the
// sum of the activations.
template <int Rows, bool Group16, bool Symmetric>
void gemm_tile(const Panel* panel, const Activations* act, size_t first, float* out, size_t out_stride,
               size_t columns_out) {
  __m512 sum[Rows][2];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  constexpr size_t kGroup = Group16 ? 16 : 32;
  const size_t groups = panel->columns / kGroup;
  const __m128i shift = _mm_cvtsi32_si128(panel->zero - 1);
  const uint8_t* u = panel->u;
  const int8_t* q[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) q[r] = act->q + (first + (size_t)r) * act->q_stride;
  for (size_t g = 0; g < groups; ++g) {
    __m512i inner[Rows][2];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      inner[r][0] = inner[r][1] = _mm512_setzero_si512();
      if (Symmetric) {
        const size_t ar = first + (size_t)r;
        const __m512i minus_sum = _mm512_set1_epi32(Group16 ? act->n16[ar * 2 * act->group_stride + g]
                                                            : act->n[ar * act->group_stride + g]);
        inner[r][0] = inner[r][1] = _mm512_sll_epi32(minus_sum, shift);
      }
    }
#pragma GCC unroll 8
    for (size_t k = 0; k < kGroup / 4; ++k) {
      const __m512i w0 = _mm512_loadu_si512(u);
      const __m512i w1 = _mm512_loadu_si512(u + 64);
      u += 128;
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        int word;
        memcpy(&word, q[r] + g * kGroup + k * 4, 4);
        const __m512i a = _mm512_set1_epi32(word);
        inner[r][0] = _mm512_dpbusd_epi32(inner[r][0], w0, a);
        inner[r][1] = _mm512_dpbusd_epi32(inner[r][1], w1, a);
      }
    }
    const __m512 d0 = _mm512_loadu_ps(panel->d + g * kPanelRows);
    const __m512 d1 = _mm512_loadu_ps(panel->d + g * kPanelRows + 16);
    const __m512 m0 = _mm512_loadu_ps(panel->m + g * kPanelRows);
    const __m512 m1 = _mm512_loadu_ps(panel->m + g * kPanelRows + 16);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const size_t ar = first + (size_t)r;
      const __m512 ad = _mm512_set1_ps(act->d[ar * act->group_stride + (Group16 ? g / 2 : g)]);
      const __m512 as = _mm512_set1_ps(Group16 ? act->s16[ar * 2 * act->group_stride + g]
                                               : act->s[ar * act->group_stride + g]);
      sum[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(inner[r][0]), _mm512_mul_ps(d0, ad), sum[r][0]);
      sum[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(inner[r][1]), _mm512_mul_ps(d1, ad), sum[r][1]);
      if (!Symmetric) {
        sum[r][0] = _mm512_fmadd_ps(m0, as, sum[r][0]);
        sum[r][1] = _mm512_fmadd_ps(m1, as, sum[r][1]);
      }
    }
  }
  const uint32_t mask = columns_out >= 32 ? 0xffffffffu : (1u << columns_out) - 1;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    float* to = out + (first + (size_t)r) * out_stride;
    _mm512_mask_storeu_ps(to, (__mmask16)mask, sum[r][0]);
    _mm512_mask_storeu_ps(to + 16, (__mmask16)(mask >> 16), sum[r][1]);
  }
}

template <bool Group16, bool Symmetric>
void gemm_all(const Panel* panel, const Activations* act, size_t rows, float* out, size_t out_stride,
              size_t columns_out) {
  size_t r = 0;
  for (; r + 6 <= rows; r += 6) gemm_tile<6, Group16, Symmetric>(panel, act, r, out, out_stride, columns_out);
  switch (rows - r) {
    case 5:
      gemm_tile<5, Group16, Symmetric>(panel, act, r, out, out_stride, columns_out);
      break;
    case 4:
      gemm_tile<4, Group16, Symmetric>(panel, act, r, out, out_stride, columns_out);
      break;
    case 3:
      gemm_tile<3, Group16, Symmetric>(panel, act, r, out, out_stride, columns_out);
      break;
    case 2:
      gemm_tile<2, Group16, Symmetric>(panel, act, r, out, out_stride, columns_out);
      break;
    case 1:
      gemm_tile<1, Group16, Symmetric>(panel, act, r, out, out_stride, columns_out);
      break;
    default:
      break;
  }
}

void gemm_panel(const Panel* panel, const Activations* act, size_t rows, float* out, size_t out_stride,
                size_t columns_out) {
  if (panel->group == 16) {
    if (panel->zero > 0) {
      gemm_all<true, true>(panel, act, rows, out, out_stride, columns_out);
    } else {
      gemm_all<true, false>(panel, act, rows, out, out_stride, columns_out);
    }
  } else if (panel->zero > 0) {
    gemm_all<false, true>(panel, act, rows, out, out_stride, columns_out);
  } else {
    gemm_all<false, false>(panel, act, rows, out, out_stride, columns_out);
  }
}

}  // namespace

constinit const Table kAvx512Table = {
    "avx512",          kPanelRows,   quantize_row,      quantize_group_of,
    HEDGE_UNPACK_LIST, dot_unpacked, HEDGE_DIRECT_LIST, pack_panel,
    gemm_panel,        dot_f32,      dot_f16,           dot_bf16,
    f16_to_f32,        f32_to_f16,   axpy_f16,          add,
    rms_norm,          rotate,       silu_mul,          gelu_mul,
    exp_sum,           max_of,       scale_by,          sgemm,
    quantize_query,    store_key,    store_value,       hadamard,
    pack_key,          pack_value,   unpack_block,      attend_block,
    int8_peak,         f32_peak,     read_all,
};

}  // namespace hedge::kernels
