#include "engine/slots.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace hedge::engine {
namespace {

// A tail of fewer tokens is computed again: copying a page takes about as long.
constexpr size_t kTailTokensMin = 4;
// Sequences shorter than this are not kept on disk: they are computed again in a tenth of a second.
constexpr size_t kDiskTokensMin = 256;
// Cached prefixes may take a part of the memory that is free at the start, and no more than an amount that
// holds several hundred thousand tokens of a small model.
constexpr size_t kCacheShare = 8;
constexpr size_t kCacheBytesMax = size_t{4} << 30;

size_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t limit = std::min(a.size(), b.size());
  size_t n = 0;
  while (n < limit && a[n] == b[n]) ++n;
  return n;
}

}  // namespace

size_t automatic_kv_bytes(size_t needed_bytes, size_t file_bytes, const os::MemorySizes& memory) {
  if (memory.available_bytes == 0) return needed_bytes;
  const size_t free_bytes = memory.available_bytes - std::min<size_t>(memory.available_bytes, file_bytes);
  const size_t wanted = std::max(needed_bytes, std::min(free_bytes / kCacheShare, kCacheBytesMax));
  // Where memory is short, running sequences wait for each other instead of the machine for its disk.
  return std::min(wanted, std::max(free_bytes / 2, memory.available_bytes / 4));
}

Result<std::unique_ptr<Slots>> Slots::create(const model::KvLayout& layout, Setup setup) {
  HEDGE_TRY_SET(std::unique_ptr<model::KvPool> pool, model::KvPool::create(layout, setup.bytes_max));
  const size_t count = static_cast<size_t>(setup.count), context_tokens = setup.context_tokens;
  const size_t bytes_max = setup.bytes_max;
  std::unique_ptr<Slots> slots(new Slots(std::move(pool), std::move(setup)));
  if (slots->tokens_max_ == 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "KV memory (kv_memory_mb, --kv-memory): expected at least " +
                          std::to_string(slots->bytes_of(1)) + " bytes, which hold " +
                          std::to_string(kKvBlock) + " tokens of this model; got " +
                          std::to_string(bytes_max));
  }
  slots->slots_.resize(count);
  for (Slot& slot : slots->slots_) {
    slot.cache = std::make_unique<model::KvCache>(layout, static_cast<int>(context_tokens));
    slot.blocks.reserve(layout.blocks(context_tokens));
  }
  return slots;
}

Slots::Slots(std::unique_ptr<model::KvPool> pool, Setup setup)
    : pool_(std::move(pool)),
      tree_(std::make_unique<PrefixTree>(*pool_, setup.fingerprint)),
      rows_max_(setup.rows_max),
      team_(setup.team),
      disk_(std::move(setup.disk)) {
  const size_t blocks = pool_->layout().blocks(setup.context_tokens);
  for (size_t b = blocks; b > 0 && tokens_max_ == 0; --b) {
    if (bytes_of(b * kKvBlock) <= pool_->bytes_max())
      tokens_max_ = std::min(b * kKvBlock, setup.context_tokens);
  }
  path_.reserve(blocks);
}

// ---- admission ----

bool Slots::admit(Sequence& sequence) {
  const size_t blocks_max = pool_->layout().blocks(sequence.tokens_max);
  const size_t local_max = pool_->layout().local_blocks_max(sequence.tokens_max, rows_max_);
  const std::span<const int32_t> tokens = std::span(sequence.tokens).first(sequence.reusable() + 1);
  find_path(tokens);
  if (!fits(blocks_max, local_max)) return false;
  size_t index = 0;
  while (slots_[index].sequence != nullptr) ++index;
  Slot& slot = slots_[index];
  slot.sequence = &sequence;
  slot.blocks.clear();
  slot.blocks_max = blocks_max;
  slot.local_max = local_max;
  slot.publishes = slot.from_prompt = true;
  slot.published = slot.local_begin = 0;
  if (disk_ != nullptr) restore(tokens);
  sequence.slot = static_cast<int>(index);
  sequence.computed = sequence.cached_tokens = take_over(slot, find_rest(tokens));
  hits_ += slot.blocks.size();
  note_stats();
  return true;
}

// The nodes of the whole blocks. Here and below the last of `tokens` has to run.
void Slots::find_path(std::span<const int32_t> tokens) {
  const size_t limit = tokens.size() - 1;
  path_.clear();
  NodeId node = tree_->root();
  while ((path_.size() + 1) * kKvBlock <= limit) {
    node = tree_->child(node, &tokens[path_.size() * kKvBlock]);
    if (node == kNoNode) break;
    path_.push_back(node);
  }
}

// The path, then what the block after it shares with somebody; less where local parts that the next position
// sees are gone.
Slots::Match Slots::find_rest(std::span<const int32_t> tokens) {
  Match match(path_);
  find_tail(tokens, match);
  if (local_parts_there(match.path, match.tokens)) return match;
  match = Match(path_);
  while (!local_parts_there(match.path, match.tokens)) {
    match.path = match.path.first(match.path.size() - 1);
    match.tokens -= kKvBlock;
  }
  return match;
}

void Slots::find_tail(std::span<const int32_t> tokens, Match& match) const {
  const size_t begin = match.tokens;
  const bool needs_local = pool_->layout().has_local();
  const std::span<const int32_t> next = tokens.subspan(begin, std::min(tokens.size() - 1 - begin, kKvBlock));
  const NodeId parent = match.path.empty() ? tree_->root() : match.path.back();
  const PrefixTree::Partial best = tree_->best_partial(parent, next);
  size_t found = best.tokens;
  if (best.node != kNoNode) {
    match.tail = {best.node, best.node, tree_->local(best.node)};
    match.tail_from_prompt = tree_->from_prompt(best.node);
  }
  // The last block of a running sequence is not in the tree yet.
  for (const Slot& other : slots_) {
    if (other.sequence == nullptr || other.blocks.size() <= begin / kKvBlock) continue;
    const std::span<const int32_t> theirs(other.sequence->tokens.data(), other.sequence->computed);
    const size_t shared = std::min(common_prefix(theirs, tokens), begin + next.size());
    const Block& block = other.blocks[begin / kKvBlock];
    if (shared <= begin + found || (needs_local && block.local == kNoPage)) continue;
    found = shared - begin;
    match.tail = block;
    match.tail_from_prompt = other.from_prompt;
  }
  if (disk_ != nullptr && found < next.size()) {
    const KvDisk::Partial stored =
        disk_->find_partial(tree_->key(parent), tokens.first(begin), next, needs_local);
    if (stored.tokens > found) {
      found = stored.tokens;
      match.tail_on_disk = true;
      match.tail_key = stored.key;
    }
  }
  if (found < kTailTokensMin) {
    match = Match(match.path);
    return;
  }
  match.tokens += found;
}

bool Slots::local_parts_there(std::span<const NodeId> path, size_t tokens) const {
  const model::KvLayout& layout = pool_->layout();
  if (!layout.has_local()) return true;
  if (layout.keeps_first && !path.empty() && tree_->local(path[0]) == kNoPage) return false;
  for (size_t b = layout.first_local_block(tokens); b < path.size(); ++b) {
    if (tree_->local(path[b]) == kNoPage) return false;
  }
  return true;
}

// Whether the worst case of all running sequences and of this one fits into the budget. Global parts that are
// shared count once; local ones count for each, since one that has been passed by one sequence may still be
// another's.
bool Slots::fits(size_t blocks_max, size_t local_max) const {
  size_t global = tree_->pinned(KvPart::kGlobal) + blocks_max;
  for (const NodeId node : path_) global -= tree_->is_pinned(node) ? 1 : 0;
  size_t local = local_max;
  for (const Slot& other : slots_) {
    if (other.sequence == nullptr) continue;
    // What it has and is not shared yet, and what it may still take.
    global += other.blocks_max - other.published;
    local += other.local_max;
  }
  return global * pool_->layout().bytes_of(KvPart::kGlobal) +
             local * pool_->layout().bytes_of(KvPart::kLocal) <=
         pool_->bytes_max();
}

// Continues the path with pages from disk, and brings back local parts that its end needs. The path stays
// pinned meanwhile, which the pages reserved for this sequence allow.
void Slots::restore(std::span<const int32_t> tokens) {
  const size_t had = path_.size();
  PrefixKey key = had == 0 ? tree_->key(tree_->root()) : tree_->key(path_.back());
  std::vector<PrefixKey> keys;
  for (size_t count = had; (count + 1) * kKvBlock <= tokens.size() - 1; ++count) {
    key = key_of(key, tokens.subspan(count * kKvBlock, kKvBlock));
    if (!disk_->find(key, (count + 1) * kKvBlock).global) break;
    keys.push_back(key);
  }
  const size_t end = (had + keys.size()) * kKvBlock;
  for (const NodeId node : path_) tree_->pin(node);
  size_t local_end = 0;
  for (; local_end < had; ++local_end) {
    if (!needs_local(local_end, end)) continue;
    const NodeId node = path_[local_end];
    if (tree_->local(node) == kNoPage && !restore_local(tokens.first((local_end + 1) * kKvBlock), node))
      break;
    tree_->pin_local(node);
  }
  restore_blocks(tokens, keys, end);
  for (size_t b = path_.size(); b-- > 0;) {
    if (needs_local(b, end) && (b >= had || b < local_end)) tree_->unpin_local(path_[b], false);
    tree_->unpin(path_[b]);
  }
}

// The blocks after the path, as many as can be had, become nodes of it, pinned, with the local parts that are
// needed from `position` on. The whole team reads them.
void Slots::restore_blocks(std::span<const int32_t> tokens, std::span<const PrefixKey> keys,
                           size_t position) {
  struct Reading {
    Block block;
    KvDisk::Loaded loaded;
  };
  const size_t had = path_.size();
  std::vector<Reading> readings;
  for (size_t i = 0; i < keys.size(); ++i) {
    const bool with_local = needs_local(had + i, position);
    if (with_local && !disk_->find(keys[i], (had + i + 1) * kKvBlock).local) break;
    const Block block = take_block(with_local);
    if (block.global == kNoPage) break;
    readings.push_back({block, {}});
  }
  std::atomic<size_t> end{readings.size()};  // What comes after a broken one is of no use.
  auto read = [&](os::Worker& worker) {
    for (size_t i; (i = worker.take(readings.size())) < readings.size();) {
      if (i >= end) continue;
      const Block& block = readings[i].block;
      uint8_t* const local = block.local == kNoPage ? nullptr : pool_->data(KvPart::kLocal, block.local);
      readings[i].loaded = disk_->load(keys[i], tokens.first((had + i + 1) * kKvBlock),
                                       pool_->data(KvPart::kGlobal, block.global), local);
      for (size_t before = end;
           !readings[i].loaded.ok && i < before && !end.compare_exchange_weak(before, i);) {
      }
    }
  };
  if (!readings.empty())
    team_->run([](void* self, os::Worker& worker) { (*static_cast<decltype(read)*>(self))(worker); }, &read);
  bool whole = true;
  for (size_t i = 0; i < readings.size(); ++i) {
    whole = whole && readings[i].loaded.ok;
    if (!whole) {
      give_block(readings[i].block);
      continue;
    }
    const NodeId node = tree_->insert(
        path_.empty() ? tree_->root() : path_.back(), tokens.subspan((had + i) * kKvBlock, kKvBlock),
        readings[i].block.global, readings[i].block.local, readings[i].loaded.from_prompt);
    SaveWord& word = tree_->save_word(node);
    word = with_state(word, SaveState::kSaved);
    path_.push_back(node);
  }
}

bool Slots::restore_local(std::span<const int32_t> tokens, NodeId node) {
  if (!disk_->find(tree_->key(node), tokens.size()).local) return false;
  const KvPage local = tree_->take(KvPart::kLocal);
  if (local == kNoPage) return false;
  const KvDisk::Loaded loaded =
      disk_->load(tree_->key(node), tokens, nullptr, pool_->data(KvPart::kLocal, local));
  if (!loaded.ok || loaded.from_prompt != tree_->from_prompt(node)) {
    give(KvPart::kLocal, local);
    return false;
  }
  tree_->set_local(node, local);
  return true;
}

// The tokens that the slot then holds.
size_t Slots::take_over(Slot& slot, const Match& match) {
  slot.local_begin = pool_->layout().first_local_block(match.tokens);
  for (size_t b = 0; b < match.path.size(); ++b) {
    const NodeId node = match.path[b];
    tree_->pin(node);
    const bool with_local = needs_local(b, match.tokens);
    if (with_local) tree_->pin_local(node);
    slot.from_prompt = slot.from_prompt && tree_->from_prompt(node);
    add_block(slot, {node, node, with_local ? tree_->local(node) : kNoPage});
  }
  slot.published = match.path.size();
  const bool has_tail =
      match.tail_on_disk ? read_tail(slot, match) : match.tail.global != kNoPage && copy_tail(slot, match);
  return has_tail ? match.tokens : match.path.size() * kKvBlock;
}

// The source stays pinned while memory is made for the copy; where it is the only thing that could be given
// up for that, there is none.
bool Slots::copy_tail(Slot& slot, const Match& match) {
  const Block& from = match.tail;
  const bool has_local = from.local != kNoPage;
  if (from.node != kNoNode) {
    tree_->pin(from.node);
    if (has_local) tree_->pin_local(from.node);
  }
  const Block own = take_block(has_local);
  const bool taken = own.global != kNoPage;
  if (taken) {
    copy_part(KvPart::kGlobal, from.global, own.global);
    copy_part(KvPart::kLocal, from.local, own.local);
    slot.from_prompt = slot.from_prompt && match.tail_from_prompt;
    add_block(slot, own);
  }
  if (from.node != kNoNode) {
    if (has_local) tree_->unpin_local(from.node, false);
    tree_->unpin(from.node);
  }
  return taken;
}

bool Slots::read_tail(Slot& slot, const Match& match) {
  const Block own = take_block(pool_->layout().has_local());
  if (own.global == kNoPage) return false;
  const std::span<const int32_t> tokens(slot.sequence->tokens.data(), match.tokens);
  const KvDisk::Loaded loaded =
      disk_->load(match.tail_key, tokens, pool_->data(KvPart::kGlobal, own.global),
                  own.local == kNoPage ? nullptr : pool_->data(KvPart::kLocal, own.local));
  if (!loaded.ok) {
    give_block(own);
    return false;
  }
  slot.from_prompt = slot.from_prompt && loaded.from_prompt;
  add_block(slot, own);
  return true;
}

// Both parts, or none.
Slots::Block Slots::take_block(bool with_local) {
  Block block{kNoNode, tree_->take(KvPart::kGlobal), kNoPage};
  if (block.global == kNoPage || !with_local) return block;
  block.local = tree_->take(KvPart::kLocal);
  if (block.local != kNoPage) return block;
  give(KvPart::kGlobal, block.global);
  return {kNoNode, kNoPage, kNoPage};
}

void Slots::give_block(const Block& block) {
  give(KvPart::kGlobal, block.global);
  give(KvPart::kLocal, block.local);
}

void Slots::copy_part(KvPart part, KvPage from, KvPage to) {
  if (from != kNoPage)
    std::memcpy(pool_->data(part, to), pool_->data(part, from), pool_->layout().bytes_of(part));
}

// ---- running ----

void Slots::add_block(Slot& slot, const Block& block) {
  const size_t index = slot.blocks.size();
  slot.blocks.push_back(block);
  for (const KvPart part : model::kKvPartList) {
    const KvPage page = part == KvPart::kGlobal ? block.global : block.local;
    slot.cache->set_page(part, index, page == kNoPage ? nullptr : pool_->data(part, page));
  }
}

void Slots::extend(const Sequence& sequence, size_t count) {
  Slot& s = slot(sequence);
  const size_t blocks = pool_->layout().blocks(sequence.computed + count);
  if (s.blocks.size() >= blocks) return;
  HEDGE_CHECK(blocks <= s.blocks_max);
  while (s.blocks.size() < blocks) {
    const Block block = take_block(pool_->layout().has_local());
    HEDGE_CHECK(block.global != kNoPage);
    add_block(s, block);
  }
  note_stats();
}

void Slots::advance(const Sequence& sequence, bool decoded) {
  Slot& s = slot(sequence);
  s.from_prompt = s.from_prompt && !decoded;
  while (s.publishes && (s.published + 1) * kKvBlock <= sequence.computed) s.publishes = publish(s);
  drop_passed(s, sequence.computed);
}

// Makes the next block a node. Where another sequence has computed the same meanwhile, its page takes the
// place of this one's if the bits are the same for certain; else this sequence keeps the rest to itself.
bool Slots::publish(Slot& s) {
  const size_t index = s.published;
  Block& block = s.blocks[index];
  const NodeId parent = index == 0 ? tree_->root() : s.blocks[index - 1].node;
  const std::span<const int32_t> tokens(&s.sequence->tokens[index * kKvBlock], kKvBlock);
  const NodeId there = tree_->child(parent, tokens.data());
  if (there == kNoNode) {
    block.node = tree_->insert(parent, tokens, block.global, block.local, s.from_prompt);
    ++s.published;
    return true;
  }
  if (!s.from_prompt || !tree_->from_prompt(there)) return false;
  tree_->pin(there);
  give(KvPart::kGlobal, block.global);
  if (block.local != kNoPage) {
    if (tree_->local(there) == kNoPage) {
      tree_->set_local(there, block.local);
    } else {
      give(KvPart::kLocal, block.local);
    }
    tree_->pin_local(there);
    block.local = tree_->local(there);
    s.cache->set_page(KvPart::kLocal, index, pool_->data(KvPart::kLocal, block.local));
  }
  block.node = block.global = there;
  s.cache->set_page(KvPart::kGlobal, index, pool_->data(KvPart::kGlobal, there));
  ++s.published;
  return true;
}

// Local parts that no query from `position` on sees.
void Slots::drop_passed(Slot& s, size_t position) {
  const size_t first = std::min(pool_->layout().first_local_block(position), s.blocks.size());
  for (; s.local_begin < first; ++s.local_begin) {
    Block& block = s.blocks[s.local_begin];
    if (block.local == kNoPage || needs_local(s.local_begin, position)) continue;
    if (block.node != kNoNode) {
      tree_->unpin_local(block.node, true);
    } else {
      give(KvPart::kLocal, block.local);
    }
    block.local = kNoPage;
    s.cache->set_page(KvPart::kLocal, s.local_begin, nullptr);
  }
}

void Slots::give(KvPart part, KvPage page) {
  if (page != kNoPage) pool_->give(part, page);
}

void Slots::release(Sequence& sequence) {
  Slot& s = slot(sequence);
  const size_t tail = std::min(sequence.computed - s.published * kKvBlock, kKvBlock);
  if (s.publishes && s.published < s.blocks.size() && tail > 0) {
    const NodeId parent = s.published == 0 ? tree_->root() : s.blocks[s.published - 1].node;
    const std::span<const int32_t> tokens(&sequence.tokens[s.published * kKvBlock], tail);
    Block& block = s.blocks[s.published];
    if (!tree_->covers(parent, tokens)) {
      block.node = tree_->insert(parent, tokens, block.global, block.local, s.from_prompt);
      ++s.published;
    }
  }
  if (disk_ != nullptr && sequence.computed >= kDiskTokensMin) save(s);
  for (size_t b = s.blocks.size(); b-- > 0;) {
    const Block& block = s.blocks[b];
    if (block.node == kNoNode) {
      give_block(block);
    } else {
      if (block.local != kNoPage) tree_->unpin_local(block.node, false);
      tree_->unpin(block.node);
    }
  }
  s.blocks.clear();
  s.sequence = nullptr;
  sequence.slot = -1;
  note_stats();
}

// Asks for every node of the sequence that is not on disk (any more), the last first: what is written or used
// later is removed later, and a page is of no use without those before it.
void Slots::save(const Slot& s) {
  std::shared_ptr<const std::vector<int32_t>> tokens;
  for (size_t b = s.published; b-- > 0;) {
    const NodeId node = s.blocks[b].node;
    SaveWord& word = tree_->save_word(node);
    const uint32_t before = word.load();
    if (state_of(before) == SaveState::kSaved ? disk_->used(tree_->key(node))
                                              : state_of(before) != SaveState::kUnsaved)
      continue;
    if (tokens == nullptr) tokens = std::make_shared<const std::vector<int32_t>>(s.sequence->tokens);
    KvDisk::Job job;
    job.parent = tree_->key(tree_->parent(node));
    job.key = tree_->key(node);
    job.tokens = tokens;
    job.count = b * kKvBlock + tree_->tokens(node).size();
    job.from_prompt = tree_->from_prompt(node);
    job.parts[0] = pool_->data(KvPart::kGlobal, node);
    if (const KvPage local = tree_->local(node); local != kNoPage)
      job.parts[1] = pool_->data(KvPart::kLocal, local);
    job.word = &word;
    job.queued = with_state(before, SaveState::kQueued);
    word = job.queued;
    if (!disk_->save(job)) {
      word = before;
      return;
    }
  }
}

void Slots::note_stats() {
  stats_.bytes_used = pool_->bytes_used();
  stats_.pages_cached = tree_->node_count() - tree_->pinned(KvPart::kGlobal);
  stats_.pages_hit = hits_;
  stats_.pages_evicted = tree_->evictions();
}

bool Slots::check() const {
  size_t own_bytes = 0;
  for (const Slot& s : slots_) {
    for (const Block& block : s.blocks) {
      if (block.node != kNoNode) continue;
      own_bytes += pool_->layout().bytes_of(KvPart::kGlobal);
      if (block.local != kNoPage) own_bytes += pool_->layout().bytes_of(KvPart::kLocal);
    }
  }
  return tree_->check(own_bytes);
}

KvStats Slots::stats() const {
  return {pool_->bytes_max(), stats_.bytes_used,    stats_.pages_cached,
          stats_.pages_hit,   stats_.pages_evicted, disk_ == nullptr ? KvDiskStats{} : disk_->stats()};
}

}  // namespace hedge::engine
