#include "base/bytes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/result.h"

namespace hedge {
namespace {

TEST(Bytes, HalfRoundTripsEveryValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = f16_to_f32(half);
    if (std::isnan(value)) continue;
    ASSERT_EQ(f32_to_f16(value), half) << bits;
  }
}

TEST(Bytes, HalfAgreesWithTheCompilersConversion) {
  for (float value : {1.0f, 0.1f, -3.14159f, 65504.0f, 65520.0f, 1e-7f, 5.96e-8f, 2.9e-8f, 1e30f, -0.0f}) {
    const _Float16 expected = static_cast<_Float16>(value);
    uint16_t expected_bits;
    std::memcpy(&expected_bits, &expected, 2);
    EXPECT_EQ(f32_to_f16(value), expected_bits) << value;
  }
}

TEST(Bytes, CheckedArithmeticReportsOverflow) {
  EXPECT_FALSE(checked_mul(1ull << 40, 1ull << 40));
  EXPECT_FALSE(checked_add(~0ull, 1));
  EXPECT_EQ(checked_mul(3, 5), 15u);
}

Result<int> half_of(int value) {
  if (value % 2 != 0)
    return make_error(ErrorCode::kInvalidArgument, "expected an even number, got " + std::to_string(value));
  return value / 2;
}
Result<int> quarter_of(int value) {
  HEDGE_TRY_SET(const int half, half_of(value));
  return half_of(half);
}

TEST(Result, TryPassesErrorsOn) {
  EXPECT_EQ(*quarter_of(8), 2);
  EXPECT_EQ(quarter_of(6).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(quarter_of(6).error().to_text(), "invalid_argument: expected an even number, got 3");
}

}  // namespace
}  // namespace hedge
