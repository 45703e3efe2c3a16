#include "model/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bytes.h"

namespace hedge::model {
namespace {

constexpr float kMasked = -1.0e30f;  // exp() of it is 0, differences of it are finite

// Keys of the block, transposed to [head_dim, kKvBlock]; values as they are. Missing positions become zero.
void load_block(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in, size_t block,
                size_t count) {
  const size_t dim = in.head_dim;
  const uint16_t* keys = in.cache->keys_f16(in.layer, in.kv_head, block);
  for (size_t p = 0; p < kKvBlock; ++p) {
    if (p < count) {
      table.f16_to_f32(keys + p * dim, s.row.data(), dim);
    } else {
      std::fill(s.row.begin(), s.row.end(), 0.0f);
    }
    for (size_t d = 0; d < dim; ++d) s.keys[d * kKvBlock + p] = s.row[d];
  }
  table.f16_to_f32(in.cache->values_f16(in.layer, in.kv_head, block), s.values.data(), count * dim);
}

// Sums over totals, from the scratch.
void write_out_f16(const kernels::Table& table, const AttentionScratch& s, const AttentionInput& in,
                   size_t rows) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t h = 0; h < in.heads; ++h) {
      const size_t i = r * in.heads + h;
      float* out = in.out + r * in.out_stride + h * in.head_dim;
      std::memcpy(out, &s.sums[i * in.head_dim], in.head_dim * sizeof(float));
      table.scale(1.0f / s.total[i], out, in.head_dim);
    }
  }
}

// A head's weighted values [n], over their total, out of the rotated basis.
void write_head(const kernels::Table& table, float* values, size_t n, float total, float* out,
                size_t head_dim) {
  table.scale(1.0f / total, values, n);
  table.hadamard(values, n);
  std::memcpy(out, values, head_dim * sizeof(float));
}

void quantize_queries(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in,
                      size_t rows) {
  const size_t n = in.cache->padded_head_dim();
  const size_t groups = n / kernels::kActGroup;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t h = 0; h < in.heads; ++h) {
      const size_t i = r * in.heads + h;
      const float* query = in.queries + r * in.query_stride + h * in.head_dim;
      std::copy(query, query + in.head_dim, s.row.begin());
      std::fill(s.row.begin() + static_cast<long>(in.head_dim), s.row.end(), 0.0f);
      table.hadamard(s.row.data(), n);
      table.quantize_query(s.row.data(), n, in.scale, &s.q[i * n], &s.qd[i * groups], &s.qs[i * groups]);
    }
  }
}

kernels::KvBlock unpacked_block(AttentionScratch& s, size_t n) {
  uint8_t* const k = s.unpacked[0].bytes;
  uint8_t* const v = k + kKvBlock * n;
  float* const kd = reinterpret_cast<float*>(v + kKvBlock * n);
  return {k, kd, reinterpret_cast<int8_t*>(v), kd + kKvBlock * n / kernels::kActGroup};
}

// What each row sees of the block at position `start`: nothing unless its own position is in [from, to).
// False when no row sees anything.
bool set_bounds(AttentionScratch& s, const AttentionInput& in, size_t rows, size_t start, size_t from,
                size_t to) {
  bool any = false;
  for (size_t r = 0; r < rows; ++r) {
    const int position = in.first_position + static_cast<int>(r);
    const int first = static_cast<int>(start);
    int low = std::clamp(first_visible(position, in.window) - first, 0, static_cast<int>(kKvBlock));
    int high = std::clamp(position + 1 - first, 0, static_cast<int>(kKvBlock));
    if (static_cast<size_t>(position) < from || static_cast<size_t>(position) >= to) low = high = 0;
    any = any || low < high;
    std::fill_n(s.low.begin() + static_cast<long>(r * in.heads), in.heads, static_cast<uint8_t>(low));
    std::fill_n(s.high.begin() + static_cast<long>(r * in.heads), in.heads, static_cast<uint8_t>(high));
  }
  return any;
}

// Blocks [begin, end) for the queries of `rows` rows; sums, top and total are left in the scratch.
void attend_blocks(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in, size_t rows,
                   size_t begin, size_t end) {
  const size_t queries = rows * in.heads;
  const size_t n = in.cache->padded_head_dim();
  quantize_queries(table, s, in, rows);
  std::fill_n(s.top.begin(), queries, kMasked);
  std::fill_n(s.total.begin(), queries, 0.0f);
  std::fill_n(s.sums.begin(), queries * n, 0.0f);
  const kernels::AttentionRows view{queries,          n,
                                    s.q.data(),       s.qd.data(),
                                    s.qs.data(),      s.sums.data(),
                                    s.top.data(),     s.total.data(),
                                    s.weights.data(), s.p.data()};
  for (size_t b = begin; b < end; ++b) {
    const size_t start = b * kKvBlock;
    // Rows of one run may see a block in different forms.
    const size_t packed_from = in.cache->layout().packed_from(in.layer, b);
    if (set_bounds(s, in, rows, start, 0, packed_from)) {
      const kernels::KvBlock block = in.cache->block_q8(in.layer, in.kv_head, b);
      table.attend_block(&view, &block, s.low.data(), s.high.data());
    }
    if (packed_from != SIZE_MAX && set_bounds(s, in, rows, start, packed_from, SIZE_MAX)) {
      const kernels::KvPacked packed = in.cache->block_q5(in.layer, in.kv_head, b);
      const kernels::KvBlock block = unpacked_block(s, n);
      table.unpack_block(&packed, n, &block);
      table.attend_block(&view, &block, s.low.data(), s.high.data());
    }
  }
}

}  // namespace

AttentionScratch::AttentionScratch(size_t head_dim, size_t context_tokens)
    : scores(context_tokens),
      queries(kAttentionQueriesMax * head_dim),
      keys(head_dim * kKvBlock),
      values(kKvBlock * head_dim),
      weights(kAttentionQueriesMax * kKvBlock),
      sums(kAttentionQueriesMax * round_up(head_dim, kernels::kActGroup)),
      row(round_up(head_dim, kernels::kActGroup)),
      top(kAttentionQueriesMax),
      total(kAttentionQueriesMax),
      q(sums.size()),
      qd(sums.size() / kernels::kActGroup),
      qs(qd.size()),
      p(weights.size()),
      low(kAttentionQueriesMax),
      high(kAttentionQueriesMax),
      unpacked(
          (kKvBlock * row.size() * 2 + kKvBlock * sizeof(float) * (row.size() / kernels::kActGroup + 1)) /
          sizeof(Line)) {}

void attend_single_f16(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in,
                       size_t head) {
  const size_t dim = in.head_dim;
  const float* query = in.queries + head * dim;
  float* out = in.out + head * dim;
  const size_t begin = static_cast<size_t>(first_visible(in.first_position, in.window));
  const size_t end = static_cast<size_t>(in.first_position) + 1;
  float* scores = s.scores.data();
  for (size_t p = begin; p < end; ++p) {
    const uint16_t* keys = in.cache->keys_f16(in.layer, in.kv_head, p / kKvBlock);
    scores[p] = table.dot_f16(keys + p % kKvBlock * dim, query, dim) * in.scale;
  }
  const float top = table.max_of(scores + begin, end - begin);
  const float sum = table.exp_sum(scores + begin, top, end - begin);
  std::memset(out, 0, dim * sizeof(float));
  for (size_t p = begin; p < end; ++p) {
    const uint16_t* values = in.cache->values_f16(in.layer, in.kv_head, p / kKvBlock);
    table.axpy_f16(scores[p], values + p % kKvBlock * dim, out, dim);
  }
  table.scale(1.0f / sum, out, dim);
}

void attend_tiled_f16(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in,
                      size_t rows) {
  const size_t dim = in.head_dim;
  const size_t queries = rows * in.heads;
  std::vector<float>& top = s.top;
  std::vector<float>& total = s.total;
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
  const size_t begin = static_cast<size_t>(first_visible(in.first_position, in.window)) / kKvBlock * kKvBlock;
  const size_t end = static_cast<size_t>(in.first_position) + rows;
  for (size_t tile = begin; tile < end; tile += kKvBlock) {
    const size_t count = std::min(kKvBlock, end - tile);
    load_block(table, s, in, tile / kKvBlock, count);
    table.sgemm(s.queries.data(), dim, s.keys.data(), kKvBlock, s.weights.data(), kKvBlock, queries, kKvBlock,
                dim, 0);
    for (size_t i = 0; i < queries; ++i) {
      const int position = in.first_position + static_cast<int>(i / in.heads);
      const size_t low = std::max(tile, static_cast<size_t>(first_visible(position, in.window)));
      const size_t high = std::min(tile + count, static_cast<size_t>(position) + 1);
      float* w = &s.weights[i * kKvBlock];
      if (low >= high) {
        std::fill_n(w, kKvBlock, 0.0f);
        continue;
      }
      std::fill_n(w, low - tile, 0.0f);
      std::fill(w + (high - tile), w + kKvBlock, 0.0f);
      const float higher = std::max(top[i], table.max_of(w + (low - tile), high - low));
      const float shrink = std::exp(top[i] - higher);
      top[i] = higher;
      total[i] = total[i] * shrink + table.exp_sum(w + (low - tile), higher, high - low);
      if (shrink != 1.0f) table.scale(shrink, &s.sums[i * dim], dim);
    }
    table.sgemm(s.weights.data(), kKvBlock, s.values.data(), dim, s.sums.data(), dim, queries, dim, count, 1);
  }
  write_out_f16(table, s, in, rows);
}

void attend_tiled_int(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in,
                      size_t rows) {
  const size_t n = in.cache->padded_head_dim();
  const size_t begin = static_cast<size_t>(first_visible(in.first_position, in.window)) / kKvBlock;
  const size_t end = (static_cast<size_t>(in.first_position) + rows - 1) / kKvBlock + 1;
  attend_blocks(table, s, in, rows, begin, end);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t h = 0; h < in.heads; ++h) {
      const size_t i = r * in.heads + h;
      write_head(table, &s.sums[i * n], n, s.total[i], in.out + r * in.out_stride + h * in.head_dim,
                 in.head_dim);
    }
  }
}

void attend_piece_int(const kernels::Table& table, AttentionScratch& s, const AttentionInput& in,
                      size_t piece, float* partials, size_t stride) {
  const size_t position = static_cast<size_t>(in.first_position);
  const size_t seen = static_cast<size_t>(first_visible(in.first_position, in.window)) / kKvBlock;
  const size_t begin = std::max(piece * kAttentionPieceBlocks, seen);
  const size_t end = std::min((piece + 1) * kAttentionPieceBlocks, position / kKvBlock + 1);
  attend_blocks(table, s, in, 1, begin, end);
  const size_t n = in.cache->padded_head_dim();
  for (size_t h = 0; h < in.heads; ++h) {
    float* to = partials + h * stride;
    std::memcpy(to, &s.sums[h * n], n * sizeof(float));
    to[n] = s.top[h];
    to[n + 1] = s.total[h];
  }
}

void merge_partials(const kernels::Table& table, const float* partials, size_t count, size_t n,
                    float* scratch, float* out, size_t head_dim) {
  const size_t stride = partial_floats(n);
  float top = partials[n];
  for (size_t i = 1; i < count; ++i) top = std::max(top, partials[i * stride + n]);
  float total = 0;
  std::memset(scratch, 0, n * sizeof(float));
  for (size_t i = 0; i < count; ++i) {
    const float* partial = partials + i * stride;
    const float worth = std::exp(partial[n] - top);
    total += partial[n + 1] * worth;
    for (size_t d = 0; d < n; ++d) scratch[d] += partial[d] * worth;
  }
  write_head(table, scratch, n, total, out, head_dim);
}

}  // namespace hedge::model
