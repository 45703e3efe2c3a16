#include "cli/models/part_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

namespace hedge::cli {

namespace {
constexpr size_t kReadBytes = 1u << 20;
}

Error PartFile::io_error(const char* what) const {
  return make_error(ErrorCode::kIo, fmt::format("cannot {} '{}': {}", what, path_, std::strerror(errno)));
}

Result<std::unique_ptr<PartFile>> PartFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    return make_error(ErrorCode::kIo, fmt::format("cannot write '{}': {}", path, std::strerror(errno)));
  }
  std::unique_ptr<PartFile> part(new PartFile(path, fd));
  std::vector<char> buffer(kReadBytes);
  while (true) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0) return part->io_error("read");
    if (count == 0) break;
    part->hash_.update({buffer.data(), static_cast<size_t>(count)});
    part->bytes_ += static_cast<uint64_t>(count);
  }
  return part;
}

PartFile::~PartFile() { ::close(fd_); }

Status PartFile::restart() {
  if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) return io_error("empty");
  bytes_ = 0;
  hash_ = Sha256();
  return {};
}

Status PartFile::append(std::span<const char> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return io_error("write");
    done += static_cast<size_t>(count);
  }
  hash_.update(bytes);
  bytes_ += bytes.size();
  return {};
}

Result<std::string> PartFile::finish(uint64_t expected_bytes, const std::string& expected_sha256,
                                     const std::string& final_path) {
  const std::string sha256 = hash_.finish();
  const bool size_is_wrong = expected_bytes != 0 && bytes_ != expected_bytes;
  if (size_is_wrong || (!expected_sha256.empty() && sha256 != expected_sha256)) {
    ::unlink(path_.c_str());
    if (size_is_wrong) {
      return make_error(ErrorCode::kCorrupt, fmt::format("what came is {} bytes, expected {}; it was deleted",
                                                         bytes_, expected_bytes));
    }
    return make_error(ErrorCode::kCorrupt, fmt::format("what came has sha256 {}, expected {}; it was deleted",
                                                       sha256, expected_sha256));
  }
  if (::fsync(fd_) != 0) return io_error("sync");
  if (std::rename(path_.c_str(), final_path.c_str()) != 0) return io_error("rename");
  HEDGE_TRY(sync_folder(std::filesystem::path(final_path).parent_path().string()));
  return sha256;
}

Status sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (synced) return {};
  return make_error(ErrorCode::kIo, fmt::format("cannot sync '{}': {}", folder, std::strerror(error)));
}

}  // namespace hedge::cli
