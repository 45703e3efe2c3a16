#include "model/kv_cache.h"

#include <cstring>
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
    case KvType::kQ8: {
      const size_t values = kKvBlock * padded(config);
      return 2 * values + values / kernels::kActGroup * sizeof(float) + kKvBlock * sizeof(float);
    }
  }
  return 0;
}

size_t units(const Config& config) {
  return static_cast<size_t>(config.layers) * static_cast<size_t>(config.kv_heads);
}

}  // namespace

std::string_view kv_type_name(KvType type) {
  switch (type) {
    case KvType::kF16:
      return "f16";
    case KvType::kQ8:
      return "q8";
  }
  return "";
}

Result<KvType> parse_kv_type(std::string_view name) {
  for (const KvType type : {KvType::kF16, KvType::kQ8}) {
    if (name == kv_type_name(type)) return type;
  }
  return make_error(ErrorCode::kInvalidArgument, "kv_type: expected q8 or f16, got " + std::string(name),
                    "kv_type");
}

size_t KvCache::bytes(const Config& config, int context_tokens, KvType type) {
  const size_t blocks = (static_cast<size_t>(context_tokens) + kKvBlock - 1) / kKvBlock;
  return blocks * units(config) * unit_bytes(config, type);
}

Result<std::unique_ptr<KvCache>> KvCache::create(const Config& config, int context_tokens, KvType type) {
  const size_t size = bytes(config, context_tokens, type);
  HEDGE_TRY_SET(uint8_t * memory, os::reserve_memory(size));
  return std::unique_ptr<KvCache>(new KvCache(config, context_tokens, type, memory, size));
}

KvCache::KvCache(const Config& config, int context_tokens, KvType type, uint8_t* memory, size_t size)
    : context_tokens_(context_tokens),
      type_(type),
      kv_heads_(static_cast<size_t>(config.kv_heads)),
      head_dim_(static_cast<size_t>(config.head_dim)),
      padded_head_dim_(padded(config)),
      unit_bytes_(unit_bytes(config, type)),
      block_bytes_(units(config) * unit_bytes_),
      memory_(memory),
      size_(size) {}

KvCache::~KvCache() { os::free_memory(memory_, size_); }

void KvCache::copy_prefix(KvCache& from, int tokens) {
  HEDGE_CHECK(from.size_ == size_ && from.type_ == type_);
  // Positions after the prefix in its last block come along; nothing reads them before they are written.
  const size_t blocks = (static_cast<size_t>(tokens) + kKvBlock - 1) / kKvBlock;
  std::memcpy(memory_, from.memory_, blocks * block_bytes_);
}

}  // namespace hedge::model
