// The choice of the level: what is forced is what runs, and what cannot run is an error.
#include "kernels/dispatch.h"

#include <gtest/gtest.h>

#include "kernels/test_util.h"

namespace hedge::kernels::testing {
namespace {

class Dispatch : public LevelTest {
 protected:
  void TearDown() override {
    for (const Level& level : levels()) {
      if (!level.usable) continue;
      ASSERT_TRUE(choose(level.name).ok());  // Best first: back to what was chosen at start.
      break;
    }
  }
};

TEST_P(Dispatch, ForcingALevelActivatesIt) {
  ASSERT_TRUE(choose(GetParam()).ok());
  EXPECT_EQ(&active(), &table());
  EXPECT_EQ(std::string(active().name), GetParam());
  ASSERT_TRUE(choose("").ok());
  EXPECT_EQ(&active(), &table()) << "an empty name must keep the choice";
}

TEST_P(Dispatch, TheTableIsWhole) {
  const Table& t = table();
  EXPECT_GT(t.panel_rows, 0u);
  for (size_t i = 0; i < kTypes; ++i) {
    const bool quantised = quant::info(static_cast<quant::Type>(i)).block_values > 1;
    EXPECT_EQ(t.unpack[i] != nullptr, quantised) << i;
    if (!quantised) {
      EXPECT_EQ(t.dot_direct[i], nullptr) << i;
    }
  }
  EXPECT_TRUE(t.quantize_row && t.dot_unpacked && t.pack_panel && t.gemm_panel && t.dot_f32 && t.dot_f16 &&
              t.dot_bf16);
  EXPECT_TRUE(t.f16_to_f32 && t.f32_to_f16 && t.axpy_f16 && t.add && t.rms_norm && t.silu_mul && t.gelu_mul);
  EXPECT_TRUE(t.exp_sum && t.max_of && t.scale && t.sgemm);
}

INSTANTIATE_TEST_SUITE_P(Levels, Dispatch, ::testing::ValuesIn(level_names()), level_test_name);

TEST(DispatchErrors, AnUnknownNameIsRefusedAndTheKnownOnesAreNamed) {
  const Table* before = &active();
  const Status status = choose("sse9");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(status.error().detail.find("sse9"), std::string::npos);
  for (const Level& level : levels()) {
    EXPECT_NE(status.error().detail.find(level.name), std::string::npos) << status.error().detail;
  }
  EXPECT_EQ(&active(), before);
}

TEST(DispatchErrors, ALevelThatTheCpuLacksIsRefused) {
  const Table* before = &active();
  bool any = false;
  for (const Level& level : levels()) {
    if (level.usable) continue;
    any = true;
    const Status status = choose(level.name);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(&active(), before);
  }
  if (!any) GTEST_SKIP() << "this CPU can run every level";
}

TEST(DispatchErrors, TheBestUsableLevelIsTheFirstChoice) {
  for (const Level& level : levels()) {
    if (!level.usable) continue;
    EXPECT_EQ(&active(), level.table);
    break;
  }
  EXPECT_TRUE(levels().back().usable) << "the last level must run everywhere";
  EXPECT_EQ(levels().back().name, "scalar");
}

}  // namespace
}  // namespace hedge::kernels::testing
