#include "model/kv_cache.h"

#include <cstring>

#include "base/bytes.h"
#include "os/memory.h"

namespace hedge::model {
namespace {

constexpr size_t kPage = 4096;

// Planes begin on page boundaries, so that a short sequence touches few pages.
size_t plane_bytes(const Config& config, int context_tokens) {
  return round_up(static_cast<uint64_t>(context_tokens) * static_cast<uint64_t>(config.head_dim) * 2, kPage);
}

}  // namespace

size_t KvCache::bytes(const Config& config, int context_tokens) {
  return plane_bytes(config, context_tokens) * 2 * static_cast<size_t>(config.layers) *
         static_cast<size_t>(config.kv_heads);
}

Result<std::unique_ptr<KvCache>> KvCache::create(const Config& config, int context_tokens) {
  const size_t size = bytes(config, context_tokens);
  HEDGE_TRY_SET(uint8_t * memory, os::reserve_memory(size));
  return std::unique_ptr<KvCache>(new KvCache(config, context_tokens, memory, size));
}

KvCache::KvCache(const Config& config, int context_tokens, uint8_t* memory, size_t size)
    : layers_(config.layers),
      kv_heads_(config.kv_heads),
      context_tokens_(context_tokens),
      head_dim_(static_cast<size_t>(config.head_dim)),
      plane_values_(plane_bytes(config, context_tokens) / 2),
      memory_(memory),
      size_(size) {}

KvCache::~KvCache() { os::free_memory(memory_, size_); }

void KvCache::copy_prefix(KvCache& from, int tokens) {
  const size_t bytes = static_cast<size_t>(tokens) * head_dim_ * 2;
  for (int layer = 0; layer < layers_; ++layer) {
    for (int head = 0; head < kv_heads_; ++head) {
      std::memcpy(keys(layer, head), from.keys(layer, head), bytes);
      std::memcpy(values(layer, head), from.values(layer, head), bytes);
    }
  }
}

void KvCache::release() { os::discard_memory(memory_, size_); }

}  // namespace hedge::model
