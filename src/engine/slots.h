// Which pages of the KV cache each running sequence has: taken over from the prefix tree when it is admitted,
// taken anew as it grows, shared with everybody as soon as they are full, given up at its end.
//
// A sequence is admitted only when all pages that it may come to need fit beside those that the others may
// come to need: once it runs, it never lacks one. The engine thread's own, but for stats().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/kv_disk.h"
#include "engine/prefix_tree.h"
#include "engine/sequence.h"
#include "model/kv_cache.h"
#include "os/cpu.h"
#include "os/team.h"

namespace hedge::engine {

// The budget of all KV caches when none is configured. needed_bytes: of as many whole contexts as there are
// slots. file_bytes: of the model, whose pages have to stay in memory too.
size_t automatic_kv_bytes(size_t needed_bytes, size_t file_bytes, const os::MemorySizes& memory);

struct KvStats {
  size_t bytes_max = 0;
  size_t bytes_used = 0;
  size_t pages_cached = 0;  // that no running sequence uses
  uint64_t pages_hit = 0;
  uint64_t pages_evicted = 0;
  KvDiskStats disk;
};

class Slots {
 public:
  struct Setup {
    size_t bytes_max = 0;
    int count = 0;
    size_t context_tokens = 0;
    size_t rows_max = 0;           // most positions of one sequence per step
    std::unique_ptr<KvDisk> disk;  // null: no disk tier
    PrefixKey fingerprint;         // of its files
    os::Team* team = nullptr;      // reads them; not null where there is a disk tier
  };
  static Result<std::unique_ptr<Slots>> create(const model::KvLayout& layout, Setup setup);

  // The longest sequence, prompt and answer, that the budget can hold at all.
  size_t tokens_max() const { return tokens_max_; }
  size_t bytes_of(size_t tokens) const { return pool_->layout().bytes(tokens, rows_max_); }

  // Gives the sequence a slot with the longest prefix that is there, and sets its slot, computed and
  // cached_tokens. False, and nothing has changed, while the others need the memory. REQUIRES: a free slot.
  bool admit(Sequence& sequence);
  model::KvCache* cache(const Sequence& sequence) { return slot(sequence).cache.get(); }
  // Before a step: pages for the positions [computed, computed + count).
  void extend(const Sequence& sequence, size_t count);
  // After it, `computed` being moved on: full pages become everybody's.
  void advance(const Sequence& sequence, bool decoded);
  void release(Sequence& sequence);

  KvStats stats() const;  // any thread
  KvDisk* disk() const { return disk_.get(); }
  // Counts everything anew and compares; for tests.
  bool check() const;

 private:
  struct Block {
    NodeId node;  // kNoNode: the pages are the slot's own
    KvPage global, local;
  };
  struct Slot {
    std::unique_ptr<model::KvCache> cache;
    const Sequence* sequence = nullptr;  // null: free
    std::vector<Block> blocks;           // reserved for the whole context
    size_t published = 0;                // leading blocks that are nodes
    size_t local_begin = 0;  // the first block that may have a local part, but for one that all queries see
    size_t blocks_max = 0, local_max = 0;
    bool publishes = false;
    bool from_prompt = false;
  };
  // What is there of a new sequence's prefix.
  struct Match {
    explicit Match(std::span<const NodeId> nodes) : path(nodes), tokens(nodes.size() * kKvBlock) {}
    std::span<const NodeId> path;
    size_t tokens;                          // of the path, and of the block after it
    Block tail{kNoNode, kNoPage, kNoPage};  // where the tokens after the path are copied from
    bool tail_from_prompt = false;
    bool tail_on_disk = false;  // or are read from
    PrefixKey tail_key;
  };

  Slots(std::unique_ptr<model::KvPool> pool, Setup setup);
  Slot& slot(const Sequence& sequence) { return slots_[static_cast<size_t>(sequence.slot)]; }
  void find_path(std::span<const int32_t> tokens);
  Match find_rest(std::span<const int32_t> tokens);
  void find_tail(std::span<const int32_t> tokens, Match& match) const;
  // Whether a query at `position` or later reads the local part of `block`.
  bool needs_local(size_t block, size_t position) const {
    return pool_->layout().has_local() && pool_->layout().sees_local(block, position);
  }
  bool local_parts_there(std::span<const NodeId> path, size_t tokens) const;
  bool fits(size_t blocks_max, size_t local_max) const;
  void restore(std::span<const int32_t> tokens);
  void restore_blocks(std::span<const int32_t> tokens, std::span<const PrefixKey> keys, size_t position);
  bool restore_local(std::span<const int32_t> tokens, NodeId node);
  size_t take_over(Slot& slot, const Match& match);
  bool copy_tail(Slot& slot, const Match& match);
  bool read_tail(Slot& slot, const Match& match);
  Block take_block(bool with_local);
  void give_block(const Block& block);
  void save(const Slot& slot);
  void copy_part(KvPart part, KvPage from, KvPage to);
  void add_block(Slot& slot, const Block& block);
  void drop_passed(Slot& slot, size_t position);
  bool publish(Slot& slot);
  void give(KvPart part, KvPage page);
  void note_stats();

  const std::unique_ptr<model::KvPool> pool_;
  const std::unique_ptr<PrefixTree> tree_;
  const size_t rows_max_;
  os::Team* const team_;
  size_t tokens_max_ = 0;
  std::vector<Slot> slots_;
  std::vector<NodeId> path_;  // of find_path()
  uint64_t hits_ = 0;
  struct {
    std::atomic<size_t> bytes_used{0}, pages_cached{0};
    std::atomic<uint64_t> pages_hit{0}, pages_evicted{0};
  } stats_;
  const std::unique_ptr<KvDisk> disk_;  // ends first: it reads the pool's pages
};

}  // namespace hedge::engine
