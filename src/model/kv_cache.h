// The keys and values of one sequence: a table of pages. A page holds kKvBlock positions of all layers and KV
// heads, in two parts: the global one, which every later query reads, and the local one, which is needed only
// as long as some query can see it: that of sliding-window layers, and the finer form of near positions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/table.h"
#include "model/config.h"

namespace hedge::model {

using kernels::kKvBlock;

// How keys and values are stored.
enum class KvType : uint8_t {
  kF16,  // half precision
  // Every head is rotated (kernels::Table::hadamard) before it is rounded.
  kQ8,  // 8 bits: keys with a scale per 32 values, values with a scale per head and position
  // 5 bits, likewise; but layers with a sliding window, the block of the query itself, the one before it and
  // the first are seen in 8 bits. What a query sees depends on its position alone.
  kQ5,
};

std::string_view kv_type_name(KvType type);  // "f16", "q8", "q5"
// kInvalidArgument, with the field "kv_type", names the types there are.
Result<KvType> parse_kv_type(std::string_view name);

enum class KvPart : uint8_t { kGlobal, kLocal };
inline constexpr size_t kKvParts = 2;
inline constexpr KvPart kKvPartList[kKvParts] = {KvPart::kGlobal, KvPart::kLocal};

// Where keys and values lie in a page. kF16, kQ8: without a window, or without a global layer, all layers are
// in the global part and the local one has no bytes. kQ5: global layers are in the global part in 5 bits, and
// all layers in the local part in 8.
struct KvLayout {
  KvLayout(const Config& config, KvType type);

  size_t bytes_of(KvPart part) const { return part_bytes[static_cast<size_t>(part)]; }
  bool has_local() const { return bytes_of(KvPart::kLocal) > 0; }
  // Pages of a sequence of so many tokens: global parts, and local parts at once while it is read in pieces
  // of at most `rows_max` rows.
  size_t blocks(size_t tokens) const { return (tokens + kKvBlock - 1) / kKvBlock; }
  size_t local_blocks_max(size_t tokens, size_t rows_max) const;
  size_t bytes(size_t tokens, size_t rows_max) const;
  // Whether a query at `position` or later reads the local part of `block`. REQUIRES: has_local().
  bool sees_local(size_t block, size_t position) const {
    return block >= first_local_block(position) || (block == 0 && keeps_first);
  }
  // The first block from which on that is so, whatever keeps_first says.
  size_t first_local_block(size_t position) const {
    return has_local() && position >= reach ? (position - reach + 1) / kKvBlock : 0;
  }
  bool packs(int layer) const {
    return type == KvType::kQ5 && packed_offset[static_cast<size_t>(layer)] != kNotPacked;
  }
  // The first position whose query sees the layer's block in 5 bits.
  size_t packed_from(int layer, size_t block) const {
    return packs(layer) && block > 0 ? (block + 2) * kKvBlock : SIZE_MAX;
  }

  struct Place {
    size_t part;
    size_t offset_bytes;
  };
  KvType type;
  size_t kv_heads;
  size_t head_dim;
  size_t padded_head_dim;  // in kQ8 and kQ5, a multiple of kernels::kActGroup
  size_t unit_bytes;       // of one layer and head of a block, in kQ5 of its 8 bits
  size_t packed_bytes;     // the same in 5 bits
  size_t window;           // of the layers in the local part; 0 when there are none
  size_t reach;            // positions, the query's own included, whose local part a query may read
  bool keeps_first;        // every query reads the local part of block 0
  size_t part_bytes[kKvParts];
  std::vector<Place> layers;
  static constexpr size_t kNotPacked = SIZE_MAX;
  std::vector<size_t> packed_offset;  // kQ5: of a layer in the global part
};

class KvCache {
 public:
  // With memory of its own for the whole context: address space, which the system fills when it is written.
  static Result<std::unique_ptr<KvCache>> create(const Config& config, int context_tokens, KvType type);
  // An empty table, whose pages belong to somebody else (kv_pool.h).
  KvCache(const KvLayout& layout, int context_tokens);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  KvType type() const { return layout_.type; }
  const KvLayout& layout() const { return layout_; }
  // Null: the block has no such part; nothing may then read or write it.
  void set_page(KvPart part, size_t block, uint8_t* memory) {
    pages_[static_cast<size_t>(part)][block] = memory;
  }

  // One layer and KV head of the block with positions [block * kKvBlock, (block + 1) * kKvBlock).
  // kF16: f16 [kKvBlock, head_dim].
  uint16_t* keys_f16(int layer, int kv_head, size_t block) {
    return reinterpret_cast<uint16_t*>(unit(layer, kv_head, block));
  }
  uint16_t* values_f16(int layer, int kv_head, size_t block) {
    return keys_f16(layer, kv_head, block) + kKvBlock * layout_.head_dim;
  }
  // kQ8, and kQ5 where there is the local part.
  kernels::KvBlock block_q8(int layer, int kv_head, size_t block) {
    uint8_t* at = unit(layer, kv_head, block);
    const size_t bytes = kKvBlock * layout_.padded_head_dim;
    return {at, reinterpret_cast<float*>(at + 2 * bytes), reinterpret_cast<int8_t*>(at + bytes),
            reinterpret_cast<float*>(at + 2 * bytes) + bytes / kernels::kActGroup};
  }
  // kQ5, of layers that have a packed_offset.
  kernels::KvPacked block_q5(int layer, int kv_head, size_t block);
  // Length of a head in kQ8 and kQ5, a multiple of kernels::kActGroup.
  size_t padded_head_dim() const { return layout_.padded_head_dim; }

 private:
  uint8_t* unit(int layer, int kv_head, size_t block) {
    const KvLayout::Place& place = layout_.layers[static_cast<size_t>(layer)];
    return pages_[place.part][block] + place.offset_bytes + static_cast<size_t>(kv_head) * layout_.unit_bytes;
  }

  const KvLayout layout_;
  std::vector<uint8_t*> pages_[kKvParts];  // [blocks of the context]
  uint8_t* memory_ = nullptr;              // of create()
  size_t memory_bytes_ = 0;
};

}  // namespace hedge::model
