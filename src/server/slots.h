// How many answers may be in the making at once. More are refused rather than queued: the engine has a queue
// of its own.
#pragma once

#include <mutex>
#include <utility>

namespace hedge::server {

class Slots {
 public:
  explicit Slots(int max) : max_(max) {}

  // False when fewer than `count` are free.
  [[nodiscard]] bool try_take(int count) {
    std::lock_guard lock(mutex_);
    if (count > max_ - taken_) return false;
    taken_ += count;
    return true;
  }
  void give_back(int count) {
    std::lock_guard lock(mutex_);
    taken_ -= count;
  }
  int taken() const {
    std::lock_guard lock(mutex_);
    return taken_;
  }

 private:
  const int max_;
  mutable std::mutex mutex_;
  int taken_ = 0;
};

// One slot that is held, or none. Given back before the last bytes of an answer are sent, so that a client
// that asks again at once finds it free.
class SlotHold {
 public:
  SlotHold() = default;
  // Takes over a slot that try_take() gave.
  explicit SlotHold(Slots& slots) : slots_(&slots) {}
  SlotHold(SlotHold&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
  SlotHold& operator=(SlotHold&& other) noexcept {
    release();
    slots_ = std::exchange(other.slots_, nullptr);
    return *this;
  }
  ~SlotHold() { release(); }
  void release() {
    if (slots_ != nullptr) std::exchange(slots_, nullptr)->give_back(1);
  }

 private:
  Slots* slots_ = nullptr;
};

}  // namespace hedge::server
