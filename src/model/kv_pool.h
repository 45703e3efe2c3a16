// The memory of all KV caches of an engine: page parts (kv_cache.h) from one budget of bytes, whichever part
// asks. Address space is reserved once; the system gives memory when a part is first written, and gets it
// back when more than a few lie free. Taking and giving allocate nothing. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "model/kv_cache.h"
#include "os/memory.h"

namespace hedge::model {

using KvPage = uint32_t;  // the index of a part of its kind
inline constexpr KvPage kNoPage = UINT32_MAX;
// Bounds the tables over all pages: tiny models would have millions.
inline constexpr size_t kKvPagesMax = 1 << 20;

class KvPool {
 public:
  static Result<std::unique_ptr<KvPool>> create(const KvLayout& layout, size_t bytes_max);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  const KvLayout& layout() const { return layout_; }
  // kNoPage when the budget is used up. What the part holds is finite, and else anything.
  KvPage take(KvPart part);
  void give(KvPart part, KvPage page);
  uint8_t* data(KvPart part, KvPage page) {
    return arena(part).memory + static_cast<size_t>(page) * arena(part).stride;
  }

  size_t bytes_max() const { return bytes_max_; }
  size_t bytes_used() const { return bytes_used_; }
  size_t pages_max(KvPart part) const { return arenas_[static_cast<size_t>(part)].pages_max; }

 private:
  struct Arena {
    uint8_t* memory = nullptr;
    os::LazyArray<KvPage> free;  // a stack
    size_t stride = 0;
    size_t pages_max = 0;
    size_t free_count = 0;
    size_t resident_free = 0;  // of the stack's top, those that still have their memory
    size_t fresh = 0;          // the first page that was never taken
  };

  KvPool(const KvLayout& layout, size_t bytes_max) : layout_(layout), bytes_max_(bytes_max) {}
  Arena& arena(KvPart part) { return arenas_[static_cast<size_t>(part)]; }

  const KvLayout layout_;
  const size_t bytes_max_;
  size_t bytes_used_ = 0;
  Arena arenas_[kKvParts];
};

}  // namespace hedge::model
