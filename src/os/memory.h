// Anonymous memory: address space first, pages when they are touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/result.h"

namespace hedge::os {

Result<uint8_t*> reserve_memory(size_t size_bytes);
void free_memory(uint8_t* memory, size_t size_bytes);
// Asks for large pages where the system has them for this memory, reserved or a file view. Best effort.
void prefer_large_pages(const uint8_t* memory, size_t size_bytes);

// Maps the pages of a file view; returns when done. Best effort.
void map_view(const uint8_t* data, size_t size_bytes);
// Has the pages of a file view read that are not in memory, without waiting for them. Best effort.
void read_view_ahead(const uint8_t* data, size_t size_bytes);
// Gives the memory behind whole pages of the range back; they read as zeros until they are written again.
void discard_memory(uint8_t* memory, size_t size_bytes);

// A zeroed array whose pages the system gives when they are first written: a buffer sized for the largest
// batch costs a short one nothing. Fixed in size; aborts when address space runs out.
template <typename T>
class LazyArray {
 public:
  LazyArray() = default;
  explicit LazyArray(size_t size) : size_(size) {
    if (size == 0) return;
    Result<uint8_t*> memory = reserve_memory(size * sizeof(T));
    HEDGE_CHECK(memory.ok());
    data_ = reinterpret_cast<T*>(*memory);
  }
  ~LazyArray() {
    if (data_ != nullptr) free_memory(reinterpret_cast<uint8_t*>(data_), size_ * sizeof(T));
  }
  LazyArray(LazyArray&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr;
    other.size_ = 0;
  }
  LazyArray& operator=(LazyArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace hedge::os
