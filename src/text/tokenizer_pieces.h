// The bytes that each token stands for. They are worked out in blocks of neighbours when one of them is first
// asked for: a process that writes a few hundred tokens should not pay for a quarter of a million at start.
// Thread-safe: a block is published once and never changes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocab.h"

namespace hedge::text {

class PieceTable {
 public:
  // Appends the bytes of a normal token's name.
  using Decode = void (*)(std::string& out, std::string_view name);

  // `vocab` must outlive the table.
  PieceTable(const Vocab& vocab, Decode decode);

  // REQUIRES: 0 <= id < vocab.size().
  std::string_view get(TokenId id, bool special) const;

 private:
  static constexpr int kBlock = 256;
  struct Block {
    uint32_t ends[kBlock] = {};
    std::string bytes;
  };

  const Block& build(size_t block_index) const;

  const Vocab& vocab_;
  const Decode decode_;
  mutable std::mutex mutex_;  // of building
  mutable std::vector<std::unique_ptr<const Block>> owned_;
  mutable std::vector<std::atomic<const Block*>> blocks_;
};

}  // namespace hedge::text
