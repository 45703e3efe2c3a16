// Files and mappings: the one door to the file system for the library.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hedge::os {

// A read-only shared mapping of a whole file. Views into it live as long as this object. The file must not be
// shortened meanwhile: the system then ends the process at the next read of the lost part.
class MappedFile {
 public:
  static Result<std::unique_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  MappedFile(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  const uint8_t* data_;
  size_t size_;
};

// Whole content; kExhausted when larger than `limit_bytes`.
Result<std::string> read_file(const std::string& path, size_t limit_bytes);

// A file that is read in pieces, with the caller's memory.
class InputFile {
 public:
  static Result<std::unique_ptr<InputFile>> open(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  uint64_t size_bytes() const { return size_; }
  // All of `out`; kCorrupt where the file ends before.
  Status read_at(uint64_t offset, std::span<uint8_t> out) const;
  // Sets the time of the last change to now. Best effort.
  void touch() const;

 private:
  InputFile(std::string path, int fd, uint64_t size) : path_(std::move(path)), fd_(fd), size_(size) {}
  const std::string path_;
  const int fd_;
  uint64_t size_;
};

// A file that appears whole or not at all: written beside the target, then synced and renamed over it by
// commit(). Without commit() nothing remains. One thread at a time.
class AtomicFile {
 public:
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path, int mode = 0644);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  Status write(std::span<const uint8_t> bytes);
  // At most once, and nothing is written after it. kRename: readers see all or nothing, but a crash of the
  // machine may leave a broken file; for content with a checksum of its own.
  enum class Durability : uint8_t { kSync, kRename };
  Status commit(Durability durability = Durability::kSync);

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  std::string path_, temporary_;
  int fd_;  // -1 once committed
};

// Readers see the old content or the new, never half.
Status write_file_atomic(const std::string& path, std::string_view content, int mode = 0644);
// Adds to the end of a file, in one write, so that several processes may do so; makes it with `mode` where
// there is none. Not synced.
Status append_file(const std::string& path, std::string_view content, int mode = 0644);
Status make_dirs(const std::string& path);
// A folder for this user alone (mode 0700), made or, when it is there, set so. Its parents as make_dirs().
Status make_private_dir(const std::string& path);
bool file_exists(const std::string& path);

struct FileEntry {
  std::string name;  // within the folder
  uint64_t size_bytes = 0;
  int64_t changed_ns = 0;         // since 1970
  int64_t status_changed_ns = 0;  // likewise; unlike the time above nobody can set it
};
// Regular files of a folder, in no order, at most `limit` of them.
Result<std::vector<FileEntry>> list_files(const std::string& folder, size_t limit);
Result<FileEntry> file_entry(const std::string& path);
// Whether the file is gone afterwards.
bool remove_file(const std::string& path);
// Over what has the new name.
Status rename_file(const std::string& from, const std::string& to);

}  // namespace hedge::os
