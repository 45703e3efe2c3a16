// What survives a loss of power. A layer between SQLite and the file system remembers, for each file, its
// content at its last sync: that is all a disk has to keep. After each acknowledged change the database is
// opened from that alone.
#include <sqlite3.h>

#include <cstring>
#include <fstream>
#include <map>
#include <mutex>

#include "session/test_util.h"

namespace hedge::session {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// Files by path, as of their last sync.
struct Disk {
  std::mutex mutex;
  std::map<std::string, std::string> synced;
};
Disk disk;

struct ShimFile {
  sqlite3_file base;
  const char* path;    // SQLite keeps it until the file is closed; null for temporary files
  sqlite3_file* real;  // follows this struct
};

sqlite3_file* real_of(sqlite3_file* file) { return reinterpret_cast<ShimFile*>(file)->real; }

int shim_sync(sqlite3_file* file, int flags) {
  const int rc = real_of(file)->pMethods->xSync(real_of(file), flags);
  if (const char* path = reinterpret_cast<ShimFile*>(file)->path; rc == SQLITE_OK && path) {
    const std::lock_guard lock(disk.mutex);
    disk.synced[path] = read_file(path);
  }
  return rc;
}

// Everything but the sync goes straight through.
template <auto Method, typename... Args>
auto forward(sqlite3_file* file, Args... args) {
  return (real_of(file)->pMethods->*Method)(real_of(file), args...);
}

using Io = sqlite3_io_methods;
constexpr Io kShimMethods = {
    3,
    [](sqlite3_file* f) { return forward<&Io::xClose>(f); },
    [](sqlite3_file* f, void* to, int n, sqlite3_int64 at) { return forward<&Io::xRead>(f, to, n, at); },
    [](sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
      return forward<&Io::xWrite>(f, from, n, at);
    },
    [](sqlite3_file* f, sqlite3_int64 size) { return forward<&Io::xTruncate>(f, size); },
    shim_sync,
    [](sqlite3_file* f, sqlite3_int64* size) { return forward<&Io::xFileSize>(f, size); },
    [](sqlite3_file* f, int level) { return forward<&Io::xLock>(f, level); },
    [](sqlite3_file* f, int level) { return forward<&Io::xUnlock>(f, level); },
    [](sqlite3_file* f, int* out) { return forward<&Io::xCheckReservedLock>(f, out); },
    [](sqlite3_file* f, int op, void* arg) { return forward<&Io::xFileControl>(f, op, arg); },
    [](sqlite3_file* f) { return forward<&Io::xSectorSize>(f); },
    [](sqlite3_file* f) { return forward<&Io::xDeviceCharacteristics>(f); },
    [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
      return forward<&Io::xShmMap>(f, page, size, extend, out);
    },
    [](sqlite3_file* f, int offset, int n, int flags) { return forward<&Io::xShmLock>(f, offset, n, flags); },
    [](sqlite3_file* f) { forward<&Io::xShmBarrier>(f); },
    [](sqlite3_file* f, int remove) { return forward<&Io::xShmUnmap>(f, remove); },
    [](sqlite3_file* f, sqlite3_int64 at, int n, void** out) { return forward<&Io::xFetch>(f, at, n, out); },
    [](sqlite3_file* f, sqlite3_int64 at, void* p) { return forward<&Io::xUnfetch>(f, at, p); },
};

sqlite3_vfs* real_vfs = nullptr;

int shim_open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* shim = reinterpret_cast<ShimFile*>(file);
  shim->path = name;
  shim->real = reinterpret_cast<sqlite3_file*>(shim + 1);
  shim->base.pMethods = nullptr;  // which tells SQLite not to close it, should the open fail
  const int rc = real_vfs->xOpen(real_vfs, name, shim->real, flags, out_flags);
  if (rc == SQLITE_OK) shim->base.pMethods = &kShimMethods;
  return rc;
}

class PowerLoss : public ::testing::Test {
 protected:
  void SetUp() override {
    real_vfs = sqlite3_vfs_find(nullptr);
    ASSERT_NE(real_vfs, nullptr);
    shim_ = *real_vfs;
    shim_.zName = "hedge-power-loss";
    shim_.szOsFile = static_cast<int>(sizeof(ShimFile)) + real_vfs->szOsFile;
    shim_.xOpen = shim_open;
    ASSERT_EQ(sqlite3_vfs_register(&shim_, /*makeDflt=*/1), SQLITE_OK);
    disk.synced.clear();
  }
  void TearDown() override {
    sqlite3_vfs_unregister(&shim_);
    sqlite3_vfs_register(real_vfs, 1);
  }

  // The database as the disk has it after a loss of power now, in a folder of its own.
  std::unique_ptr<Store> after_power_loss() {
    lost_ = std::make_unique<TemporaryFolder>();
    for (const char* suffix : {"", "-wal"}) {
      const auto found = disk.synced.find(path_ + suffix);
      if (found == disk.synced.end()) continue;
      std::ofstream(lost_->file("sessions.db") + suffix, std::ios::binary) << found->second;
    }
    return open_or_die(lost_->file("sessions.db"));
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.file("sessions.db");

 private:
  std::unique_ptr<TemporaryFolder> lost_;
  sqlite3_vfs shim_{};
};

TEST_F(PowerLoss, NoAcknowledgedTurnIsLost) {
  const auto store = open_or_die(path_);
  std::vector<std::string> expected;
  // Large enough that SQLite checkpoints its log (after 1000 pages of 4 KiB) in between.
  const std::string padding(400'000, 'x');
  for (int i = 0; i < 16; ++i) {
    const std::string question = "q" + std::to_string(i);
    const std::string answer = "a" + std::to_string(i) + (i % 2 ? padding : "");
    ASSERT_OK(store->append("s", request_of({user(question)}), answer,
                            trace_of("hd-" + question, {{"local", answer.size()}})));
    expected.push_back("user:" + question);
    expected.push_back("assistant:" + answer);
    ASSERT_EQ(contents(*after_power_loss(), "s"), expected) << "after answer " << i;
  }
}

TEST_F(PowerLoss, NoPrivateMarkIsLost) {
  const auto store = open_or_die(path_);
  for (const char* session : {"a", "b", "c"}) {
    ASSERT_OK(store->mark_private(session));
    EXPECT_TRUE(after_power_loss()->is_private(session).value()) << session;
  }
}

}  // namespace
}  // namespace hedge::session
