// The pages of all sequences, past and present, as a tree: a node is a page with the tokens of its positions,
// below the node of the tokens before it. Running sequences pin the nodes that they use; what nobody pins
// stays until its memory is needed. A node of fewer than kKvBlock tokens is a leaf: the end of a sequence,
// from which others copy. A node's index is that of its global part in the pool.
//
// Order of giving up: local parts that running sequences have passed; then the least recently used nodes,
// children before their parents; then other local parts. A node that is being written to disk waits.
//
// Allocates at construction only. One thread, but for the save words.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "model/kv_pool.h"

namespace hedge::engine {

using model::kKvBlock;
using model::kNoPage;
using model::KvPage;
using model::KvPart;

using NodeId = uint32_t;
inline constexpr NodeId kNoNode = UINT32_MAX;

// Names the tokens from the beginning to the end of a node, for tables. Never trusted without the tokens.
struct PrefixKey {
  uint64_t low = 0, high = 0;
  bool operator==(const PrefixKey&) const = default;
};
PrefixKey key_of(const PrefixKey& parent, std::span<const int32_t> tokens);
// 32 digits.
std::string hex(const PrefixKey& key);

// What the disk tier knows of a node: a state, and above it a generation that changes when the node does.
enum class SaveState : uint32_t { kUnsaved, kQueued, kWriting, kSaved };
using SaveWord = std::atomic<uint32_t>;
inline constexpr uint32_t kSaveStates = 4;
inline SaveState state_of(uint32_t word) { return static_cast<SaveState>(word % kSaveStates); }
inline uint32_t with_state(uint32_t word, SaveState state) {
  return word / kSaveStates * kSaveStates + static_cast<uint32_t>(state);
}

class PrefixTree {
 public:
  PrefixTree(model::KvPool& pool, const PrefixKey& root_key);

  NodeId root() const { return static_cast<NodeId>(pool_.pages_max(KvPart::kGlobal)); }
  // The child with exactly these kKvBlock tokens, or kNoNode.
  NodeId child(NodeId parent, const int32_t* tokens) const;
  // The child that shares the longest beginning with `next`; kNoNode and 0 when none does.
  struct Partial {
    NodeId node = kNoNode;
    size_t tokens = 0;
  };
  Partial best_partial(NodeId parent, std::span<const int32_t> next) const;

  const PrefixKey& key(NodeId node) const { return nodes_[node].key; }
  NodeId parent(NodeId node) const { return nodes_[node].parent; }
  bool from_prompt(NodeId node) const { return nodes_[node].from_prompt; }
  KvPage local(NodeId node) const { return nodes_[node].local; }
  std::span<const int32_t> tokens(NodeId node) const { return {nodes_[node].tokens, nodes_[node].count}; }
  SaveWord& save_word(NodeId node) { return nodes_[node].save; }

  // Adds a node, pinned once (its local part too), and takes the pages over. REQUIRES: no child has the same
  // tokens. from_prompt: a prefill computed it and all before it, so that its bits depend on the tokens
  // alone.
  NodeId insert(NodeId parent, std::span<const int32_t> tokens, KvPage global, KvPage local,
                bool from_prompt);
  // Whether a child holds all of these tokens already; it then counts as just used.
  bool covers(NodeId parent, std::span<const int32_t> tokens);
  // Gives a node without local part one, unpinned.
  void set_local(NodeId node, KvPage local);

  void pin(NodeId node);
  void unpin(NodeId node);  // tip first, towards the root
  void pin_local(NodeId node);
  void unpin_local(NodeId node, bool passed);

  // A part from the pool, or from what is given up for it. kNoPage when all is pinned.
  KvPage take(KvPart part);

  size_t pinned(KvPart part) const { return pinned_[static_cast<size_t>(part)]; }
  size_t node_count() const { return node_count_; }
  uint64_t evictions() const { return evictions_; }
  bool is_pinned(NodeId node) const { return nodes_[node].pins > 0; }

  // Counts everything anew and compares, the pool's bytes too, of which `others_bytes` are not the tree's;
  // for tests.
  bool check(size_t others_bytes) const;

 private:
  struct Link {
    NodeId before, after;
  };
  enum : size_t { kByNode = 0, kByLocal = 1 };  // Node::links
  struct List {
    size_t link;
    NodeId first = kNoNode, last = kNoNode;
  };
  struct Node {
    NodeId parent, first_child;
    Link siblings;
    NodeId next_in_bucket;
    Link links[2];
    List* local_list;  // where links[kByLocal] stands, or null
    KvPage local;
    uint32_t pins, local_pins;
    uint32_t count;
    bool used, from_prompt;
    SaveWord save;
    PrefixKey key;
    int32_t tokens[kKvBlock];
  };

  void append(List& list, NodeId node);
  void remove(List& list, NodeId node);
  NodeId& bucket(const PrefixKey& key) { return buckets_[key.low & (buckets_.size() - 1)]; }
  void link_child(NodeId node);
  void unlink_child(NodeId node);
  void drop_covered(NodeId parent, std::span<const int32_t> tokens);
  bool stop_saving(NodeId node);
  bool evict_node(NodeId node);
  bool evict_local(NodeId node);
  bool evict_any(NodeId& writing);

  model::KvPool& pool_;
  os::LazyArray<Node> nodes_;      // [pages of global parts, and the root]
  os::LazyArray<NodeId> buckets_;  // first node + 1; a power of two
  List idle_{kByNode};             // nodes that nobody pins, least recently used first
  List passed_{kByLocal};          // local parts that nobody pins
  List rest_{kByLocal};
  size_t pinned_[model::kKvParts] = {};
  size_t node_count_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace hedge::engine
