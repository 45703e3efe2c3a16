// Attention over one sequence's KV cache, for one KV head and a run of query rows at neighbouring positions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/table.h"
#include "model/config.h"

namespace hedge::model {

// Query vectors handled per tile pass: rows times heads per KV head.
inline constexpr size_t kAttentionQueriesMax = 96;
inline constexpr size_t kAttentionTile = 64;  // KV positions per tile

// One worker's memory. Sized for the model's head length and the context.
struct AttentionScratch {
  AttentionScratch(size_t head_dim, size_t context_tokens);
  std::vector<float> scores;   // [context_tokens]
  std::vector<float> queries;  // [kAttentionQueriesMax, head_dim]
  std::vector<float> keys;     // [head_dim, kAttentionTile], transposed
  std::vector<float> values;   // [kAttentionTile, head_dim]
  std::vector<float> weights;  // [kAttentionQueriesMax, kAttentionTile]
  std::vector<float> sums;     // [kAttentionQueriesMax, head_dim]
  std::vector<float> row;      // [head_dim]
};

struct AttentionInput {
  const float* queries;  // row r, head h: queries + r * query_stride + h * head_dim
  size_t query_stride;
  const uint16_t* keys;  // f16 [context, head_dim]
  const uint16_t* values;
  float* out;  // same shape as queries
  size_t out_stride;
  size_t head_dim;
  size_t heads;  // query heads that share this KV head, neighbours in memory
  float scale;
  int window;          // 0: all earlier positions
  int first_position;  // of query row 0; row r stands at first_position + r
};

// One query row and one head: plain dot products over f16 keys.
void attend_single(const kernels::Table& table, AttentionScratch& scratch, const AttentionInput& input,
                   size_t head);

// Several rows, all heads of the group, in tiles with a running maximum (Milakov and Gimelshein, 2018).
// REQUIRES: rows * input.heads <= kAttentionQueriesMax.
void attend_tiled(const kernels::Table& table, AttentionScratch& scratch, const AttentionInput& input,
                  size_t rows);

}  // namespace hedge::model
