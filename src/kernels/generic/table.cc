// The scalar level: the slow, obvious version that judges the others, and the one for any other architecture.
#include "kernels/table.h"

#include <string.h>

#include "quant/blocks.h"

#define HEDGE_VECTOR_BYTES 16
#define HEDGE_F16C 0

namespace hedge::kernels {
namespace {

#include "kernels/common/vector_ops.inc"
#include "kernels/common/unpack.inc"

constexpr size_t kPanelRows = 8;

void dot_unpacked(const UnpackedRow* row, size_t columns, size_t group, const Activations* act, size_t rows, float* out,
                  size_t out_stride) {
  for (size_t r = 0; r < rows; ++r) {
    const int8_t* q = act->q + r * act->q_stride;
    const float* d = act->d + r * act->group_stride;
    const float* s = group == 16 ? act->s16 + r * 2 * act->group_stride : act->s + r * act->group_stride;
    float sum = 0;
    for (size_t g = 0; g < columns / group; ++g) {
      int inner = 0;
      for (size_t i = g * group; i < (g + 1) * group; ++i) inner += row->u[i] * q[i];
      sum += row->d[g] * d[g * group / kActGroup] * (float)inner + row->m[g] * s[g];
    }
    out[r * out_stride] = sum;
  }
}

void pack_panel(const UnpackedRow* rows, size_t n_rows, const Panel* panel) {
  const size_t groups = panel->columns / panel->group;
  for (size_t r = 0; r < kPanelRows; ++r) {
    const bool present = r < n_rows;
    for (size_t k = 0; k < panel->columns / 4; ++k) {
      uint8_t* to = panel->u + (k * kPanelRows + r) * 4;
      for (size_t i = 0; i < 4; ++i) to[i] = present ? rows[r].u[k * 4 + i] : 0;
    }
    for (size_t g = 0; g < groups; ++g) {
      panel->d[g * kPanelRows + r] = present ? rows[r].d[g] : 0;
      panel->m[g * kPanelRows + r] = present ? rows[r].m[g] : 0;
    }
  }
}

void gemm_panel(const Panel* panel, const Activations* act, size_t rows, float* out, size_t out_stride,
                size_t columns_out) {
  const size_t groups = panel->columns / panel->group;
  for (size_t r = 0; r < rows; ++r) {
    const int8_t* q = act->q + r * act->q_stride;
    const float* d = act->d + r * act->group_stride;
    const float* s = panel->group == 16 ? act->s16 + r * 2 * act->group_stride : act->s + r * act->group_stride;
    float sums[kPanelRows] = {};
    for (size_t g = 0; g < groups; ++g) {
      int inner[kPanelRows] = {};
      for (size_t k = g * panel->group / 4; k < (g + 1) * panel->group / 4; ++k) {
        for (size_t c = 0; c < kPanelRows; ++c) {
          const uint8_t* u = panel->u + (k * kPanelRows + c) * 4;
          for (size_t i = 0; i < 4; ++i) inner[c] += u[i] * q[k * 4 + i];
        }
      }
      const float da = d[g * panel->group / kActGroup];
      for (size_t c = 0; c < kPanelRows; ++c) {
        sums[c] += panel->d[g * kPanelRows + c] * da * (float)inner[c] + panel->m[g * kPanelRows + c] * s[g];
      }
    }
    for (size_t c = 0; c < columns_out; ++c) out[r * out_stride + c] = sums[c];
  }
}

}  // namespace

constinit const Table kGenericTable = {
    "scalar",  kPanelRows, quantize_row, HEDGE_UNPACK_LIST, dot_unpacked, {},       pack_panel, gemm_panel, dot_f32, dot_f16,
    dot_bf16,  f16_to_f32, f32_to_f16,   axpy_f16,          add,          rms_norm, silu_mul,   gelu_mul,   exp_sum, max_of,
    scale_by,  sgemm,     int8_peak,    f32_peak,
};

}  // namespace hedge::kernels
