// What the kernel tests share: the list of levels, memory that ends at an unreadable page.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/rng.h"
#include "kernels/dispatch.h"
#include "kernels/test_activations.h"
#include "quant/type.h"

namespace hedge::kernels::testing {

inline std::vector<std::string> level_names() {
  std::vector<std::string> names;
  for (const Level& level : levels()) names.emplace_back(level.name);
  return names;
}

// Runs once per level; a level that this CPU cannot run is skipped with a message.
class LevelTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (const Level& level : levels()) {
      if (level.name != GetParam()) continue;
      if (!level.usable) GTEST_SKIP() << "this CPU cannot run the kernel level " << level.name;
      table_ = level.table;
    }
    ASSERT_NE(table_, nullptr);
  }
  const Table& table() const { return *table_; }

 private:
  const Table* table_ = nullptr;
};

inline std::string level_test_name(const ::testing::TestParamInfo<std::string>& info) { return info.param; }

// Readable memory between two pages that are not: its last byte lies right before an unreadable page (or its
// first right after one), so that any read beyond it ends the test program.
class GuardedBytes {
 public:
  enum class Side { kEnd, kStart };
  explicit GuardedBytes(size_t size, Side side = Side::kEnd) : size_(size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inner = round_up(size + 1, page);
    mapped_ = inner + 2 * page;
    void* memory = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HEDGE_CHECK(memory != MAP_FAILED);
    base_ = static_cast<uint8_t*>(memory);
    HEDGE_CHECK(mprotect(base_ + page, inner, PROT_READ | PROT_WRITE) == 0);
    data_ = side == Side::kEnd ? base_ + page + inner - size : base_ + page;
  }
  ~GuardedBytes() { munmap(base_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  uint8_t* data() { return data_; }
  size_t size() const { return size_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }

 private:
  size_t size_;
  size_t mapped_;
  uint8_t* base_;
  uint8_t* data_;
};

// Standard normal by Box and Muller.
inline float normal(Rng& rng) {
  const double u = 1.0 - rng.uniform();
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * rng.uniform()));
}

}  // namespace hedge::kernels::testing
