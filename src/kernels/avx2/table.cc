// AVX2 with FMA and F16C (Haswell, Zen and later). There is no dot product with 32-bit sums here: see
// sums.inc.
#include "kernels/table.h"

#include <immintrin.h>
#include <string.h>

#include "quant/blocks.h"

#define HEDGE_VECTOR_BYTES 32
#define HEDGE_F16C 1

namespace hedge::kernels {
namespace {

// Each uses those above it.
// clang-format off
#include "kernels/common/vector_ops.inc"
#include "kernels/common/unpack.inc"
#include "kernels/avx2/sums.inc"
#include "kernels/avx2/dot_unpacked.inc"
#include "kernels/avx2/dot_direct.inc"
#include "kernels/avx2/gemm.inc"
#include "kernels/common/attention.inc"
#include "kernels/common/kv_packed.inc"
#include "kernels/avx2/attention.inc"
#include "kernels/avx2/unpack_block.inc"
#include "kernels/common/attend_block.inc"
// clang-format on

}  // namespace

constinit const Table kAvx2Table = {
    "avx2",
    kPanelRows,
    quantize_row,
    quantize_group_of,
    HEDGE_UNPACK_LIST,
    dot_unpacked,
    HEDGE_DIRECT_LIST,
    pack_panel,
    gemm_panel,
    dot_f32,
    dot_f16,
    dot_bf16,
    f16_to_f32,
    f32_to_f16,
    axpy_f16,
    add,
    rms_norm,
    rotate,
    silu_mul,
    gelu_mul,
    exp_sum,
    max_of,
    scale_by,
    sgemm,
    quantize_query,
    store_key,
    store_value,
    hadamard,
    pack_key,
    pack_value,
    unpack_block,
    attend_block,
    int8_peak,
    f32_peak,
    read_all,
};

}  // namespace hedge::kernels
