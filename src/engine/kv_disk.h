// The disk tier of the KV cache: pages of prefixes as files of one folder, so that a restarted engine does
// not compute them again. One file per page holds all tokens of its prefix, which are compared before its
// keys and values are used; nothing is believed without its checksum. Whatever is wrong with a file, it is
// removed, and the prefix is computed.
//
// Files appear by renaming, so that several processes may use one folder; each removes the least recently
// used files when the folder outgrows its limit. A deleted folder is made again.
//
// find and load: the engine thread. Writing and removing: a thread of this object, which sleeps while there
// is nothing to write.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/prefix_tree.h"
#include "gguf/file.h"
#include "model/kv_cache.h"

namespace hedge::engine {

// What pages depend on: the model's file (size, time of its last status change, metadata, samples of its
// tensors), how keys and values are stored, and the instruction set's arithmetic. The root key of the tree
// and so of every file's name.
Result<PrefixKey> kv_fingerprint(const gguf::File& file, const model::KvLayout& layout, const char* level);

struct KvDiskSetup {
  std::string folder;
  uint64_t bytes_max = 0;
  PrefixKey fingerprint;
  size_t part_bytes[model::kKvParts] = {};
  // Told once when the tier cannot write any more. Any thread.
  std::function<void(const std::string&)> warn;
};

struct KvDiskStats {
  uint64_t bytes = 0;  // of the folder, when last looked
  uint64_t pages_written = 0;
  uint64_t pages_read = 0;
  uint64_t files_rejected = 0;  // broken ones
};

class KvDisk {
 public:
  // Fails where the folder cannot be made or written to.
  static Result<std::unique_ptr<KvDisk>> open(KvDiskSetup setup);
  // Writes what still waits, for a few seconds at most.
  ~KvDisk();
  KvDisk(const KvDisk&) = delete;
  KvDisk& operator=(const KvDisk&) = delete;

  // Whether there is a page with this key after a prefix of so many tokens (its own included), and with it
  // the local part.
  struct Found {
    bool global = false, local = false;
  };
  Found find(const PrefixKey& key, size_t tokens) const;
  // The page below `parent` (after `prefix`) that shares the longest beginning with `next`.
  struct Partial {
    PrefixKey key;
    size_t tokens = 0;  // 0: none
  };
  Partial find_partial(const PrefixKey& parent, std::span<const int32_t> prefix,
                       std::span<const int32_t> next, bool needs_local);
  // Reads the parts that are asked for (not null) of the page whose prefix begins with `tokens` and has at
  // most kKvBlock more. False, and the file is gone, when anything about it is wrong.
  struct Loaded {
    bool ok = false;
    bool from_prompt = false;
  };
  Loaded load(const PrefixKey& key, std::span<const int32_t> tokens, uint8_t* global, uint8_t* local);

  // A page to write. `word` was set to kQueued and is `queued`; it changes when the page is given up. The
  // memory is read while it is kWriting only.
  struct Job {
    PrefixKey parent, key;
    std::shared_ptr<const std::vector<int32_t>> tokens;
    size_t count = 0;  // of the tokens, to the page's end
    bool from_prompt = false;
    const uint8_t* parts[model::kKvParts] = {};  // local: may be null
    SaveWord* word = nullptr;
    uint32_t queued = 0;
  };
  // False, and nothing changes, when too many wait.
  bool save(const Job& job);
  // The page was used in memory: its file, too, counts as used now. False: there is none any more.
  bool used(const PrefixKey& key);

  KvDiskStats stats() const;  // any thread
  // Waits until nothing is to be written; for tests.
  void flush();

 private:
  struct KeyHash {
    size_t operator()(const PrefixKey& key) const { return key.low ^ key.high; }
  };
  struct Entry {
    PrefixKey parent;
    uint64_t size_bytes = 0;
    std::vector<int32_t> last;  // tokens of the page itself, once they are known
  };
  struct Head;

  explicit KvDisk(KvDiskSetup setup) : setup_(std::move(setup)) {}
  std::string path_of(const PrefixKey& parent, const PrefixKey& key) const;
  Status scan(bool trim);
  void add_entry(const PrefixKey& key, Entry entry);
  void remove_entry(const PrefixKey& key, bool broken);
  Result<Head> read_head(const PrefixKey& key, std::span<const int32_t> tokens, size_t block);
  void loop();
  void write_one(const Job& job);
  Status write_file(const Job& job, uint64_t& size_bytes);
  void fail(const Error& error);

  const KvDiskSetup setup_;

  mutable std::mutex mutex_;
  std::condition_variable news_, idle_;
  std::unordered_map<PrefixKey, Entry, KeyHash> entries_;
  std::unordered_multimap<PrefixKey, PrefixKey, KeyHash> children_;  // by parent
  std::deque<Job> jobs_;
  std::vector<std::string> used_;  // paths whose time of use is to be renewed, in order
  bool writing_ = false, stopping_ = false, failed_ = false;
  KvDiskStats stats_;

  // The writer's own.
  size_t since_scan_ = 0;
  Deadline drain_until_ = kNoDeadline;
  std::thread thread_;
};

}  // namespace hedge::engine
