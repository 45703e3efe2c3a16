// For tests and the fuzzer: activations with their memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "kernels/table.h"

namespace hedge::kernels::testing {

// Quantised rows as the kernels take them, set either from floats or value by value.
struct ActivationRows {
  ActivationRows(size_t rows_in, size_t columns_in)
      : rows(rows_in),
        columns(columns_in),
        q_stride(round_up(columns_in, kRowPad)),
        group_stride(round_up(columns_in, 512) / kActGroup),
        q(rows * q_stride),
        d(rows * group_stride),
        s(rows * group_stride),
        s16(2 * rows * group_stride),
        n(s.size()),
        n16(s16.size()) {}

  Activations view() {
    return {q.data(), d.data(), s.data(), s16.data(), n.data(), n16.data(), q_stride, group_stride};
  }

  // Fills the sums from q and d.
  void finish() {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t half = 0; half < columns / 16; ++half) {
        int sum = 0;
        for (size_t i = 0; i < 16; ++i) sum += q[r * q_stride + half * 16 + i];
        s16[r * 2 * group_stride + half] = d[r * group_stride + half / 2] * static_cast<float>(sum);
        n16[r * 2 * group_stride + half] = -sum;
      }
      for (size_t g = 0; g < columns / kActGroup; ++g) {
        int sum = 0;
        for (size_t i = 0; i < 32; ++i) sum += q[r * q_stride + g * 32 + i];
        s[r * group_stride + g] = d[r * group_stride + g] * static_cast<float>(sum);
        n[r * group_stride + g] = -sum;
      }
    }
  }

  double value(size_t r, size_t i) const {
    return static_cast<double>(d[r * group_stride + i / kActGroup]) * q[r * q_stride + i];
  }

  size_t rows, columns, q_stride, group_stride;
  std::vector<int8_t> q;
  std::vector<float> d, s, s16;
  std::vector<int32_t> n, n16;
};

}  // namespace hedge::kernels::testing
