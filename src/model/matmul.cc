#include "model/matmul.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"

namespace hedge::model {
namespace {

// A chunk of stored weights for few input rows: large enough to read at memory speed, small enough to share
// out.
constexpr size_t kChunkBytes = 64 * 1024;
// The most rows that a direct kernel reads side by side.
constexpr size_t kDirectRows = 8;

size_t group_of(quant::Type type) { return kernels::kUnpackedGroup[static_cast<size_t>(type)]; }

bool is_float(quant::Type type) { return quant::info(type).block_values == 1; }

void float_chunk(const kernels::Table& table, MatmulScratch& scratch, const MatmulJob& job,
                 const MatmulInput& input, size_t first, size_t count) {
  const Matrix& w = *job.weights;
  for (size_t i = first; i < first + count; ++i) {
    const float* row = scratch.float_row.data();
    if (w.type == quant::Type::kF16) {
      table.f16_to_f32(reinterpret_cast<const uint16_t*>(w.row(i)), scratch.float_row.data(), w.columns);
    } else if (w.type == quant::Type::kF32) {
      row = reinterpret_cast<const float*>(w.row(i));
    } else {
      quant::info(w.type).dequantize(w.row(i), scratch.float_row.data(), w.columns);
    }
    for (size_t r = 0; r < input.rows; ++r) {
      job.out[r * job.out_stride + i] = table.dot_f32(row, input.plain + r * input.plain_stride, w.columns);
    }
  }
}

}  // namespace

ActivationBuffer::ActivationBuffer(size_t rows, size_t columns) : rows_(rows) {
  const size_t stride = round_up(columns, 512);
  const size_t groups = rows * (stride / kernels::kActGroup);
  // One piece of memory, so that the parts do not all begin at the same place of a page.
  const size_t q_bytes = rows * stride;
  const size_t group_bytes = round_up(groups * sizeof(float), 64);
  memory_ = os::LazyArray<uint8_t>(q_bytes + 7 * group_bytes);
  uint8_t* at = memory_.data();
  const auto take = [&](size_t bytes) { return std::exchange(at, at + bytes); };
  q_ = reinterpret_cast<int8_t*>(take(q_bytes));
  d_ = reinterpret_cast<float*>(take(group_bytes));
  s_ = reinterpret_cast<float*>(take(group_bytes));
  s16_ = reinterpret_cast<float*>(take(2 * group_bytes));
  n_ = reinterpret_cast<int32_t*>(take(group_bytes));
  n16_ = reinterpret_cast<int32_t*>(take(2 * group_bytes));
}

kernels::Activations ActivationBuffer::view(size_t columns) {
  // Kernels read whole spans of 512 values' scales; q is read to the next 64.
  return kernels::Activations{q_,
                              d_,
                              s_,
                              s16_,
                              n_,
                              n16_,
                              round_up(columns, kernels::kRowPad),
                              round_up(columns, 512) / kernels::kActGroup};
}

MatmulScratch::MatmulScratch(const kernels::Table& table, size_t columns_max) {
  const size_t columns = round_up(columns_max, 512);
  const size_t groups = columns / 16;
  const size_t panel_rows = table.panel_rows;
  const size_t panel_count = 2 * kernels::kActGroup / panel_rows;
  bytes_.resize((1 + panel_count) * panel_rows * columns + 64);
  floats_.resize(2 * (1 + panel_count) * panel_rows * groups);
  float_row.resize(columns);
  uint8_t* u = bytes_.data() + (64 - reinterpret_cast<uintptr_t>(bytes_.data()) % 64) % 64;
  float* f = floats_.data();
  for (size_t i = 0; i < panel_rows; ++i) {
    rows.push_back(kernels::UnpackedRow{u + i * columns, f + i * groups, f + (panel_rows + i) * groups});
  }
  for (size_t i = 1; i <= panel_count; ++i) {
    float* scales = f + 2 * i * panel_rows * groups;
    panels.push_back(
        kernels::Panel{u + i * panel_rows * columns, scales, scales + panel_rows * groups, 0, 32});
  }
}

size_t chunk_rows(const kernels::Table& table, const Matrix& weights, bool panel, int workers) {
  if (panel && !is_float(weights.type)) return table.panel_rows;
  // Whole steps of the direct kernels.
  const size_t by_bytes = kChunkBytes / weights.row_bytes / kDirectRows * kDirectRows;
  const size_t by_share = round_up(weights.rows / (static_cast<size_t>(workers) * 4) + 1, kDirectRows);
  return std::max(kDirectRows, std::min(by_bytes, by_share));
}

kernels::Panel fill_panel(const kernels::Table& table, MatmulScratch& scratch, const Matrix& w, size_t first,
                          size_t count, size_t index) {
  const size_t type = static_cast<size_t>(w.type);
  for (size_t i = 0; i < count; ++i) table.unpack[type](w.row(first + i), w.columns, scratch.rows[i]);
  kernels::Panel panel = scratch.panels[index];
  panel.columns = w.columns;
  panel.group = group_of(w.type);
  panel.u_max = kernels::kUnpackedMax[type];
  panel.zero = kernels::kUnpackedZero[type];
  table.pack_panel(scratch.rows.data(), count, &panel);
  return panel;
}

bool is_float(const Matrix& weights) { return is_float(weights.type); }

void matmul_chunk(const kernels::Table& table, MatmulScratch& scratch, const MatmulJob& job,
                  const MatmulInput& input, size_t first, size_t count) {
  const Matrix& w = *job.weights;
  if (is_float(w.type)) {
    float_chunk(table, scratch, job, input, first, count);
    return;
  }
  const size_t type = static_cast<size_t>(w.type);
  if (input.panel) {
    const kernels::Panel panel = fill_panel(table, scratch, w, first, count, 0);
    table.gemm_panel(&panel, input.quantized, input.rows, job.out + first, job.out_stride, count);
    return;
  }
  if (table.dot_direct[type] != nullptr) {
    table.dot_direct[type](w.row(first), w.row_bytes, w.columns, count, input.quantized, input.rows,
                           job.out + first, job.out_stride);
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    table.unpack[type](w.row(first + i), w.columns, scratch.rows[0]);
    table.dot_unpacked(&scratch.rows[0], w.columns, group_of(w.type), input.quantized, input.rows,
                       job.out + first + i, job.out_stride);
  }
}

}  // namespace hedge::model
