#include "engine/kv_disk.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "base/bytes.h"
#include "os/file.h"

namespace hedge::engine {
namespace {

// Changes with the form of the files and with the meaning of the bytes in a page.
constexpr char kMagic[8] = {'H', 'E', 'D', 'G', 'E', 'K', 'V', '2'};
constexpr size_t kAlign = 64;
constexpr size_t kFilesMax = 1 << 16;
constexpr size_t kJobsMax = 1 << 13;
// So many pages below one prefix are looked at for the one that goes on longest like a prompt.
constexpr size_t kCandidatesMax = 16;
// The folder is listed anew after so many files: other processes add to it too.
constexpr size_t kScanEvery = 64;
// A file under its temporary name that has not changed for so long was left by a process that ended.
constexpr int64_t kLeftoverNs = 600'000'000'000;
constexpr Milliseconds kDrain{3000};
constexpr std::string_view kSuffix = ".kv";
constexpr size_t kKeyDigits = 32;
constexpr size_t kNameLength = 2 * kKeyDigits + 1 + kSuffix.size();

struct Record {
  char magic[8];
  PrefixKey fingerprint;
  uint32_t tokens;
  uint32_t from_prompt;
  uint64_t part_bytes[model::kKvParts];
  uint64_t part_checksums[model::kKvParts];
  uint64_t tokens_checksum;
  uint64_t checksum;  // of all before it
};
static_assert(sizeof(Record) == 80);

uint64_t checksum_of(const void* bytes, size_t size) { return XXH3_64bits(bytes, size); }
uint64_t own_checksum(const Record& record) { return checksum_of(&record, offsetof(Record, checksum)); }
uint64_t parts_offset(size_t tokens) { return round_up(sizeof(Record) + tokens * sizeof(int32_t), kAlign); }

bool parse_hex(std::string_view text, PrefixKey& key) {
  for (uint64_t* word : {&key.high, &key.low}) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + 16, *word, 16);
    if (error != std::errc() || end != text.data() + 16) return false;
    text.remove_prefix(16);
  }
  return true;
}

// "PARENT-KEY.kv"
bool parse_name(std::string_view name, PrefixKey& parent, PrefixKey& key) {
  return name.size() == kNameLength && name.ends_with(kSuffix) && name[kKeyDigits] == '-' &&
         parse_hex(name.substr(0, kKeyDigits), parent) && parse_hex(name.substr(kKeyDigits + 1), key);
}

// What AtomicFile calls a file before it is whole: its name, a dot and six letters.
bool is_leftover(const os::FileEntry& file, int64_t now_ns) {
  PrefixKey parent, key;
  return file.name.size() == kNameLength + 7 && parse_name(file.name.substr(0, kNameLength), parent, key) &&
         file.changed_ns < now_ns - kLeftoverNs;
}

}  // namespace

Result<PrefixKey> kv_fingerprint(const gguf::File& file, const model::KvLayout& layout, const char* level) {
  HEDGE_TRY_SET(const os::FileEntry entry, os::file_entry(file.path()));
  std::string facts(kMagic, sizeof(kMagic));
  const auto add = [&](uint64_t value) {
    facts.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  const std::span<const uint8_t> bytes = file.bytes();
  add(entry.size_bytes);
  add(static_cast<uint64_t>(entry.status_changed_ns));
  add(checksum_of(bytes.data(), file.data_offset()));
  // Tensors of another fine-tuning differ everywhere; reading all would take as long as loading them.
  constexpr size_t kSamples = 64, kSampleBytes = 1024;
  for (size_t i = 0; i < kSamples; ++i) {
    const size_t room = bytes.size() - file.data_offset();
    const size_t at = file.data_offset() + room / kSamples * i;
    add(checksum_of(bytes.data() + at, std::min(kSampleBytes, bytes.size() - at)));
  }
  add(static_cast<uint64_t>(layout.type));
  for (const uint64_t value : {layout.kv_heads, layout.head_dim, layout.unit_bytes, layout.window, kKvBlock,
                               layout.part_bytes[0], layout.part_bytes[1]})
    add(value);
  for (const model::KvLayout::Place& place : layout.layers) {
    add(place.part);
    add(place.offset_bytes);
  }
  facts += level;
  const XXH128_hash_t hash = XXH3_128bits(facts.data(), facts.size());
  return PrefixKey{hash.low64, hash.high64};
}

// A file whose beginning has been read and found right.
struct KvDisk::Head {
  std::unique_ptr<os::InputFile> file;
  Record record;
  std::vector<int32_t> tokens;
};

Result<std::unique_ptr<KvDisk>> KvDisk::open(KvDiskSetup setup) {
  HEDGE_TRY(os::make_private_dir(setup.folder));
  std::unique_ptr<KvDisk> disk(new KvDisk(std::move(setup)));
  HEDGE_TRY(disk->scan(true));
  // Says at once whether anything can be written.
  HEDGE_TRY(os::AtomicFile::create(disk->path_of({}, {}), 0600));
  disk->thread_ = std::thread([raw = disk.get()] { raw->loop(); });
  return disk;
}

KvDisk::~KvDisk() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    drain_until_ = deadline_after(kDrain);
  }
  news_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::string KvDisk::path_of(const PrefixKey& parent, const PrefixKey& key) const {
  return setup_.folder + "/" + hex(parent) + "-" + hex(key) + std::string(kSuffix);
}

// ---- the index ----

// Lists the folder anew; `trim`: removes what is too much, the least recently used first, and what was left
// unfinished.
Status KvDisk::scan(bool trim) {
  HEDGE_TRY_SET(std::vector<os::FileEntry> files, os::list_files(setup_.folder, kFilesMax));
  const int64_t now_ns = unix_time_ms() * 1'000'000;
  PrefixKey parent, key;
  std::erase_if(files, [&](const os::FileEntry& file) {
    if (trim && is_leftover(file, now_ns)) os::remove_file(setup_.folder + "/" + file.name);
    return !parse_name(file.name, parent, key);
  });
  // A page's file is longer than its parent's, which is needed to reach it: it goes first.
  std::sort(files.begin(), files.end(), [](const os::FileEntry& a, const os::FileEntry& b) {
    return a.changed_ns != b.changed_ns ? a.changed_ns < b.changed_ns : a.size_bytes > b.size_bytes;
  });
  uint64_t total = 0;
  for (const os::FileEntry& file : files) total += file.size_bytes;
  size_t first = 0;
  if (trim && (total > setup_.bytes_max || files.size() == kFilesMax)) {
    // Somewhat less than the limit, so that this is not done for every file.
    const uint64_t goal = setup_.bytes_max - setup_.bytes_max / 16;
    for (; first < files.size() && (total > goal || files.size() - first > kFilesMax / 2); ++first) {
      os::remove_file(setup_.folder + "/" + files[first].name);
      total -= files[first].size_bytes;
    }
  }
  std::lock_guard lock(mutex_);
  std::unordered_map<PrefixKey, Entry, KeyHash> old;
  old.swap(entries_);
  children_.clear();
  for (size_t i = first; i < files.size(); ++i) {
    parse_name(files[i].name, parent, key);
    Entry entry{parent, files[i].size_bytes, {}};
    if (const auto known = old.find(key); known != old.end()) entry.last = std::move(known->second.last);
    add_entry(key, std::move(entry));
  }
  stats_.bytes = total;
  return {};
}

void KvDisk::add_entry(const PrefixKey& key, Entry entry) {
  const PrefixKey parent = entry.parent;
  if (entries_.insert_or_assign(key, std::move(entry)).second) children_.emplace(parent, key);
}

void KvDisk::remove_entry(const PrefixKey& key, bool broken) {
  std::string path;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return;
    const PrefixKey parent = found->second.parent;
    path = path_of(parent, key);
    entries_.erase(found);
    const auto [begin, end] = children_.equal_range(parent);
    const auto child = std::find_if(begin, end, [&](const auto& item) { return item.second == key; });
    if (child != end) children_.erase(child);
    if (broken) ++stats_.files_rejected;
  }
  if (broken) os::remove_file(path);
}

// ---- reading ----

KvDisk::Found KvDisk::find(const PrefixKey& key, size_t tokens) const {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return {};
  const uint64_t global = parts_offset(tokens) + setup_.part_bytes[0];
  return {found->second.size_bytes >= global,
          setup_.part_bytes[1] > 0 && found->second.size_bytes == global + setup_.part_bytes[1]};
}

Result<KvDisk::Head> KvDisk::read_head(const PrefixKey& key, std::span<const int32_t> tokens, size_t block) {
  std::string path;
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return make_error(ErrorCode::kNotFound, "not in the index");
    path = path_of(found->second.parent, key);
  }
  const auto broken = [&](const char* what) {
    return make_error(ErrorCode::kCorrupt, path + ": wrong " + what);
  };
  Head head;
  HEDGE_TRY_SET(head.file, os::InputFile::open(path));
  Record& record = head.record;
  HEDGE_TRY(head.file->read_at(0, {reinterpret_cast<uint8_t*>(&record), sizeof(record)}));
  if (std::memcmp(record.magic, kMagic, sizeof(kMagic)) != 0) return broken("magic");
  if (record.checksum != own_checksum(record)) return broken("checksum of the header");
  if (!(record.fingerprint == setup_.fingerprint)) return broken("fingerprint");
  // The page of another block of the same prefix would be as wrong as one of other tokens.
  if (record.tokens < tokens.size() || record.tokens <= block * kKvBlock ||
      record.tokens > (block + 1) * kKvBlock)
    return broken("token count");
  const bool has_local = record.part_bytes[1] > 0;
  if (record.part_bytes[0] != setup_.part_bytes[0] ||
      (has_local && record.part_bytes[1] != setup_.part_bytes[1]) ||
      head.file->size_bytes() != parts_offset(record.tokens) + record.part_bytes[0] + record.part_bytes[1])
    return broken("size");
  head.tokens.resize(record.tokens);
  const size_t bytes = head.tokens.size() * sizeof(int32_t);
  HEDGE_TRY(head.file->read_at(sizeof(record), {reinterpret_cast<uint8_t*>(head.tokens.data()), bytes}));
  if (checksum_of(head.tokens.data(), bytes) != record.tokens_checksum)
    return broken("checksum of the tokens");
  if (!std::equal(tokens.begin(), tokens.end(), head.tokens.begin())) return broken("tokens");
  return head;
}

KvDisk::Partial KvDisk::find_partial(const PrefixKey& parent, std::span<const int32_t> prefix,
                                     std::span<const int32_t> next, bool needs_local) {
  std::vector<std::pair<PrefixKey, std::vector<int32_t>>> candidates;
  {
    std::lock_guard lock(mutex_);
    const auto [begin, end] = children_.equal_range(parent);
    for (auto it = begin; it != end && candidates.size() < kCandidatesMax; ++it) {
      if (const auto found = entries_.find(it->second); found != entries_.end())
        candidates.emplace_back(it->second, found->second.last);
    }
  }
  Partial best;
  for (auto& [key, last] : candidates) {
    if (last.empty()) {
      Result<Head> head = read_head(key, prefix, prefix.size() / kKvBlock);
      if (!head.ok()) {
        remove_entry(key, head.error().code == ErrorCode::kCorrupt);
        continue;
      }
      last.assign(head->tokens.begin() + static_cast<long>(prefix.size()), head->tokens.end());
      std::lock_guard lock(mutex_);
      if (const auto found = entries_.find(key); found != entries_.end()) found->second.last = last;
    }
    const size_t shared = static_cast<size_t>(
        std::mismatch(next.begin(), next.begin() + static_cast<long>(std::min(next.size(), last.size())),
                      last.begin())
            .first -
        next.begin());
    if (shared <= best.tokens || (needs_local && !find(key, prefix.size() + last.size()).local)) continue;
    best = {key, shared};
  }
  return best;
}

KvDisk::Loaded KvDisk::load(const PrefixKey& key, std::span<const int32_t> tokens, uint8_t* global,
                            uint8_t* local) {
  const auto read = [&]() -> Result<bool> {
    HEDGE_TRY_SET(const Head head, read_head(key, tokens, (tokens.size() - 1) / kKvBlock));
    uint64_t offset = parts_offset(head.record.tokens);
    uint8_t* const to[model::kKvParts] = {global, local};
    for (size_t part = 0; part < model::kKvParts; ++part) {
      const size_t size = setup_.part_bytes[part];
      if (to[part] != nullptr) {
        if (head.record.part_bytes[part] != size) return make_error(ErrorCode::kCorrupt, "a part is missing");
        HEDGE_TRY(head.file->read_at(offset, {to[part], size}));
        if (checksum_of(to[part], size) != head.record.part_checksums[part])
          return make_error(ErrorCode::kCorrupt, "wrong checksum of a part");
      }
      offset += head.record.part_bytes[part];
    }
    head.file->touch();
    return head.record.from_prompt == 1;
  };
  const Result<bool> from_prompt = read();
  if (!from_prompt.ok()) {
    remove_entry(key, from_prompt.error().code == ErrorCode::kCorrupt);
    return {};
  }
  std::lock_guard lock(mutex_);
  ++stats_.pages_read;
  return {true, *from_prompt};
}

// ---- writing ----

bool KvDisk::save(const Job& job) {
  {
    std::lock_guard lock(mutex_);
    if (failed_ || stopping_ || jobs_.size() >= kJobsMax) return false;
    jobs_.push_back(job);
  }
  news_.notify_one();
  return true;
}

bool KvDisk::used(const PrefixKey& key) {
  {
    std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return false;
    if (failed_ || used_.size() >= kJobsMax) return true;
    used_.push_back(path_of(found->second.parent, key));
  }
  news_.notify_one();
  return true;
}

void KvDisk::loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (jobs_.empty() && used_.empty()) idle_.notify_all();
    news_.wait(lock, [this] { return stopping_ || !jobs_.empty() || !used_.empty(); });
    if (!used_.empty()) {
      std::vector<std::string> paths;
      paths.swap(used_);
      writing_ = true;
      lock.unlock();
      for (const std::string& path : paths) {
        if (const auto file = os::InputFile::open(path); file.ok()) (*file)->touch();
      }
      lock.lock();
      writing_ = false;
    }
    if (stopping_ && (jobs_.empty() || SteadyClock::now() > drain_until_)) return;
    if (jobs_.empty()) continue;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    writing_ = true;
    lock.unlock();
    write_one(job);
    lock.lock();
    writing_ = false;
  }
}

void KvDisk::write_one(const Job& job) {
  uint32_t word = job.queued;
  if (!job.word->compare_exchange_strong(word, with_state(word, SaveState::kWriting))) return;  // given up
  uint64_t size_bytes = 0;
  bool failed;
  {
    std::lock_guard lock(mutex_);
    failed = failed_;
  }
  Status written = failed ? make_error(ErrorCode::kIo, "") : write_file(job, size_bytes);
  // The folder may have been deleted under us.
  if (!failed && !written.ok() && os::make_private_dir(setup_.folder).ok())
    written = write_file(job, size_bytes);
  job.word->store(with_state(job.queued, written.ok() ? SaveState::kSaved : SaveState::kUnsaved));
  job.word->notify_all();
  if (failed) return;
  if (!written.ok()) return fail(written.error());
  {
    std::lock_guard lock(mutex_);
    const auto begin = job.tokens->begin() + static_cast<long>((job.count - 1) / kKvBlock * kKvBlock);
    add_entry(job.key, {job.parent, size_bytes, {begin, job.tokens->begin() + static_cast<long>(job.count)}});
    ++stats_.pages_written;
    stats_.bytes += size_bytes;
    if (stats_.bytes <= setup_.bytes_max && ++since_scan_ < kScanEvery) return;
  }
  since_scan_ = 0;
  if (const Status scanned = scan(true); !scanned.ok() && scanned.error().code != ErrorCode::kNotFound)
    fail(scanned.error());
}

Status KvDisk::write_file(const Job& job, uint64_t& size_bytes) {
  Record record{};
  std::memcpy(record.magic, kMagic, sizeof(kMagic));
  record.fingerprint = setup_.fingerprint;
  record.tokens = static_cast<uint32_t>(job.count);
  record.from_prompt = job.from_prompt ? 1 : 0;
  for (size_t part = 0; part < model::kKvParts; ++part) {
    if (job.parts[part] == nullptr) continue;
    record.part_bytes[part] = setup_.part_bytes[part];
    record.part_checksums[part] = checksum_of(job.parts[part], setup_.part_bytes[part]);
  }
  record.tokens_checksum = checksum_of(job.tokens->data(), job.count * sizeof(int32_t));
  record.checksum = own_checksum(record);
  std::vector<uint8_t> head(parts_offset(job.count));
  std::memcpy(head.data(), &record, sizeof(record));
  std::memcpy(head.data() + sizeof(record), job.tokens->data(), job.count * sizeof(int32_t));
  HEDGE_TRY_SET(const auto file, os::AtomicFile::create(path_of(job.parent, job.key), 0600));
  HEDGE_TRY(file->write(head));
  size_bytes = head.size();
  for (size_t part = 0; part < model::kKvParts; ++part) {
    HEDGE_TRY(file->write({job.parts[part], static_cast<size_t>(record.part_bytes[part])}));
    size_bytes += record.part_bytes[part];
  }
  // A file that a crash of the machine leaves broken has no right checksum.
  return file->commit(os::AtomicFile::Durability::kRename);
}

void KvDisk::fail(const Error& error) {
  {
    std::lock_guard lock(mutex_);
    if (failed_) return;
    failed_ = true;
  }
  if (setup_.warn) setup_.warn("the KV cache is not kept on disk any more: " + error.detail);
}

KvDiskStats KvDisk::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void KvDisk::flush() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return jobs_.empty() && used_.empty() && !writing_; });
}

}  // namespace hedge::engine
