// Brings the weights into the page tables ahead of their first use, in its order, on a thread of its own.
// Start-up leaves a core idle while the tokenizer is built: that is the time to do it in.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include "model/weights.h"

namespace hedge::model {

class Prefault {
 public:
  // The file that `weights` are views of outlives it.
  explicit Prefault(const Weights& weights);
  ~Prefault();
  Prefault(const Prefault&) = delete;
  Prefault& operator=(const Prefault&) = delete;

  // From now on the cores are needed: what is still to come is asked of the disk ahead of its use, but mapped
  // by whoever uses it. Any thread.
  void make_room() { stage_.store(Stage::kReadAhead, std::memory_order_relaxed); }

 private:
  enum class Stage : uint8_t { kMap, kReadAhead, kEnd };
  void run();

  std::vector<std::span<const uint8_t>> views_;  // in order of use
  std::atomic<Stage> stage_{Stage::kMap};
  std::thread thread_;
};

}  // namespace hedge::model
