#include "model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hedge::model {
namespace {

constexpr float kMasked = -1.0e30f;  // exp() of it is 0, differences of it are finite

int first_visible(const AttentionInput& in, int position) {
  return in.window > 0 ? std::max(0, position - in.window + 1) : 0;
}

// Keys of the tile, transposed to [head_dim, kAttentionTile]; values as they are. Missing positions become
// zero.
void load_tile(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in, size_t begin,
               size_t count) {
  const size_t dim = in.head_dim;
  for (size_t p = 0; p < kAttentionTile; ++p) {
    if (p < count) {
      table.f16_to_f32(in.keys + (begin + p) * dim, s.row.data(), dim);
    } else {
      std::fill(s.row.begin(), s.row.end(), 0.0f);
    }
    for (size_t d = 0; d < dim; ++d) s.keys[d * kAttentionTile + p] = s.row[d];
  }
  table.f16_to_f32(in.values + begin * dim, s.values.data(), count * dim);
}

}  // namespace

AttentionScratch::AttentionScratch(size_t head_dim, size_t context_tokens)
    : scores(context_tokens),
      queries(kAttentionQueriesMax * head_dim),
      keys(head_dim * kAttentionTile),
      values(kAttentionTile * head_dim),
      weights(kAttentionQueriesMax * kAttentionTile),
      sums(kAttentionQueriesMax * head_dim),
      row(head_dim) {}

void attend_single(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in, size_t head) {
  const size_t dim = in.head_dim;
  const float* query = in.queries + head * dim;
  float* out = in.out + head * dim;
  const size_t begin = static_cast<size_t>(first_visible(in, in.first_position));
  const size_t end = static_cast<size_t>(in.first_position) + 1;
  float* scores = s.scores.data();
  for (size_t p = begin; p < end; ++p) scores[p] = table.dot_f16(in.keys + p * dim, query, dim) * in.scale;
  const float top = table.max_of(scores + begin, end - begin);
  const float sum = table.exp_sum(scores + begin, top, end - begin);
  std::memset(out, 0, dim * sizeof(float));
  for (size_t p = begin; p < end; ++p) table.axpy_f16(scores[p], in.values + p * dim, out, dim);
  table.scale(1.0f / sum, out, dim);
}

void attend_tiled(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in, size_t rows) {
  const size_t dim = in.head_dim;
  const size_t queries = rows * in.heads;
  float top[kAttentionQueriesMax];
  float total[kAttentionQueriesMax];
  for (size_t r = 0; r < rows; ++r) {
    for (size_t h = 0; h < in.heads; ++h) {
      const size_t i = r * in.heads + h;
      std::memcpy(&s.queries[i * dim], in.queries + r * in.query_stride + h * dim, dim * sizeof(float));
      table.scale(in.scale, &s.queries[i * dim], dim);
      top[i] = kMasked;
      total[i] = 0;
    }
  }
  std::fill_n(s.sums.begin(), queries * dim, 0.0f);
  // Tiles begin at multiples of their size, so that a row sees the same ones in whatever run it stands.
  const size_t begin =
      static_cast<size_t>(first_visible(in, in.first_position)) / kAttentionTile * kAttentionTile;
  const size_t end = static_cast<size_t>(in.first_position) + rows;
  for (size_t tile = begin; tile < end; tile += kAttentionTile) {
    const size_t count = std::min(kAttentionTile, end - tile);
    load_tile(table, s, in, tile, count);
    table.sgemm(s.queries.data(), dim, s.keys.data(), kAttentionTile, s.weights.data(), kAttentionTile,
                queries, kAttentionTile, dim, 0);
    for (size_t i = 0; i < queries; ++i) {
      const int position = in.first_position + static_cast<int>(i / in.heads);
      const size_t low = std::max(tile, static_cast<size_t>(first_visible(in, position)));
      const size_t high = std::min(tile + count, static_cast<size_t>(position) + 1);
      float* w = &s.weights[i * kAttentionTile];
      if (low >= high) {
        std::fill_n(w, kAttentionTile, 0.0f);
        continue;
      }
      std::fill_n(w, low - tile, 0.0f);
      std::fill(w + (high - tile), w + kAttentionTile, 0.0f);
      const float higher = std::max(top[i], table.max_of(w + (low - tile), high - low));
      const float shrink = std::exp(top[i] - higher);
      top[i] = higher;
      total[i] = total[i] * shrink + table.exp_sum(w + (low - tile), higher, high - low);
      if (shrink != 1.0f) table.scale(shrink, &s.sums[i * dim], dim);
    }
    table.sgemm(s.weights.data(), kAttentionTile, s.values.data(), dim, s.sums.data(), dim, queries, dim,
                count, 1);
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t h = 0; h < in.heads; ++h) {
      const size_t i = r * in.heads + h;
      float* out = in.out + r * in.out_stride + h * dim;
      std::memcpy(out, &s.sums[i * dim], dim * sizeof(float));
      table.scale(1.0f / total[i], out, dim);
    }
  }
}

}  // namespace hedge::model
