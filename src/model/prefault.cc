#include "model/prefault.h"

#include <algorithm>

#include "os/memory.h"

namespace hedge::model {
namespace {

// Mapping holds the lock that any other change of the address space waits for, a thread's stack included: 256
// pages take about 0.1 ms.
constexpr size_t kPieceBytes = 1 << 20;

std::vector<std::span<const uint8_t>> in_order_of_use(const Weights& weights) {
  std::vector<std::span<const uint8_t>> views;
  const auto add = [&](const Matrix& matrix) {
    if (matrix.present()) views.emplace_back(matrix.data, matrix.rows * matrix.row_bytes);
  };
  // Of the embedding only the prompt's rows are read, unless it is the head too.
  for (const Layer& layer : weights.layers) {
    for (const Matrix* matrix :
         {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down}) {
      add(*matrix);
    }
  }
  add(weights.head);
  return views;
}

}  // namespace

Prefault::Prefault(const Weights& weights) : views_(in_order_of_use(weights)), thread_([this] { run(); }) {}

Prefault::~Prefault() {
  stage_.store(Stage::kEnd, std::memory_order_relaxed);
  thread_.join();
}

void Prefault::run() {
  for (std::span<const uint8_t> view : views_) {
    while (!view.empty()) {
      const std::span<const uint8_t> piece = view.first(std::min(kPieceBytes, view.size()));
      view = view.subspan(piece.size());
      switch (stage_.load(std::memory_order_relaxed)) {
        case Stage::kMap:
          os::map_view(piece.data(), piece.size());
          break;
        case Stage::kReadAhead:
          os::read_view_ahead(piece.data(), piece.size());
          break;
        case Stage::kEnd:
          return;
      }
    }
  }
}

}  // namespace hedge::model
