// Products of stored weight matrices with rows of activations, spread over the team in chunks of weight rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "kernels/table.h"
#include "model/weights.h"
#include "os/memory.h"
#include "os/team.h"

namespace hedge::model {

// Quantised activations for up to `rows` rows of up to `columns` values, with the memory they lie in.
class ActivationBuffer {
 public:
  ActivationBuffer(size_t rows, size_t columns);
  // The view for a matrix of this width. Strides depend on the width, so take it anew per product.
  kernels::Activations view(size_t columns);

 private:
  os::LazyArray<uint8_t> memory_;  // of all that follows
  int8_t* q_;
  float *d_, *s_, *s16_;
  int32_t *n_, *n16_;
  size_t rows_;
};

// One worker's cache-sized memory for unpacked rows and panels.
class MatmulScratch {
 public:
  MatmulScratch(const kernels::Table& table, size_t columns_max);

  std::vector<kernels::UnpackedRow> rows;  // [panel_rows]
  std::vector<kernels::Panel> panels;  // of columns_max columns: as many as hold 2 * kernels::kActGroup rows
  std::vector<float> float_row;        // [columns_max]

 private:
  std::vector<uint8_t> bytes_;
  std::vector<float> floats_;
};

// out[r * out_stride + i] = weights.row(i) . activations(r)
struct MatmulJob {
  const Matrix* weights;
  float* out;
  size_t out_stride;
};

struct MatmulInput {
  const kernels::Activations* quantized;  // [rows] for quantised weights
  const float* plain;  // [rows, plain_stride] the same rows in float, for F32, F16 and BF16 weights
  size_t plain_stride;
  size_t rows;
  // Panels of weight rows, unpacked into memory for many input rows; or stored rows directly with a few.
  // Either way an output row depends on its own input row alone, bit for bit, but the two differ in rounding.
  bool panel;
};

// All jobs share the input and the phase; `after(job_index, first, count)` is called by the worker that
// computed the chunk, for fused element-wise work on its rows. Does not end the phase.
template <typename After>
void matmul_phase(os::Worker& worker, const kernels::Table& table, MatmulScratch& scratch,
                  std::span<const MatmulJob> jobs, const MatmulInput& input, After after);

// Weight rows that one chunk takes.
size_t chunk_rows(const kernels::Table& table, const Matrix& weights, bool panel, int workers);

// Unpacks weight rows [first, first + count) of a quantised matrix into one of the scratch's panels.
// REQUIRES: count <= panel_rows.
kernels::Panel fill_panel(const kernels::Table& table, MatmulScratch& scratch, const Matrix& weights,
                          size_t first, size_t count, size_t panel);

bool is_float(const Matrix& weights);

// Rows [first, first + count) of one job.
void matmul_chunk(const kernels::Table& table, MatmulScratch& scratch, const MatmulJob& job,
                  const MatmulInput& input, size_t first, size_t count);

inline size_t chunks_of(const os::Worker& worker, const kernels::Table& table, const MatmulJob& job,
                        const MatmulInput& input) {
  const size_t step = chunk_rows(table, *job.weights, input.panel, worker.count());
  return (job.weights->rows + step - 1) / step;
}

template <typename After>
void matmul_phase(os::Worker& worker, const kernels::Table& table, MatmulScratch& scratch,
                  std::span<const MatmulJob> jobs, const MatmulInput& input, After after) {
  size_t total = 0;
  for (const MatmulJob& job : jobs) total += chunks_of(worker, table, job, input);
  for (size_t c = worker.take(total); c < total; c = worker.take(total)) {
    size_t j = 0, chunk = c;
    for (size_t n; chunk >= (n = chunks_of(worker, table, jobs[j], input)); ++j) chunk -= n;
    const size_t step = chunk_rows(table, *jobs[j].weights, input.panel, worker.count());
    const size_t first = chunk * step;
    const size_t count = std::min(step, jobs[j].weights->rows - first);
    matmul_chunk(table, scratch, jobs[j], input, first, count);
    after(j, first, count);
  }
}

}  // namespace hedge::model
