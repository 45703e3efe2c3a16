// The kernels of one instruction-set level as a table of plain functions, chosen once at start.
//
// Matrix product, all quantised types alike: a stored weight row is unpacked to unsigned bytes u with one
// scale d and one minimum m per group, w = d * u + m (Q8_0: u = q + 128, m = -128 d; Q4_0: m = -8 d; ...).
// Activations are int8 with one scale per 32. So out = sum over groups of (d * da) * sum(u * a) + m * (da *
// sum(a)), with integer inner sums. Nothing is repacked in memory: a row (few activation rows) or a panel of
// rows (many) is unpacked into cache, used, and forgotten.
//
// C-compatible types only: level folders include this header and intrinsics, never the standard library, so
// that no AVX copy of a template can be linked into generic code.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace hedge::kernels {

inline constexpr size_t kActGroup = 32;  // activations per scale
inline constexpr size_t kRowPad =
    64;                               // unpacked rows and activation rows are zero-padded to this many values
inline constexpr size_t kTypes = 15;  // entries of quant/type_list.inc (checked in dispatch.cc)

// By quant::Type: the largest unpacked value. Levels without a 32-bit dot product sum in 16 bits for as long
// as it allows. The float types have none.
inline constexpr uint8_t kUnpackedMax[kTypes] = {0, 0, 15, 15, 31, 31, 255, 3, 7, 15, 31, 63, 255, 255, 0};

// By quant::Type: how many unpacked values share a scale and a minimum. The float types have neither.
inline constexpr uint8_t kUnpackedGroup[kTypes] = {0, 0, 32, 32, 32, 32, 32, 16, 16, 32, 32, 16, 32, 32, 0};

// By quant::Type: 1 + the logarithm of the value that stands for zero, where every minimum is -2^that times
// the scale; 0 where minimums are stored. Levels may then put the minimum into their integer sums.
inline constexpr uint8_t kUnpackedZero[kTypes] = {0, 0, 4, 0, 5, 0, 8, 0, 3, 0, 0, 6, 8, 8, 0};

// Rows of activations, quantised. Row r: q + r * q_stride, and so on. Padding is zero.
struct Activations {
  int8_t* q;     // [rows, q_stride]       q_stride = columns rounded up to kRowPad
  float* d;      // [rows, group_stride]   scale of each group of 32
  float* s;      // [rows, group_stride]   d * sum of q over the group
  float* s16;    // [rows, 2*group_stride] the same over halves of a group, for types with groups of 16
  int32_t* n;    // [rows, group_stride]   minus the sum of q over the group
  int32_t* n16;  // [rows, 2*group_stride] the same over halves
  size_t q_stride;
  size_t group_stride;  // in floats; a multiple of 16

  // The rows from `r` on.
  Activations from(size_t r) const {
    return {q + r * q_stride,
            d + r * group_stride,
            s + r * group_stride,
            s16 + 2 * r * group_stride,
            n + r * group_stride,
            n16 + 2 * r * group_stride,
            q_stride,
            group_stride};
  }
};

// An unpacked weight row. `group` is 32 or 16 values per scale.
struct UnpackedRow {
  uint8_t* u;  // [columns rounded up to kRowPad]
  float* d;    // [groups rounded up to 16]
  float* m;
  uint8_t u_max = 255;  // no u is larger: kUnpackedMax of the type, or 255 when that is not known
};

using UnpackFn = void (*)(const void* blocks, size_t columns, UnpackedRow out);

// A panel: `panel_rows` unpacked weight rows in the order of the level that packed it. The vector levels
// interleave them by four columns, as their dot-product instructions want it (the shapes below); the scalar
// level keeps rows whole.
struct Panel {
  uint8_t* u;           // [columns/4, panel_rows, 4]
  float* d;             // [groups, panel_rows]
  float* m;             // [groups, panel_rows]
  size_t columns;       // multiple of 32
  size_t group;         // 32 or 16
  uint8_t u_max = 255;  // as in UnpackedRow
  uint8_t zero = 0;     // kUnpackedZero of the type, or 0 when that is not known
};

// Keys and values of kKvBlock neighbouring positions of one KV head in 8 bits, in the order in which the
// products over heads (keys) and over positions (values) want them. `n` is the head's length padded with
// zeros to a multiple of kActGroup.
inline constexpr size_t kKvBlock = 64;
inline constexpr size_t kRotatedMax = 256;
struct KvBlock {
  uint8_t* k;  // [n/4, kKvBlock, 4] keys + 128
  float* kd;   // [n/32, kKvBlock]   scale of each 32 values of a key
  int8_t* v;   // [kKvBlock/4, n, 4] values of four neighbouring positions side by side
  float* vd;   // [kKvBlock]         scale of a value
};

// The same in 5 bits. A code c from 0 to 31 stands for (2c - 31) * scale. Four low bits of two codes share a
// byte, the fifth bits of eight another; bytes of different positions are different, so that positions may be
// written at once. Scales are half precision.
struct KvPacked {
  uint8_t* k;    // [n/8, kKvBlock, 4]             columns 8j + i (low) and 8j + 4 + i (high) of a key
  uint8_t* kh;   // [n/32, kKvBlock, 4]            bit w: column 32g + 4w + i
  uint16_t* kd;  // [n/32, kKvBlock]               scale of each 32 values of a key
  uint8_t* v;    // [kKvBlock/4, n/32, 16, 4]      of four positions, 32g + i (low) and 32g + 16 + i (high)
  uint8_t* vh;   // [kKvBlock/4, n/32, 4, 4]       bit w: 32g + 4w + i
  uint16_t* vd;  // [kKvBlock]                     scale of a value
};
// Of all of it: 5.5 bits per value of a key, 5 per one of a value and 16 of its scale.
inline constexpr size_t kv_packed_bytes(size_t n) {
  return kKvBlock * (n + n / 4 + n / kActGroup * sizeof(uint16_t) + sizeof(uint16_t));
}

// Rows of queries of one KV head and where their softmax stands (Milakov and Gimelshein, 2018).
struct AttentionRows {
  size_t rows;
  size_t n;           // as in KvBlock
  const int8_t* q;    // [rows, n]
  const float* qd;    // [rows, n/32] scales, the attention's own scale included
  const int32_t* qs;  // [rows, n/32] 128 * sum of q over the group
  float* sums;        // [rows, n]    weighted values, over exp(top)
  float* top;         // [rows]       largest score so far
  float* total;       // [rows]       sum of exp(score - top)
  float* scores;      // [rows, kKvBlock] scratch
  uint8_t* p;         // [rows, kKvBlock] scratch
};

struct Table {
  const char* name;
  size_t panel_rows;

  // Quantises one row of n values into row r of `out`: d = max|x| / 127, round to nearest even.
  void (*quantize_row)(const float* x, size_t n, const Activations* out, size_t r);

  // Quantises x [rows, kActGroup] into group `group` of the rows from `first` on, to the same bits.
  void (*quantize_group_of)(const float* x, size_t rows, const Activations* out, size_t first, size_t group);

  // By quant::Type; null for the float types.
  UnpackFn unpack[kTypes];

  // out[r * out_stride] = dot(row, activation row r) for r < rows. group is 32 or 16.
  void (*dot_unpacked)(const UnpackedRow* row, size_t columns, size_t group, const Activations* act,
                       size_t rows, float* out, size_t out_stride);
  // out[r * out_stride + i] = dot(stored row i, activation row r) for i < n_rows, r < rows, straight from the
  // blocks; null where a type has no such kernel (then unpack + dot_unpacked is used). Each result has the
  // same bits whatever `rows` and n_rows are.
  void (*dot_direct[kTypes])(const void* blocks, size_t row_bytes, size_t columns, size_t n_rows,
                             const Activations* act, size_t rows, float* out, size_t out_stride);

  // Interleaves unpacked row `index` (0..panel_rows-1) into the panel.
  void (*pack_panel)(const UnpackedRow* rows, size_t n_rows, const Panel* panel);
  // out[r * out_stride + c] = dot for r in [0, rows), c in [0, columns_out).
  void (*gemm_panel)(const Panel* panel, const Activations* act, size_t rows, float* out, size_t out_stride,
                     size_t columns_out);

  // Plain float kernels.
  float (*dot_f32)(const float* a, const float* b, size_t n);
  float (*dot_f16)(const uint16_t* a, const float* b, size_t n);
  float (*dot_bf16)(const uint16_t* a, const float* b, size_t n);
  void (*f16_to_f32)(const uint16_t* in, float* out, size_t n);
  void (*f32_to_f16)(const float* in, uint16_t* out, size_t n);
  void (*axpy_f16)(float scale, const uint16_t* x, float* y, size_t n);  // y += scale * x
  void (*add)(const float* x, float* y, size_t n);                       // y += x
  void (*rms_norm)(const float* x, const float* weight, float eps, float* out, size_t n);
  // Rotary positions: x[i] = x[i] * c[i] + x[partner of i] * s[i] for i < n, n even. The partner is i ^ 1
  // when `interleaved`, else i +- n/2.
  void (*rotate)(float* x, const float* c, const float* s, size_t n, int interleaved);
  void (*silu_mul)(const float* gate, const float* up, float* out, size_t n);
  void (*gelu_mul)(const float* gate, const float* up, float* out, size_t n);  // tanh form
  // x[i] = exp(x[i] - max); returns the sum.
  float (*exp_sum)(float* x, float max, size_t n);
  float (*max_of)(const float* x, size_t n);
  void (*scale)(float factor, float* x, size_t n);
  // c[i][j] += sum over k of a[i][k] * b[k][j] for i < m, j < n; n is a multiple of 16. beta 0 overwrites.
  void (*sgemm)(const float* a, size_t lda, const float* b, size_t ldb, float* c, size_t ldc, size_t m,
                size_t n, size_t k, int accumulate);

  // Attention over 8-bit keys and values. Each row's result depends on its own query and the blocks in order,
  // bit for bit, never on the other rows.
  // One query of n values: q [n], qd and qs [n/32] as in AttentionRows.
  void (*quantize_query)(const float* x, size_t n, float scale, int8_t* q, float* qd, int32_t* qs);
  void (*store_key)(const float* x, size_t n, const KvBlock* block, size_t position);
  void (*store_value)(const float* x, size_t n, const KvBlock* block, size_t position);
  // Multiplies runs of x, as long as the largest power of two that divides n (at most kRotatedMax), by the
  // Hadamard matrix, scaled to keep lengths; twice is the identity. Outliers of single columns spread over
  // the head, so that rounding with one scale for many columns loses less (Ashkboos et al., 2024, QuaRot).
  void (*hadamard)(float* x, size_t n);
  void (*pack_key)(const float* x, size_t n, const KvPacked* block, size_t position);
  void (*pack_value)(const float* x, size_t n, const KvPacked* block, size_t position);
  void (*unpack_block)(const KvPacked* packed, size_t n, const KvBlock* out);
  // Takes the block's positions [low[r], high[r]) into row r; none where low[r] >= high[r].
  void (*attend_block)(const AttentionRows* rows, const KvBlock* block, const uint8_t* low,
                       const uint8_t* high);

  // The level's best instructions on registers alone, `iterations` times: what `hedge doctor` calls the
  // arithmetic limit. Return the operations done (a multiply and an add count as two); `sink` receives
  // something that depends on all.
  double (*int8_peak)(size_t iterations, float* sink);
  double (*f32_peak)(size_t iterations, float* sink);
  // Reads memory in order with the level's widest loads; returns the bytes read.
  double (*read_all)(const void* data, size_t bytes, float* sink);
};

extern const Table kGenericTable;
extern const Table kAvx2Table;
extern const Table kAvx512Table;

}  // namespace hedge::kernels
