#include "cli/learned_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "os/file.h"

namespace hedge::cli {
namespace {

class LearnedFileTest : public ::testing::Test {
 protected:
  LearnedFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hedge-learned-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/" + kLearnedFile;
  }
  ~LearnedFileTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_, path_;
};

TEST_F(LearnedFileTest, VotesOutliveTheProcessAndCountOnce) {
  {
    LearnedFile file(path_);
    ASSERT_TRUE(file.vote("hd-1", 2, 1).ok());
    ASSERT_TRUE(file.vote("hd-1", 2, 1).ok());
    ASSERT_TRUE(file.vote("", 2, 1).ok());
  }
  LearnedFile file(path_);
  ASSERT_TRUE(file.load().ok());
  EXPECT_EQ(file.learned().votes()[2].count, 2);
  EXPECT_NEAR(file.bias(2, 0.5), 0.5 * 2 / 10, 1e-12);
  EXPECT_EQ(file.bias(2, 0), 0) << "learning is off";
  EXPECT_EQ(std::filesystem::status(path_).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(LearnedFileTest, WipingItIsForgetting) {
  LearnedFile file(path_);
  ASSERT_TRUE(file.vote("a", 2, 1).ok());
  ASSERT_TRUE(os::remove_file(path_));
  ASSERT_TRUE(file.load().ok());
  EXPECT_EQ(file.bias(2, 0.5), 0);
}

TEST_F(LearnedFileTest, ADamagedFileIsAnErrorAndNoBias) {
  ASSERT_TRUE(os::write_file_atomic(path_, "hedge learned 1\ncode, short\t9\t1\n").ok());
  LearnedFile file(path_);
  EXPECT_NE(file.load().error().detail.find("learned.tsv: line 2: expected"), std::string::npos);
  EXPECT_EQ(file.bias(0, 0.5), 0);
}

}  // namespace
}  // namespace hedge::cli
