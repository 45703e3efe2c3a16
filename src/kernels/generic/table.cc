// The scalar level: the slow, obvious version that judges the others, and the one for any other architecture.
#include "kernels/table.h"

#include <string.h>

#include "quant/blocks.h"

#define HEDGE_VECTOR_BYTES 16
#define HEDGE_F16C 0

namespace hedge::kernels {
namespace {

// Each uses those above it.
// clang-format off
#include "kernels/common/vector_ops.inc"
#include "kernels/common/unpack.inc"
#include "kernels/common/attention.inc"
#include "kernels/common/kv_packed.inc"
#include "kernels/generic/attention.inc"
#include "kernels/generic/unpack_block.inc"
#include "kernels/common/attend_block.inc"
// clang-format on

constexpr size_t kPanelRows = 8;

// Plain, but in the 16-bit factors for which every architecture has a multiply-add that the compiler finds.
inline int dot_bytes(const uint8_t* u, const int8_t* a, size_t n) {
  int sum = 0;
  for (size_t i = 0; i < n; i += 16) {
    for (size_t j = i; j < i + 16; ++j) sum += (int)(short)u[j] * (int)(short)a[j];
  }
  return sum;
}

void dot_unpacked(const UnpackedRow* row, size_t columns, size_t group, const Activations* act, size_t rows,
                  float* out, size_t out_stride) {
  for (size_t r = 0; r < rows; ++r) {
    const int8_t* q = act->q + r * act->q_stride;
    const float* d = act->d + r * act->group_stride;
    const float* s = group == 16 ? act->s16 + r * 2 * act->group_stride : act->s + r * act->group_stride;
    float sum = 0;
    for (size_t g = 0; g < columns / group; ++g) {
      const int inner = dot_bytes(row->u + g * group, q + g * group, group);
      sum += row->d[g] * d[g * group / kActGroup] * (float)inner + row->m[g] * s[g];
    }
    out[r * out_stride] = sum;
  }
}

// This level's panel holds whole rows one after another: u [panel_rows, columns], d and m [panel_rows,
// groups].
void pack_panel(const UnpackedRow* rows, size_t n_rows, const Panel* panel) {
  const size_t groups = panel->columns / panel->group;
  for (size_t r = 0; r < n_rows; ++r) {
    memcpy(panel->u + r * panel->columns, rows[r].u, panel->columns);
    memcpy(panel->d + r * groups, rows[r].d, groups * sizeof(float));
    memcpy(panel->m + r * groups, rows[r].m, groups * sizeof(float));
  }
}

void gemm_panel(const Panel* panel, const Activations* act, size_t rows, float* out, size_t out_stride,
                size_t columns_out) {
  const size_t groups = panel->columns / panel->group;
  for (size_t c = 0; c < columns_out; ++c) {
    const UnpackedRow row = {panel->u + c * panel->columns, panel->d + c * groups, panel->m + c * groups,
                             255};
    dot_unpacked(&row, panel->columns, panel->group, act, rows, out + c, out_stride);
  }
}

}  // namespace

constinit const Table kGenericTable = {
    "scalar",          kPanelRows,   quantize_row, quantize_group_of,
    HEDGE_UNPACK_LIST, dot_unpacked, {},           pack_panel,
    gemm_panel,        dot_f32,      dot_f16,      dot_bf16,
    f16_to_f32,        f32_to_f16,   axpy_f16,     add,
    rms_norm,          rotate,       silu_mul,     gelu_mul,
    exp_sum,           max_of,       scale_by,     sgemm,
    quantize_query,    store_key,    store_value,  hadamard,
    pack_key,          pack_value,   unpack_block, attend_block,
    int8_peak,         f32_peak,     read_all,
};

}  // namespace hedge::kernels
