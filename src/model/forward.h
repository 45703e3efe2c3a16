// One step of the model over a batch of rows: each row is a token at a position of some sequence's KV cache,
// so decodes of many sequences and a piece of a prompt go through the layers together. Owned and called by
// one thread; computes on the whole team. Allocates only at construction.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/table.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/weights.h"
#include "os/team.h"

namespace hedge::model {

struct Row {
  int32_t token;
  int position;
  KvCache* cache;
};

// How a batch is computed. Rounding differs between the ways, and quantised activations amplify the last bit
// to visible differences; so each row's result is made independent of what else is in the batch by keeping to
// one way per kind.
enum class Mode : uint8_t {
  kAuto,    // by the number of rows: the fastest
  kPrompt,  // pieces of prompts: the same bits however the prompt is cut, and whatever stands beside it
  kDecode,  // one row per sequence, and drafts behind it: the same bits for any number of rows
};
// So many rows the direct kernels unpack a weight once for; drafts go no further.
inline constexpr size_t kDecodeRowsMax = 8;

class Forward {
 public:
  // rows_max: largest batch; outputs_max: most rows whose logits are asked for at once.
  static std::unique_ptr<Forward> create(const Config& config, const Weights& weights,
                                         const kernels::Table& table, os::Team& team, int rows_max,
                                         int outputs_max, int context_tokens);
  virtual ~Forward() = default;

  // Runs the layers. Rows of one cache must be neighbours with rising positions, all earlier positions being
  // in the cache. `outputs` are indices of different rows whose final hidden state is kept for logits().
  // REQUIRES: rows.size() <= rows_max, outputs.size() <= rows_max.
  virtual void run(std::span<const Row> rows, std::span<const int> outputs, Mode mode = Mode::kAuto) = 0;

  // Logits [count, vocab] of outputs [first, first + count) of the last run; valid until the next call.
  // REQUIRES: count <= outputs_max.
  virtual const float* logits(int first, int count) = 0;

  // From the next run on, keeps the residual stream after these blocks (0 to layers - 1, rising) for the rows
  // in `outputs`; none: keeps nothing, at no cost. Allocates.
  virtual void tap(std::span<const int> blocks) = 0;

  // [tapped blocks, dim] of output `index` of the last run: what block b added to, before any further norm.
  // Valid until the next run. REQUIRES: tap() with at least one block.
  virtual std::span<const float> tapped(int index) const = 0;

  virtual int rows_max() const = 0;
  virtual int outputs_max() const = 0;
};

}  // namespace hedge::model
