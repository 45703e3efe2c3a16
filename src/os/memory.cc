#include "os/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

namespace hedge::os {

Result<uint8_t*> reserve_memory(size_t size_bytes) {
  void* memory =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return make_error(ErrorCode::kExhausted, "cannot reserve " + std::to_string(size_bytes) +
                                                 " bytes of address space: " + std::strerror(errno));
  }
  return static_cast<uint8_t*>(memory);
}

void free_memory(uint8_t* memory, size_t size_bytes) { munmap(memory, size_bytes); }

void prefer_large_pages(uint8_t* memory, size_t size_bytes) { madvise(memory, size_bytes, MADV_HUGEPAGE); }

void populate_view(const uint8_t* data, size_t size_bytes) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(data) + size_bytes;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ);
}

}  // namespace hedge::os
