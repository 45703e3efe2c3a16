#include "model/kv_cache.h"

#include <algorithm>
#include <string>

#include "base/bytes.h"
#include "os/memory.h"

namespace hedge::model {
namespace {

size_t padded(const Config& config) {
  return round_up(static_cast<uint64_t>(config.head_dim), kernels::kActGroup);
}

size_t unit_bytes(const Config& config, KvType type) {
  switch (type) {
    case KvType::kF16:
      // Whole cache lines, as the 8-bit blocks have by themselves.
      return round_up(2 * kKvBlock * static_cast<size_t>(config.head_dim) * sizeof(uint16_t), 64);
    case KvType::kQ8:
    case KvType::kQ5: {
      const size_t values = kKvBlock * padded(config);
      return 2 * values + values / kernels::kActGroup * sizeof(float) + kKvBlock * sizeof(float);
    }
  }
  return 0;
}

}  // namespace

std::string_view kv_type_name(KvType type) {
  switch (type) {
    case KvType::kF16:
      return "f16";
    case KvType::kQ8:
      return "q8";
    case KvType::kQ5:
      return "q5";
  }
  return "";
}

Result<KvType> parse_kv_type(std::string_view name) {
  for (const KvType type : {KvType::kF16, KvType::kQ8, KvType::kQ5}) {
    if (name == kv_type_name(type)) return type;
  }
  return make_error(ErrorCode::kInvalidArgument, "kv_type: expected q8, q5 or f16, got " + std::string(name),
                    "kv_type");
}

KvLayout::KvLayout(const Config& config, KvType kv_type)
    : type(kv_type),
      kv_heads(static_cast<size_t>(config.kv_heads)),
      head_dim(static_cast<size_t>(config.head_dim)),
      padded_head_dim(padded(config)),
      unit_bytes(model::unit_bytes(config, kv_type)),
      packed_bytes(kernels::kv_packed_bytes(padded_head_dim)),
      window(static_cast<size_t>(config.window)),
      keeps_first(kv_type == KvType::kQ5),
      part_bytes{} {
  // A table with global parts alone is the simpler one; models without a global layer are not known.
  const size_t locals = static_cast<size_t>(std::count(config.local.begin(), config.local.end(), true));
  const bool split = window > 0 && locals > 0 && locals < static_cast<size_t>(config.layers);
  if (!split) window = 0;
  // A query reads its own block and the one before in 8 bits: it may stand at the end of its own.
  reach = kv_type == KvType::kQ5 ? std::max(window, kKvBlock + 1) : window;
  for (size_t i = 0; i < static_cast<size_t>(config.layers); ++i) {
    const bool local = split && config.local[i];
    if (kv_type == KvType::kQ5) {
      packed_offset.push_back(local ? kNotPacked : part_bytes[0]);
      if (!local) part_bytes[0] += kv_heads * packed_bytes;
    }
    const size_t part = local || kv_type == KvType::kQ5 ? 1 : 0;
    layers.push_back({part, part_bytes[part]});
    part_bytes[part] += kv_heads * unit_bytes;
  }
}

size_t KvLayout::local_blocks_max(size_t tokens, size_t rows_max) const {
  if (!has_local()) return 0;
  // `rows_max` new positions and the window before them, wherever they begin within a block.
  return std::min(blocks(tokens), blocks(reach - 1 + rows_max) + 1 + (keeps_first ? 1 : 0));
}

size_t KvLayout::bytes(size_t tokens, size_t rows_max) const {
  return blocks(tokens) * bytes_of(KvPart::kGlobal) +
         local_blocks_max(tokens, rows_max) * bytes_of(KvPart::kLocal);
}

KvCache::KvCache(const KvLayout& layout, int context_tokens) : layout_(layout) {
  for (std::vector<uint8_t*>& pages : pages_)
    pages.resize(layout.blocks(static_cast<size_t>(context_tokens)), nullptr);
}

Result<std::unique_ptr<KvCache>> KvCache::create(const Config& config, int context_tokens, KvType type) {
  const KvLayout layout(config, type);
  auto cache = std::make_unique<KvCache>(layout, context_tokens);
  const size_t blocks = layout.blocks(static_cast<size_t>(context_tokens));
  const size_t page_bytes = layout.bytes_of(KvPart::kGlobal) + layout.bytes_of(KvPart::kLocal);
  HEDGE_TRY_SET(cache->memory_, os::reserve_memory(blocks * page_bytes));
  cache->memory_bytes_ = blocks * page_bytes;
  for (size_t block = 0; block < blocks; ++block) {
    uint8_t* page = cache->memory_ + block * page_bytes;
    cache->set_page(KvPart::kGlobal, block, page);
    cache->set_page(KvPart::kLocal, block, page + layout.bytes_of(KvPart::kGlobal));
  }
  return cache;
}

kernels::KvPacked KvCache::block_q5(int layer, int kv_head, size_t block) {
  const size_t offset = layout_.packed_offset[static_cast<size_t>(layer)];
  HEDGE_CHECK(offset != KvLayout::kNotPacked);
  uint8_t* at = pages_[static_cast<size_t>(KvPart::kGlobal)][block] + offset +
                static_cast<size_t>(kv_head) * layout_.packed_bytes;
  const size_t nibbles = kKvBlock * padded_head_dim() / 2, fifths = nibbles / 4;
  uint16_t* const scales = reinterpret_cast<uint16_t*>(at + 2 * (nibbles + fifths));
  return {
      at,           at + 2 * nibbles,          scales,
      at + nibbles, at + 2 * nibbles + fifths, scales + kKvBlock * padded_head_dim() / kernels::kActGroup};
}

KvCache::~KvCache() {
  if (memory_ != nullptr) os::free_memory(memory_, memory_bytes_);
}

}  // namespace hedge::model
