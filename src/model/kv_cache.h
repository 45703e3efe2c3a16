// The keys and values of one sequence for all layers, in blocks of kKvBlock positions: a block holds its
// positions' keys and values of every layer and head, so that it can be copied as a piece. Address space is
// reserved for the whole context; the system gives a page when it is first written, so an unused context
// costs nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "kernels/table.h"
#include "model/config.h"

namespace hedge::model {

using kernels::kKvBlock;

// How keys and values are stored.
enum class KvType : uint8_t {
  kF16,  // half precision
  kQ8,   // 8 bits: keys with a scale per 32 values, values with a scale per head and position
};

std::string_view kv_type_name(KvType type);  // "f16", "q8"
// kInvalidArgument, with the field "kv_type", names the types there are.
Result<KvType> parse_kv_type(std::string_view name);

class KvCache {
 public:
  static Result<std::unique_ptr<KvCache>> create(const Config& config, int context_tokens, KvType type);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  int context_tokens() const { return context_tokens_; }
  KvType type() const { return type_; }

  // One layer and KV head of the block with positions [block * kKvBlock, (block + 1) * kKvBlock).
  // kF16: f16 [kKvBlock, head_dim].
  uint16_t* keys_f16(int layer, int kv_head, size_t block) {
    return reinterpret_cast<uint16_t*>(unit(layer, kv_head, block));
  }
  uint16_t* values_f16(int layer, int kv_head, size_t block) {
    return keys_f16(layer, kv_head, block) + kKvBlock * head_dim_;
  }
  // kQ8.
  kernels::KvBlock block_q8(int layer, int kv_head, size_t block) {
    uint8_t* at = unit(layer, kv_head, block);
    const size_t bytes = kKvBlock * padded_head_dim_;
    return {at, reinterpret_cast<float*>(at + 2 * bytes), reinterpret_cast<int8_t*>(at + bytes),
            reinterpret_cast<float*>(at + 2 * bytes) + bytes / kernels::kActGroup};
  }
  // Length of a head in kQ8, a multiple of kernels::kActGroup.
  size_t padded_head_dim() const { return padded_head_dim_; }

  // Copies the first `tokens` positions of all layers from another cache of the same model, type and context.
  void copy_prefix(KvCache& from, int tokens);

  // Of a full context.
  static size_t bytes(const Config& config, int context_tokens, KvType type);

 private:
  KvCache(const Config& config, int context_tokens, KvType type, uint8_t* memory, size_t size);
  uint8_t* unit(int layer, int kv_head, size_t block) {
    return memory_ + block * block_bytes_ +
           (static_cast<size_t>(layer) * kv_heads_ + static_cast<size_t>(kv_head)) * unit_bytes_;
  }

  const int context_tokens_;
  const KvType type_;
  const size_t kv_heads_;
  const size_t head_dim_;
  const size_t padded_head_dim_;
  const size_t unit_bytes_;   // of one layer and head of a block
  const size_t block_bytes_;  // of all of them
  uint8_t* memory_;
  size_t size_;
};

}  // namespace hedge::model
