// Replaces the test program's operator new by one that counts. For one source file of a program;
// the others read the count by allocations.h.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include "tests/support/allocations.h"

namespace hedge::testing {

inline void* counted(size_t size, size_t alignment) {
  allocations.fetch_add(1);
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(size == 0 ? 1 : size)
                     : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace hedge::testing

void* operator new(size_t size) { return hedge::testing::counted(size, 1); }
void* operator new[](size_t size) { return hedge::testing::counted(size, 1); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return hedge::testing::counted(size, 1); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return hedge::testing::counted(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return hedge::testing::counted(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return hedge::testing::counted(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
