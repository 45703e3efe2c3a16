// Attention over one sequence's KV cache, for one KV head and a run of query rows at neighbouring positions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/table.h"
#include "model/config.h"
#include "model/kv_cache.h"

namespace hedge::model {

// Query vectors handled per tile pass: rows times heads per KV head.
inline constexpr size_t kAttentionQueriesMax = 96;
// One query row's positions are shared out among workers in pieces of so many blocks, at multiples of it: how
// many workers there are then changes no bit.
inline constexpr size_t kAttentionPieceBlocks = 16;

// One worker's memory. Sized for the model's head length and the context.
struct AttentionScratch {
  AttentionScratch(size_t head_dim, size_t context_tokens);
  // kF16
  std::vector<float> scores;      // [context_tokens]
  std::vector<float> queries;     // [kAttentionQueriesMax, head_dim]
  std::vector<float> keys;        // [head_dim, kKvBlock], transposed
  std::vector<float> values;      // [kKvBlock, head_dim]
  std::vector<float> weights;     // [kAttentionQueriesMax, kKvBlock]; else scores
  std::vector<float> sums;        // [kAttentionQueriesMax, head_dim]; else of the padded head
  std::vector<float> row;         // [head_dim], zeros up to the padded length
  std::vector<float> top, total;  // [kAttentionQueriesMax], as in kernels::AttentionRows
  // Over packed or 8-bit values, likewise
  std::vector<int8_t> q;
  std::vector<float> qd;
  std::vector<int32_t> qs;
  std::vector<uint8_t> p;
  std::vector<uint8_t> low, high;  // [kAttentionQueriesMax]
  // kQ5: one block in 8 bits.
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  std::vector<Line> unpacked;
};

struct AttentionInput {
  const float* queries;  // row r, head h: queries + r * query_stride + h * head_dim
  size_t query_stride;
  KvCache* cache;
  int layer;
  int kv_head;
  float* out;  // same shape as queries
  size_t out_stride;
  size_t head_dim;
  size_t heads;  // query heads that share this KV head, neighbours in memory
  float scale;
  int window;          // 0: all earlier positions
  int first_position;  // of query row 0; row r stands at first_position + r
};

// The first position that a query at `position` sees.
inline int first_visible(int position, int window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}

// One query row and one head over f16 keys: plain dot products.
void attend_single_f16(const kernels::Table& table, AttentionScratch& scratch, const AttentionInput& input,
                       size_t head);

// Several rows, all heads of the group, block by block with a running maximum (Milakov and Gimelshein, 2018).
// REQUIRES: rows * input.heads <= kAttentionQueriesMax.
void attend_tiled_f16(const kernels::Table& table, AttentionScratch& scratch, const AttentionInput& input,
                      size_t rows);

// The same over keys and values of kQ8 and kQ5.
void attend_tiled_int(const kernels::Table& table, AttentionScratch& scratch, const AttentionInput& input,
                      size_t rows);

// What one piece of the positions adds to one head of a query row.
inline size_t partial_floats(size_t padded_head_dim) { return padded_head_dim + 2; }  // sums, top, total
// Pieces [first, last] hold the positions that a query at `position` sees.
struct Pieces {
  size_t first, last;
  size_t count() const { return last - first + 1; }
};
inline Pieces pieces_of(int position, int window) {
  constexpr size_t kPositions = kAttentionPieceBlocks * kKvBlock;
  return {static_cast<size_t>(first_visible(position, window)) / kPositions,
          static_cast<size_t>(position) / kPositions};
}
// One query row over one piece, all heads of the group; head h's partial goes to partials + h * stride.
void attend_piece_int(const kernels::Table& table, AttentionScratch& scratch, const AttentionInput& input,
                      size_t piece, float* partials, size_t stride);
// One head's partials, `count` neighbours, to out [head_dim]. scratch: [padded_head_dim].
void merge_partials(const kernels::Table& table, const float* partials, size_t count, size_t padded_head_dim,
                    float* scratch, float* out, size_t head_dim);

}  // namespace hedge::model
