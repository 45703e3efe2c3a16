// What the engine allocates for one generated token. The forward pass and the sampler allocate nothing; what
// is left is the event that carries the token to its consumer (the Delta's list of one token, the queue's
// memory, strings longer than fit into a std::string itself).
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "engine/test_util.h"

namespace {
std::atomic<long> allocations{0};

void* counted(size_t size, size_t alignment) {
  allocations.fetch_add(1);
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(size == 0 ? 1 : size)
                     : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}
}  // namespace

void* operator new(size_t size) { return counted(size, 1); }
void* operator new[](size_t size) { return counted(size, 1); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return counted(size, 1); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return counted(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace hedge::engine {
namespace {

TEST(Allocation, ATokenCostsItsEventAndNoMore) {
  const TinyFile file{model::TinyModel(engine_spec())};
  const auto engine = load_engine(file, one_thread());
  // The difference of a long and a short answer leaves out what a request costs once. The consumer only
  // counts.
  const auto allocations_of = [&](int tokens) {
    const long before = allocations.load();
    const auto stream = start(*engine, greedy("hello", tokens));
    while (!std::holds_alternative<chat::Done>(stream->next(patience()).value())) {
    }
    return allocations.load() - before;
  };
  allocations_of(200);
  const double each = static_cast<double>(allocations_of(200) - allocations_of(100)) / 100;
  RecordProperty("allocations_per_token", std::to_string(each));
  EXPECT_GE(each, 1);  // The list in the Delta at least, or nothing was counted.
  EXPECT_LE(each, 4);
}

}  // namespace
}  // namespace hedge::engine
