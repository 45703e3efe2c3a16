// The keys and values of one sequence, in half precision, for all layers. Address space is reserved for the
// whole context; the system gives a page when it is first written, so an unused context costs nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "model/config.h"

namespace hedge::model {

class KvCache {
 public:
  static Result<std::unique_ptr<KvCache>> create(const Config& config, int context_tokens);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  int context_tokens() const { return context_tokens_; }
  // f16 [context_tokens, head_dim] of one layer and KV head.
  uint16_t* keys(int layer, int kv_head) { return plane(layer, 0, kv_head); }
  uint16_t* values(int layer, int kv_head) { return plane(layer, 1, kv_head); }

  // Copies the first `tokens` positions of all layers from another cache of the same model and context.
  void copy_prefix(KvCache& from, int tokens);
  // Gives the pages of all positions back to the system.
  void release();

  static size_t bytes(const Config& config, int context_tokens);

 private:
  KvCache(const Config& config, int context_tokens, uint8_t* memory, size_t size);
  uint16_t* plane(int layer, int which, int kv_head) {
    const size_t index =
        (static_cast<size_t>(layer) * 2 + static_cast<size_t>(which)) * static_cast<size_t>(kv_heads_) +
        static_cast<size_t>(kv_head);
    return reinterpret_cast<uint16_t*>(memory_) + index * plane_values_;
  }

  const int layers_;
  const int kv_heads_;
  const int context_tokens_;
  const size_t head_dim_;
  const size_t plane_values_;
  uint8_t* memory_;
  size_t size_;
};

}  // namespace hedge::model
