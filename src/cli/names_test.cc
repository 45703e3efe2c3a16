#include "cli/names.h"

#include <gtest/gtest.h>

namespace hedge::cli {
namespace {

TEST(Names, FileNamesStayInTheStore) {
  for (const char* good : {"a.gguf", "Qwen2.5-0.5B_Q4_K_M+x.gguf", "1.gguf"})
    EXPECT_TRUE(valid_file_name(good)) << good;
  for (const char* bad : {"", ".gguf", "a", "a.GGUF", "../a.gguf", "a/b.gguf", ".hidden.gguf", "a b.gguf",
                          "a\n.gguf", "-.gguff"}) {
    EXPECT_FALSE(valid_file_name(bad)) << bad;
  }
  EXPECT_FALSE(valid_file_name(std::string(200, 'a') + ".gguf"));
}

TEST(Names, Sha256IsLowerCaseHex) {
  EXPECT_TRUE(valid_sha256(std::string(64, 'a')));
  EXPECT_FALSE(valid_sha256(std::string(63, 'a')));
  EXPECT_FALSE(valid_sha256(std::string(64, 'A')));
  EXPECT_FALSE(valid_sha256(std::string(64, 'g')));
}

TEST(Names, EditDistanceCountsSwapsAsOne) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("port", "port"), 0u);
  EXPECT_EQ(edit_distance("prot", "port"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ca", "abc"),
            3u);  // optimal string alignment, not Damerau's unrestricted distance (2)
}

TEST(Names, NearestSuggestsOnlyWhatMayBeMeant) {
  EXPECT_EQ(nearest("prot", {"host", "port"}), "port");
  EXPECT_EQ(nearest("contxt_tokens", {"context_tokens", "threads"}), "context_tokens");
  EXPECT_EQ(nearest("zzzzzz", {"host", "port"}), "");
}

}  // namespace
}  // namespace hedge::cli
