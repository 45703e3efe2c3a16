#include "os/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace hedge::os {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "hedge_os_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  std::string folder_;
};

TEST_F(FileTest, MapsWhatWasWritten) {
  const std::string content("abc\0def", 7);
  ASSERT_TRUE(write_file_atomic(path("a"), content).ok());
  auto mapped = MappedFile::open(path("a"));
  ASSERT_TRUE(mapped.ok());
  const auto bytes = (*mapped)->bytes();
  EXPECT_EQ(std::string(bytes.begin(), bytes.end()), content);
}

TEST_F(FileTest, OpenErrorsSayWhatIsWrong) {
  auto absent = MappedFile::open(path("absent"));
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_NE(absent.error().detail.find(path("absent")), std::string::npos);

  auto folder = MappedFile::open(folder_);
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().code, ErrorCode::kIo);
  EXPECT_NE(folder.error().detail.find("is a directory"), std::string::npos);

  ASSERT_TRUE(write_file_atomic(path("empty"), "").ok());
  auto empty = MappedFile::open(path("empty"));
  ASSERT_FALSE(empty.ok());
  EXPECT_EQ(empty.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(empty.error().detail.find("0 bytes"), std::string::npos);

  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  auto pipe = MappedFile::open(path("pipe"));  // Must not wait for a writer.
  ASSERT_FALSE(pipe.ok());
  EXPECT_NE(pipe.error().detail.find("not a regular file"), std::string::npos);
}

TEST_F(FileTest, OpenWithoutPermission) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read every file";
  ASSERT_TRUE(write_file_atomic(path("closed"), "x", 0).ok());
  auto closed = MappedFile::open(path("closed"));
  ASSERT_FALSE(closed.ok());
  EXPECT_EQ(closed.error().code, ErrorCode::kIo);
  EXPECT_NE(closed.error().detail.find("ermission denied"), std::string::npos);
}

TEST_F(FileTest, ReadFileHoldsItsLimit) {
  ASSERT_TRUE(write_file_atomic(path("ten"), "0123456789").ok());
  auto whole = read_file(path("ten"), 10);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(*whole, "0123456789");
  auto over = read_file(path("ten"), 9);
  ASSERT_FALSE(over.ok());
  EXPECT_EQ(over.error().code, ErrorCode::kExhausted);
  EXPECT_NE(over.error().detail.find("has 10 bytes, the limit is 9"), std::string::npos);
}

TEST_F(FileTest, ReadFileReadsFilesThatAnnounceNoSize) {
  auto status = read_file("/proc/self/status", 1 << 20);
  ASSERT_TRUE(status.ok());
  EXPECT_NE(status->find("VmRSS"), std::string::npos);
  EXPECT_EQ(read_file("/proc/self/status", 10).error().code, ErrorCode::kExhausted);
}

TEST_F(FileTest, AtomicWriteReplacesAndLeavesNothingBehind) {
  ASSERT_TRUE(write_file_atomic(path("f"), "old", 0600).ok());
  ASSERT_TRUE(write_file_atomic(path("f"), "new", 0640).ok());
  EXPECT_EQ(*read_file(path("f"), 100), "new");
  struct stat info;
  ASSERT_EQ(::stat(path("f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_EQ(entries(), 1u);

  // The rename fails: a folder stands at the target.
  ASSERT_TRUE(make_dirs(path("folder/inside")).ok());
  EXPECT_FALSE(write_file_atomic(path("folder"), "x").ok());
  EXPECT_EQ(entries(), 2u);
  EXPECT_EQ(write_file_atomic(path("no/such/f"), "x").error().code, ErrorCode::kNotFound);
}

TEST_F(FileTest, AtomicFileWithoutCommitLeavesTheOldContent) {
  ASSERT_TRUE(write_file_atomic(path("f"), "old").ok());
  {
    auto file = AtomicFile::create(path("f"));
    ASSERT_TRUE(file.ok());
    const uint8_t bytes[] = {'n', 'e', 'w'};
    ASSERT_TRUE((*file)->write(bytes).ok());
    EXPECT_EQ(*read_file(path("f"), 100), "old");
  }
  EXPECT_EQ(*read_file(path("f"), 100), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, AppendsAndRenames) {
  ASSERT_TRUE(append_file(path("log"), "one\n", 0600).ok());
  ASSERT_TRUE(append_file(path("log"), "two\n", 0600).ok());
  EXPECT_EQ(*read_file(path("log"), 100), "one\ntwo\n");
  ASSERT_TRUE(rename_file(path("log"), path("log.1")).ok());
  EXPECT_FALSE(file_exists(path("log")));
  EXPECT_EQ(*read_file(path("log.1"), 100), "one\ntwo\n");
  EXPECT_FALSE(rename_file(path("log"), path("log.1")).ok());
  EXPECT_FALSE(append_file(folder_ + "/no/such", "x").ok());
}

TEST_F(FileTest, MakeDirs) {
  EXPECT_TRUE(make_dirs(path("a/b/c")).ok());
  EXPECT_TRUE(make_dirs(path("a/b/c")).ok());
  EXPECT_TRUE(make_dirs(path("a/b//d/")).ok());
  EXPECT_TRUE(file_exists(path("a/b/d")));
  EXPECT_TRUE(make_dirs("/").ok());
  EXPECT_FALSE(make_dirs("").ok());
  ASSERT_TRUE(write_file_atomic(path("file"), "x").ok());
  EXPECT_FALSE(make_dirs(path("file/sub")).ok());
  EXPECT_FALSE(make_dirs(path("file")).ok());
}

}  // namespace
}  // namespace hedge::os
