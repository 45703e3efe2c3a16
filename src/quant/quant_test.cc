// Every type against the numpy implementation of the Python package gguf (tests/golden/quant), bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "quant/type.h"

namespace hedge::quant {
namespace {

std::vector<Type> all_types() {
  return {
#define HEDGE_QUANT_TYPE(enumerator, gguf_id, name, block, values, suffix) Type::enumerator,
#include "quant/type_list.inc"
#undef HEDGE_QUANT_TYPE
  };
}

struct GoldenBlock {
  std::vector<uint8_t> bytes;
  std::vector<float> values;
};

std::vector<GoldenBlock> read_golden(const std::string& operation, std::string_view type_name) {
  std::string name(type_name);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  std::ifstream file(std::string(HEDGE_GOLDEN_DIR) + "/" + operation + "_" + name + ".txt");
  std::vector<GoldenBlock> golden;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    GoldenBlock block;
    size_t at = 0;
    for (; line[at] != ' '; at += 2)
      block.bytes.push_back(static_cast<uint8_t>(std::stoul(line.substr(at, 2), nullptr, 16)));
    std::istringstream values(line.substr(at + 3));
    for (std::string value; values >> value;) block.values.push_back(std::strtof(value.c_str(), nullptr));
    golden.push_back(block);
  }
  return golden;
}

class EveryType : public testing::TestWithParam<Type> {};

TEST_P(EveryType, DecodesAsTheGoldenSays) {
  const TypeInfo& type = info(GetParam());
  const auto golden = read_golden("dequantize", type.name);
  ASSERT_FALSE(golden.empty());
  // All blocks in one call, one byte off every alignment.
  std::vector<uint8_t> bytes(1);
  std::vector<float> expected;
  for (const GoldenBlock& block : golden) {
    ASSERT_EQ(block.bytes.size(), type.block_bytes);
    ASSERT_EQ(block.values.size(), type.block_values);
    bytes.insert(bytes.end(), block.bytes.begin(), block.bytes.end());
    expected.insert(expected.end(), block.values.begin(), block.values.end());
  }
  std::vector<float> actual(expected.size());
  type.dequantize(bytes.data() + 1, actual.data(), actual.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i]))
        << "value " << i << ": " << actual[i] << ", expected " << expected[i];
  }
}

TEST_P(EveryType, EncodesAsTheGoldenSays) {
  const TypeInfo& type = info(GetParam());
  if (type.quantize == nullptr) GTEST_SKIP() << type.name << " is only read";
  // F32 is a copy both ways, and so has one golden.
  const auto golden = read_golden(GetParam() == Type::kF32 ? "dequantize" : "quantize", type.name);
  ASSERT_FALSE(golden.empty());
  for (size_t b = 0; b < golden.size(); ++b) {
    std::vector<uint8_t> actual(type.block_bytes);
    type.quantize(golden[b].values.data(), actual.data(), golden[b].values.size());
    ASSERT_EQ(actual, golden[b].bytes) << "block " << b;
  }
}

// Largest error of a round trip, relative to the largest value: half a step of the coarsest grid, plus what
// the rounding of the scales adds.
double error_max(Type type) {
  switch (type) {
    case Type::kF32:
      return 0;
    case Type::kF16:
      return 0x1p-11;
    case Type::kBF16:
      return 0x1p-8;
    case Type::kQ8_0:
      return 0.5 / 127 + 1e-3;
    case Type::kQ4_0:
      return 1.0 / 8 + 1e-3;  // The grid ends at -8 and +7: a value of +8 steps is one step off.
    case Type::kQ5_0:
      return 1.0 / 16 + 1e-3;
    case Type::kQ4_1:
      return 2 * 0.5 / 15 + 2e-3;  // The range is up to twice the largest value.
    case Type::kQ5_1:
      return 2 * 0.5 / 31 + 2e-3;
    case Type::kQ4_K:
      return 0.14;
    case Type::kQ5_K:
      return 0.08;
    case Type::kQ6_K:
      return 0.06;
    case Type::kQ2_K:
    case Type::kQ3_K:
    case Type::kIQ4_NL:
    case Type::kIQ4_XS:
      break;  // only read
  }
  return 0;
}

TEST_P(EveryType, RoundTripKeepsTheErrorOfItsGrid) {
  const TypeInfo& type = info(GetParam());
  if (type.quantize == nullptr) GTEST_SKIP() << type.name << " is only read";
  Rng rng(1);
  constexpr size_t kCount = 4096;
  for (const float magnitude : {0.1f, 1.0f, 300.0f}) {
    std::vector<float> values(kCount), back(kCount);
    for (float& v : values) v = magnitude * static_cast<float>(2 * rng.uniform() - 1);
    std::vector<uint8_t> blocks(row_bytes(GetParam(), kCount));
    type.quantize(values.data(), blocks.data(), kCount);
    type.dequantize(blocks.data(), back.data(), kCount);
    for (size_t i = 0; i < kCount; ++i) {
      ASSERT_LE(std::fabs(back[i] - values[i]), error_max(GetParam()) * magnitude)
          << "value " << i << " of " << values[i];
    }
  }
}

TEST_P(EveryType, EncodesExtremesWithoutUndefinedBehaviour) {
  const TypeInfo& type = info(GetParam());
  if (type.quantize == nullptr) GTEST_SKIP() << type.name << " is only read";
  for (const float extreme : {0.0f, -0.0f, 1e-45f, -1e-40f, 1e-30f, 3e38f, -3e38f}) {
    std::vector<float> values(256, extreme);
    for (size_t i = 0; i < values.size(); i += 3) values[i] = -extreme / 2;
    std::vector<uint8_t> blocks(row_bytes(GetParam(), values.size()));
    std::vector<float> back(values.size());
    type.quantize(values.data(), blocks.data(), values.size());
    type.dequantize(blocks.data(), back.data(), back.size());
    if (extreme == 0) {
      EXPECT_TRUE(std::all_of(back.begin(), back.end(), [](float v) { return v == 0; }));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, EveryType, testing::ValuesIn(all_types()),
                         [](const auto& param) { return std::string(quant::info(param.param).name); });

TEST(Type, TableAgreesWithItself) {
  std::set<std::string_view> names;
  ASSERT_EQ(all_types().size(), kTypeCount);
  for (const Type type : all_types()) {
    const TypeInfo& t = info(type);
    EXPECT_EQ(t.type, type);
    EXPECT_EQ(type_from_gguf_id(t.gguf_id), type);
    EXPECT_EQ(gguf_type_name(t.gguf_id), t.name);
    EXPECT_TRUE(names.insert(t.name).second);
    EXPECT_EQ(row_bytes(type, 512), 512 / t.block_values * t.block_bytes);
  }
}

TEST(Type, ForeignTypesHaveNames) {
  EXPECT_FALSE(type_from_gguf_id(16).has_value());
  EXPECT_EQ(gguf_type_name(16), "IQ2_XXS");
  EXPECT_EQ(gguf_type_name(39), "MXFP4");
  EXPECT_EQ(gguf_type_name(99), "type 99");
  EXPECT_EQ(gguf_type_name(0xffffffffu), "type 4294967295");
}

}  // namespace
}  // namespace hedge::quant
