// Files through POSIX calls. Every error names the path, the step and the system's own words. Stateless; any
// thread.
#include "os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "os/memory.h"

namespace hedge::os {
namespace {

// Closes on scope exit; a failed close of a file that was only read loses nothing.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

Error system_error(const std::string& step, const std::string& path, int error) {
  const bool absent = error == ENOENT || error == ENOTDIR;
  return make_error(absent ? ErrorCode::kNotFound : ErrorCode::kIo,
                    "cannot " + step + " " + path + ": " + std::generic_category().message(error));
}

int open_retrying(const char* path, int flags) {
  int fd;
  do {
    fd = ::open(path, flags | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// Devices, pipes and directories have no size to read up to; a pipe would also block the open (hence
// O_NONBLOCK).
Result<struct stat> stat_regular(const Descriptor& file, const std::string& path) {
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return system_error("stat", path, errno);
  if (S_ISDIR(info.st_mode)) return make_error(ErrorCode::kIo, path + " is a directory, expected a file");
  if (!S_ISREG(info.st_mode)) return make_error(ErrorCode::kIo, path + " is not a regular file");
  return info;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  const Descriptor file(open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK));
  if (!file.ok()) return system_error("open", path, errno);
  HEDGE_TRY_SET(const struct stat info, stat_regular(file, path));
  if (info.st_size == 0) return make_error(ErrorCode::kCorrupt, path + " is empty (0 bytes)");
  const size_t size = static_cast<size_t>(info.st_size);
  void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return system_error("map " + std::to_string(size) + " bytes of", path, errno);
  const uint8_t* const data = static_cast<const uint8_t*>(mapped);
  // Where the file is not in memory yet and its file system can, it is read into pages of 2 MB: the next
  // start maps them in a fraction of the time, and no product of a matrix runs out of TLB entries.
  prefer_large_pages(data, size);
  return std::unique_ptr<MappedFile>(new MappedFile(data, size));
}

MappedFile::~MappedFile() { ::munmap(const_cast<uint8_t*>(data_), size_); }

Result<std::string> read_file(const std::string& path, size_t limit_bytes) {
  const Descriptor file(open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK));
  if (!file.ok()) return system_error("open", path, errno);
  HEDGE_TRY_SET(const struct stat info, stat_regular(file, path));
  const auto too_large = [&](const std::string& actual) {
    return make_error(ErrorCode::kExhausted,
                      path + " has " + actual + " bytes, the limit is " + std::to_string(limit_bytes));
  };
  const size_t announced = static_cast<size_t>(info.st_size);
  if (announced > limit_bytes) return too_large(std::to_string(announced));

  // Files of /proc and /sys announce 0 or 4096 bytes whatever they hold, so the end is where read() says it
  // is.
  constexpr size_t kChunkBytes = 64 << 10;
  std::string content(announced, '\0');
  size_t size = 0;
  for (;;) {
    if (size == content.size()) content.resize(size + kChunkBytes);
    const ssize_t got = ::read(file.get(), content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size > limit_bytes) return too_large("more than " + std::to_string(limit_bytes));
  }
  content.resize(size);
  return content;
}

Result<std::unique_ptr<InputFile>> InputFile::open(const std::string& path) {
  const int fd = open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0) return system_error("open", path, errno);
  std::unique_ptr<InputFile> file(new InputFile(path, fd, 0));
  struct stat info;
  if (::fstat(fd, &info) != 0) return system_error("stat", path, errno);
  if (!S_ISREG(info.st_mode)) return make_error(ErrorCode::kIo, path + " is not a regular file");
  file->size_ = static_cast<uint64_t>(info.st_size);
  return file;
}

InputFile::~InputFile() { ::close(fd_); }

Status InputFile::read_at(uint64_t offset, std::span<uint8_t> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path_, errno);
    if (got == 0) {
      return make_error(ErrorCode::kCorrupt, path_ + " ends at " + std::to_string(offset) + ", expected " +
                                                 std::to_string(out.size()) + " bytes more");
    }
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

void InputFile::touch() const { (void)::futimens(fd_, nullptr); }

Result<std::unique_ptr<AtomicFile>> AtomicFile::create(const std::string& path, int mode) {
  std::string temporary = path + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return system_error("create a file beside", path, errno);
  std::unique_ptr<AtomicFile> file(new AtomicFile(path, temporary, fd));
  // mkostemp makes 0600; the mode is set before the name appears, so that a secret is never readable for a
  // moment.
  if (::fchmod(fd, static_cast<mode_t>(mode)) != 0) return system_error("set the mode of", temporary, errno);
  return file;
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_error("write", temporary_, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Status AtomicFile::commit(Durability durability) {
  const bool sync = durability == Durability::kSync;
  if (sync && ::fsync(fd_) != 0) return system_error("sync", temporary_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error("rename to", path_, errno);
  ::close(std::exchange(fd_, -1));  // Synced, or not meant to last: close has nothing left to report.
  if (!sync) return {};
  // The new name is durable only once the folder is. Some file systems refuse to sync a folder (EINVAL): then
  // it is as durable as they make it.
  const Descriptor folder(open_retrying(parent_of(path_).c_str(), O_RDONLY | O_DIRECTORY));
  if (folder.ok() && ::fsync(folder.get()) != 0 && errno != EINVAL) {
    return system_error("sync the folder of", path_, errno);
  }
  return {};
}

Status write_file_atomic(const std::string& path, std::string_view content, int mode) {
  HEDGE_TRY_SET(auto file, AtomicFile::create(path, mode));
  HEDGE_TRY(file->write({reinterpret_cast<const uint8_t*>(content.data()), content.size()}));
  return file->commit();
}

Status append_file(const std::string& path, std::string_view content, int mode) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, mode));
  if (!file.ok()) return system_error("open", path, errno);
  ssize_t written = 0;
  do {
    written = ::write(file.get(), content.data(), content.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) return system_error("write", path, errno);
  if (static_cast<size_t>(written) != content.size()) return system_error("write all of", path, ENOSPC);
  return {};
}

Status rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return system_error("rename", from, errno);
  return {};
}

Status make_dirs(const std::string& path) {
  if (path.empty()) return make_error(ErrorCode::kInvalidArgument, "cannot make a folder without a name");
  for (size_t end = 1; end <= path.size(); ++end) {
    if (end != path.size() && path[end] != '/') continue;
    const std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), 0755) == 0) continue;
    // Other errors than EEXIST (a read-only file system, no permission) matter only when the folder is not
    // there.
    const int error = errno;
    struct stat info;
    if (::stat(prefix.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) continue;
    return system_error("make the folder", prefix, error == EEXIST ? ENOTDIR : error);
  }
  return {};
}

Status make_private_dir(const std::string& path) {
  if (const size_t slash = path.find_last_of('/'); slash != std::string::npos && slash > 0)
    HEDGE_TRY(make_dirs(path.substr(0, slash)));
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return system_error("make the folder", path, errno);
  const Descriptor folder(open_retrying(path.c_str(), O_RDONLY | O_DIRECTORY));
  if (!folder.ok()) return system_error("open the folder", path, errno);
  if (::fchmod(folder.get(), 0700) != 0) return system_error("set the mode of", path, errno);
  return {};
}

namespace {

FileEntry entry_of(std::string name, const struct stat& info) {
  return {std::move(name), static_cast<uint64_t>(info.st_size),
          static_cast<int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec,
          static_cast<int64_t>(info.st_ctim.tv_sec) * 1'000'000'000 + info.st_ctim.tv_nsec};
}

}  // namespace

Result<std::vector<FileEntry>> list_files(const std::string& path, size_t limit) {
  DIR* const folder = ::opendir(path.c_str());
  if (folder == nullptr) return system_error("list", path, errno);
  std::vector<FileEntry> entries;
  while (const dirent* found = entries.size() < limit ? ::readdir(folder) : nullptr) {
    struct stat info;
    if (::fstatat(::dirfd(folder), found->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;  // just gone
    if (S_ISREG(info.st_mode)) entries.push_back(entry_of(found->d_name, info));
  }
  ::closedir(folder);
  return entries;
}

Result<FileEntry> file_entry(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return system_error("stat", path, errno);
  return entry_of(path, info);
}

bool remove_file(const std::string& path) { return ::unlink(path.c_str()) == 0 || errno == ENOENT; }

bool file_exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

}  // namespace hedge::os
