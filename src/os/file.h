// Files and mappings: the one door to the file system for the library.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

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

// A file that appears whole or not at all: written beside the target, then synced and renamed over it by
// commit(). Without commit() nothing remains. One thread at a time.
class AtomicFile {
 public:
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path, int mode = 0644);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  Status write(std::span<const uint8_t> bytes);
  // At most once, and nothing is written after it.
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  std::string path_, temporary_;
  int fd_;  // -1 once committed
};

// Readers see the old content or the new, never half.
Status write_file_atomic(const std::string& path, std::string_view content, int mode = 0644);
Status make_dirs(const std::string& path);
bool file_exists(const std::string& path);

}  // namespace hedge::os
