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
namespace {

uintptr_t page_of(const uint8_t* data) {
  static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  return reinterpret_cast<uintptr_t>(data) / page * page;
}

void advise(const uint8_t* data, size_t size_bytes, int advice) {
  const uintptr_t begin = page_of(data);
  const uintptr_t end = reinterpret_cast<uintptr_t>(data) + size_bytes;
  madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

bool in_memory(const uint8_t* data) {
  unsigned char resident = 0;
  return mincore(reinterpret_cast<void*>(page_of(data)), 1, &resident) == 0 && (resident & 1) != 0;
}

}  // namespace

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

void prefer_large_pages(const uint8_t* memory, size_t size_bytes) {
  advise(memory, size_bytes, MADV_HUGEPAGE);
}

void map_view(const uint8_t* data, size_t size_bytes) { advise(data, size_bytes, MADV_POPULATE_READ); }

void read_view_ahead(const uint8_t* data, size_t size_bytes) {
  // The advice looks up every page, 0.2 ms for a megabyte; what stands in memory at both ends is taken to be
  // there.
  if (size_bytes == 0 || (in_memory(data) && in_memory(data + size_bytes - 1))) return;
  advise(data, size_bytes, MADV_WILLNEED);
}

void discard_memory(uint8_t* memory, size_t size_bytes) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + size_bytes) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace hedge::os
