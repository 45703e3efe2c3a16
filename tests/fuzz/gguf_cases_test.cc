#include "tests/fuzz/gguf_cases.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "gguf/file.h"

namespace hedge::fuzz {
namespace {

class GgufCases : public testing::TestWithParam<GgufCase> {};

TEST_P(GgufCases, IsAcceptedOrRefusedWithItsReason) {
  const GgufCase& c = GetParam();
  const auto file = gguf::File::parse(c.bytes);
  if (!c.error) {
    ASSERT_TRUE(file.ok()) << file.error().to_text();
    return;
  }
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().code, *c.error);
  EXPECT_NE(file.error().detail.find(c.detail), std::string::npos)
      << "said:     " << file.error().detail << "\nexpected: " << c.detail;
}

class WholeGgufFiles : public testing::TestWithParam<GgufCase> {};

// Cut anywhere before its last needed byte, a whole file is refused.
TEST_P(WholeGgufFiles, NoPrefixIsAccepted) {
  const std::vector<uint8_t>& bytes = GetParam().bytes;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const auto file = gguf::File::parse(cut);
    if (file.ok()) {
      const auto& tensors = (*file)->tensors();
      ASSERT_FALSE(tensors.empty()) << "cut to " << size << " of " << bytes.size();
      const auto& last = tensors.back();
      EXPECT_LE(last.data + last.size_bytes, cut.data() + cut.size());  // Only padding was cut.
    }
  }
}

// The corpus on disk is what gguf_cases() makes; write_gguf_corpus renews it.
TEST_P(GgufCases, IsInTheCorpus) {
  const std::filesystem::path path =
      std::filesystem::path(HEDGE_CORPUS_DIR) / "gguf" / (GetParam().name + ".bin");
  std::ifstream stream(path, std::ios::binary);
  ASSERT_TRUE(stream) << path;
  const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(stream), {}};
  EXPECT_EQ(bytes, GetParam().bytes);
}

std::vector<GgufCase> whole_files() {
  std::vector<GgufCase> cases = gguf_cases();
  // The padding after an empty head may go: nothing follows it.
  std::erase_if(cases, [](const GgufCase& c) { return c.error || c.name == "whole_empty_padded"; });
  return cases;
}

constexpr auto kName = [](const auto& named) { return named.param.name; };
INSTANTIATE_TEST_SUITE_P(Named, GgufCases, testing::ValuesIn(gguf_cases()), kName);
INSTANTIATE_TEST_SUITE_P(Named, WholeGgufFiles, testing::ValuesIn(whole_files()), kName);

}  // namespace
}  // namespace hedge::fuzz
