#include "engine/prefix_tree.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace hedge::engine {
namespace {

size_t common(const int32_t* a, size_t a_count, std::span<const int32_t> b) {
  const size_t limit = std::min(a_count, b.size());
  size_t n = 0;
  while (n < limit && a[n] == b[n]) ++n;
  return n;
}

}  // namespace

std::string hex(const PrefixKey& key) {
  std::string text;
  for (const uint64_t word : {key.high, key.low}) {
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
  }
  return text;
}

PrefixKey key_of(const PrefixKey& parent, std::span<const int32_t> tokens) {
  HEDGE_CHECK(tokens.size() <= kKvBlock);
  struct {
    PrefixKey parent;
    int32_t tokens[kKvBlock];
  } input;
  input.parent = parent;
  std::copy(tokens.begin(), tokens.end(), input.tokens);
  const XXH128_hash_t hash = XXH3_128bits(&input, sizeof(PrefixKey) + tokens.size_bytes());
  return {hash.low64, hash.high64};
}

PrefixTree::PrefixTree(model::KvPool& pool, const PrefixKey& root_key)
    : pool_(pool),
      nodes_(pool.pages_max(KvPart::kGlobal) + 1),
      buckets_(std::bit_ceil(pool.pages_max(KvPart::kGlobal) + 1)) {
  Node& top = nodes_[root()];
  top.parent = top.first_child = top.siblings.before = top.siblings.after = kNoNode;
  top.key = root_key;
  top.used = top.from_prompt = true;
  top.local = kNoPage;
}

NodeId PrefixTree::child(NodeId parent, const int32_t* tokens) const {
  const PrefixKey key = key_of(nodes_[parent].key, {tokens, kKvBlock});
  for (NodeId at = buckets_[key.low & (buckets_.size() - 1)]; at != 0; at = nodes_[at - 1].next_in_bucket) {
    const Node& node = nodes_[at - 1];
    if (node.parent == parent && node.count == kKvBlock &&
        std::memcmp(node.tokens, tokens, sizeof(node.tokens)) == 0)
      return at - 1;
  }
  return kNoNode;
}

PrefixTree::Partial PrefixTree::best_partial(NodeId parent, std::span<const int32_t> next) const {
  Partial best;
  for (NodeId at = nodes_[parent].first_child; at != kNoNode; at = nodes_[at].siblings.after) {
    const Node& node = nodes_[at];
    if (pool_.layout().has_local() && node.local == kNoPage) continue;
    const size_t shared = common(node.tokens, node.count, next);
    if (shared > best.tokens) best = {at, shared};
  }
  return best;
}

NodeId PrefixTree::insert(NodeId parent, std::span<const int32_t> tokens, KvPage global, KvPage local,
                          bool from_prompt) {
  HEDGE_CHECK(!tokens.empty() && tokens.size() <= kKvBlock && nodes_[parent].used &&
              (parent == root() || nodes_[parent].count == kKvBlock));
  drop_covered(parent, tokens);
  Node& node = nodes_[global];
  HEDGE_CHECK(!node.used);
  node.parent = parent;
  node.first_child = kNoNode;
  node.local_list = nullptr;
  node.local = local;
  node.pins = 1;
  node.local_pins = local == kNoPage ? 0 : 1;
  node.count = static_cast<uint32_t>(tokens.size());
  node.used = true;
  node.from_prompt = from_prompt;
  node.key = key_of(nodes_[parent].key, tokens);
  std::copy(tokens.begin(), tokens.end(), node.tokens);
  link_child(global);
  ++pinned_[0];
  if (local != kNoPage) ++pinned_[1];
  ++node_count_;
  return global;
}

bool PrefixTree::covers(NodeId parent, std::span<const int32_t> tokens) {
  const Partial best = best_partial(parent, tokens);
  if (best.tokens < tokens.size()) return false;
  if (nodes_[best.node].pins == 0) {
    remove(idle_, best.node);
    append(idle_, best.node);
  }
  return true;
}

// Leaves that hold only the beginning of these tokens are of no more use.
void PrefixTree::drop_covered(NodeId parent, std::span<const int32_t> tokens) {
  for (NodeId at = nodes_[parent].first_child; at != kNoNode;) {
    const Node& node = nodes_[at];
    const NodeId next = node.siblings.after;
    if (node.count < tokens.size() && node.pins == 0 && node.local_pins == 0 &&
        common(node.tokens, node.count, tokens) == node.count)
      evict_node(at);
    at = next;
  }
}

void PrefixTree::set_local(NodeId id, KvPage local) {
  Node& node = nodes_[id];
  HEDGE_CHECK(node.used && node.local == kNoPage);
  node.local = local;
  append(rest_, id);
  node.local_list = &rest_;
}

void PrefixTree::pin(NodeId id) {
  Node& node = nodes_[id];
  if (node.pins++ > 0) return;
  remove(idle_, id);
  ++pinned_[0];
}

void PrefixTree::unpin(NodeId id) {
  Node& node = nodes_[id];
  HEDGE_CHECK(node.pins > 0);
  if (--node.pins > 0) return;
  append(idle_, id);
  --pinned_[0];
}

void PrefixTree::pin_local(NodeId id) {
  Node& node = nodes_[id];
  HEDGE_CHECK(node.local != kNoPage);
  if (node.local_pins++ > 0) return;
  remove(*node.local_list, id);
  node.local_list = nullptr;
  ++pinned_[1];
}

void PrefixTree::unpin_local(NodeId id, bool passed) {
  Node& node = nodes_[id];
  HEDGE_CHECK(node.local_pins > 0);
  if (--node.local_pins > 0) return;
  node.local_list = passed ? &passed_ : &rest_;
  append(*node.local_list, id);
  --pinned_[1];
}

KvPage PrefixTree::take(KvPart part) {
  while (true) {
    const KvPage page = pool_.take(part);
    if (page != kNoPage) return page;
    NodeId writing = kNoNode;
    if (evict_any(writing)) continue;
    if (writing == kNoNode) return kNoPage;
    // All that could go is this one page that is just being written: a matter of milliseconds.
    const uint32_t word = nodes_[writing].save.load();
    if (state_of(word) == SaveState::kWriting) nodes_[writing].save.wait(word);
  }
}

bool PrefixTree::evict_any(NodeId& writing) {
  for (List* list : {&passed_, &idle_, &rest_}) {
    for (NodeId at = list->first; at != kNoNode; at = nodes_[at].links[list->link].after) {
      if (list == &idle_ && nodes_[at].first_child != kNoNode) continue;
      if (list == &idle_ ? evict_node(at) : evict_local(at)) {
        ++evictions_;
        return true;
      }
      if (writing == kNoNode) writing = at;
    }
  }
  return false;
}

// Takes the node out of the disk tier's hands; false while it is being written.
bool PrefixTree::stop_saving(NodeId id) {
  SaveWord& save = nodes_[id].save;
  uint32_t word = save.load();
  while (state_of(word) != SaveState::kWriting) {
    const uint32_t next = (word / kSaveStates + 1) * kSaveStates;  // kUnsaved, the next generation
    if (save.compare_exchange_weak(word, next)) return true;
  }
  return false;
}

bool PrefixTree::evict_node(NodeId id) {
  Node& node = nodes_[id];
  HEDGE_CHECK(node.used && node.pins == 0 && node.local_pins == 0 && node.first_child == kNoNode);
  if (!stop_saving(id)) return false;
  remove(idle_, id);
  if (node.local != kNoPage) {
    remove(*node.local_list, id);
    pool_.give(KvPart::kLocal, node.local);
  }
  unlink_child(id);
  node.used = false;
  --node_count_;
  pool_.give(KvPart::kGlobal, id);
  return true;
}

bool PrefixTree::evict_local(NodeId id) {
  Node& node = nodes_[id];
  if (state_of(node.save.load()) != SaveState::kSaved && !stop_saving(id)) return false;
  remove(*node.local_list, id);
  node.local_list = nullptr;
  pool_.give(KvPart::kLocal, node.local);
  node.local = kNoPage;
  return true;
}

void PrefixTree::append(List& list, NodeId id) {
  Link& link = nodes_[id].links[list.link];
  link = {list.last, kNoNode};
  (list.last == kNoNode ? list.first : nodes_[list.last].links[list.link].after) = id;
  list.last = id;
}

void PrefixTree::remove(List& list, NodeId id) {
  const Link link = nodes_[id].links[list.link];
  (link.before == kNoNode ? list.first : nodes_[link.before].links[list.link].after) = link.after;
  (link.after == kNoNode ? list.last : nodes_[link.after].links[list.link].before) = link.before;
}

void PrefixTree::link_child(NodeId id) {
  Node& node = nodes_[id];
  Node& parent = nodes_[node.parent];
  node.siblings = {kNoNode, parent.first_child};
  if (parent.first_child != kNoNode) nodes_[parent.first_child].siblings.before = id;
  parent.first_child = id;
  NodeId& first = bucket(node.key);
  node.next_in_bucket = first;
  first = id + 1;
}

void PrefixTree::unlink_child(NodeId id) {
  Node& node = nodes_[id];
  const Link link = node.siblings;
  (link.before == kNoNode ? nodes_[node.parent].first_child : nodes_[link.before].siblings.after) =
      link.after;
  if (link.after != kNoNode) nodes_[link.after].siblings.before = link.before;
  NodeId* at = &bucket(node.key);
  while (*at != id + 1) at = &nodes_[*at - 1].next_in_bucket;
  *at = node.next_in_bucket;
}

bool PrefixTree::check(size_t others_bytes) const {
  size_t nodes = 0, pinned = 0, pinned_local = 0, idle = 0, locals = 0, listed = 0;
  for (NodeId id = 0; id < root(); ++id) {
    const Node& node = nodes_[id];
    if (!node.used) continue;
    ++nodes;
    if (!nodes_[node.parent].used) return false;
    // A pinned node's way to the root is pinned.
    if (node.pins > 0 && node.parent != root() && nodes_[node.parent].pins == 0) return false;
    if (node.local_pins > 0 && (node.pins == 0 || node.local == kNoPage)) return false;
    pinned += node.pins > 0;
    pinned_local += node.local_pins > 0;
    locals += node.local != kNoPage && node.local_pins == 0;
  }
  for (NodeId at = idle_.first; at != kNoNode; at = nodes_[at].links[kByNode].after) {
    // Children come before their parents.
    for (NodeId c = nodes_[at].first_child; c != kNoNode; c = nodes_[c].siblings.after) {
      for (NodeId later = at; later != kNoNode; later = nodes_[later].links[kByNode].after) {
        if (later == c) return false;
      }
    }
    ++idle;
  }
  for (const List* list : {&passed_, &rest_}) {
    for (NodeId at = list->first; at != kNoNode; at = nodes_[at].links[kByLocal].after) ++listed;
  }
  const size_t bytes = others_bytes + nodes * pool_.layout().bytes_of(KvPart::kGlobal) +
                       (locals + pinned_local) * pool_.layout().bytes_of(KvPart::kLocal);
  if (bytes != pool_.bytes_used() || bytes > pool_.bytes_max()) return false;
  return nodes == node_count_ && pinned == pinned_[0] && pinned_local == pinned_[1] &&
         idle == nodes - pinned && listed == locals;
}

}  // namespace hedge::engine
