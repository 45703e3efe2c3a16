// A model file while it is being fetched: written beside its final place and hashed as it grows. It gets its
// final name only whole, verified and synced, so that nothing half ever stands under a model's name.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "cli/models/sha256.h"

namespace hedge::cli {

class PartFile {
 public:
  // Opens or creates `path`. What an earlier try left there is kept, and hashed, for start_at().
  static Result<std::unique_ptr<PartFile>> open(const std::string& path);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  uint64_t bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

  // Drops what is there and begins anew.
  Status restart();
  // kIo with the system's reason ("No space left on device").
  Status append(std::span<const char> bytes);

  // Checks size (0: any) and hash (empty: any), syncs, and renames to `final_path`. On a wrong size or hash
  // (kCorrupt) the part is deleted. Gives the hash.
  Result<std::string> finish(uint64_t expected_bytes, const std::string& expected_sha256,
                             const std::string& final_path);

 private:
  PartFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  Error io_error(const char* what) const;

  const std::string path_;
  int fd_;
  uint64_t bytes_ = 0;
  Sha256 hash_;
};

// Makes a rename in `folder` durable.
Status sync_folder(const std::string& folder);

}  // namespace hedge::cli
