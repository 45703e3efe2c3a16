#include "model/kv_pool.h"

#include <algorithm>
#include <string>

#include "base/bytes.h"

namespace hedge::model {
namespace {

// Free parts that keep their memory, so that a finished sequence's are not faulted in again at once.
constexpr size_t kResidentFreeMax = 8;

}  // namespace

Result<std::unique_ptr<KvPool>> KvPool::create(const KvLayout& layout, size_t bytes_max) {
  for (const KvPart part : kKvPartList) {
    if (layout.bytes_of(part) > 0) bytes_max = std::min(bytes_max, kKvPagesMax * layout.bytes_of(part));
  }
  std::unique_ptr<KvPool> pool(new KvPool(layout, bytes_max));
  for (const KvPart part : kKvPartList) {
    const size_t bytes = layout.bytes_of(part);
    if (bytes == 0) continue;
    Arena& arena = pool->arena(part);
    // Whole cache lines, as kernels expect them.
    arena.stride = round_up(bytes, 64);
    arena.pages_max = bytes_max / bytes;
    if (arena.pages_max == 0) continue;
    HEDGE_TRY_SET(arena.memory, os::reserve_memory(arena.pages_max * arena.stride));
    arena.free = os::LazyArray<KvPage>(arena.pages_max);
  }
  return pool;
}

KvPool::~KvPool() {
  for (Arena& arena : arenas_) {
    if (arena.memory != nullptr) os::free_memory(arena.memory, arena.pages_max * arena.stride);
  }
}

KvPage KvPool::take(KvPart part) {
  Arena& from = arena(part);
  const size_t bytes = layout_.bytes_of(part);
  if (bytes_max_ - bytes_used_ < bytes) return kNoPage;
  KvPage page;
  if (from.free_count > 0) {
    page = from.free[--from.free_count];
    if (from.resident_free > 0) --from.resident_free;
  } else if (from.fresh < from.pages_max) {
    page = static_cast<KvPage>(from.fresh++);
  } else {
    return kNoPage;
  }
  bytes_used_ += bytes;
  return page;
}

void KvPool::give(KvPart part, KvPage page) {
  Arena& to = arena(part);
  HEDGE_CHECK(page < to.fresh && to.free_count < to.fresh);
  if (to.resident_free == kResidentFreeMax) {
    // The lowest of those that have memory gives it up.
    os::discard_memory(data(part, to.free[to.free_count - kResidentFreeMax]), to.stride);
    --to.resident_free;
  }
  to.free[to.free_count++] = page;
  ++to.resident_free;
  bytes_used_ -= layout_.bytes_of(part);
}

}  // namespace hedge::model
