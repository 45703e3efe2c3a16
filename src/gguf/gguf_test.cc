// Reading, writing and typed access. Broken files are in tests/fuzz.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <limits>

#include "base/bytes.h"
#include "gguf/file.h"
#include "gguf/writer.h"

namespace hedge::gguf {
namespace {

std::span<const uint8_t> as_bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

TEST(Gguf, ReadsWhatTheWriterWrote) {
  const std::vector<float> norm = {1, 2, 3};
  std::vector<uint8_t> blocks(2 * 2 * 18);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<uint8_t>(i);

  Writer writer;
  writer.add_string("general.architecture", "llama");
  writer.add_uint32("llama.block_count", 7);
  writer.add_int32("a.negative", -1);
  writer.add_uint64("a.large", 1ull << 40);
  writer.add_float32("a.float", 0.25f);
  writer.add_bool("a.bool", true);
  writer.add_strings("a.strings", std::vector<std::string>{"x", "", std::string("a\0b", 3)});
  writer.add_floats("a.floats", norm);
  writer.add_ints("a.ints", std::vector<int32_t>{-5, 5});
  writer.add_tensor("norm", quant::Type::kF32, std::vector<uint64_t>{3}, as_bytes(norm));
  writer.add_tensor("weight", quant::Type::kQ4_0, std::vector<uint64_t>{64, 2}, blocks);
  const std::vector<uint8_t> bytes = writer.to_bytes();

  auto parsed = File::parse(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_text();
  const File& file = **parsed;
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 32u);
  EXPECT_EQ(file.metadata().size(), 9u);
  EXPECT_EQ(file.metadata()[1].first, "llama.block_count");
  EXPECT_EQ(*file.get_string("general.architecture"), "llama");
  EXPECT_EQ(*file.get_uint("llama.block_count"), 7u);
  EXPECT_EQ(*file.get_uint("a.large"), 1ull << 40);
  EXPECT_EQ(*file.get_float("a.float"), 0.25);
  EXPECT_TRUE(*file.get_bool_or("a.bool", false));
  const Strings& strings = **file.get_strings("a.strings");
  ASSERT_EQ(strings.size(), 3u);
  EXPECT_EQ(strings[0], "x");
  EXPECT_EQ(strings[1], "");
  EXPECT_EQ(strings[2], std::string_view("a\0b", 3));
  EXPECT_EQ(*file.get_floats("a.floats"), norm);
  EXPECT_EQ(*file.get_ints("a.ints"), (std::vector<int32_t>{-5, 5}));

  ASSERT_EQ(file.tensors().size(), 2u);
  const Tensor* weight = file.find_tensor("weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->type, quant::Type::kQ4_0);
  EXPECT_EQ(weight->columns(), 64u);
  EXPECT_EQ(weight->rows(), 2u);
  EXPECT_EQ(std::vector<uint8_t>(weight->data, weight->data + weight->size_bytes), blocks);
  EXPECT_EQ((weight->data - bytes.data()) % 32, 0);
  EXPECT_EQ(file.find_tensor("weigh"), nullptr);
  EXPECT_EQ(file.find_tensor("weights"), nullptr);
  EXPECT_EQ(file.find(""), nullptr);
}

TEST(Gguf, TypedAccessSaysExpectedAndActual) {
  Writer writer;
  writer.add_int32("negative", -3);
  writer.add_float32("float", 1.5f);
  writer.add_string("string", "s");
  writer.add_uint64("large", 1ull << 63);
  writer.add_floats("floats", std::vector<float>{1});
  writer.add_strings("strings", std::vector<std::string>{"1"});
  const std::vector<uint8_t> bytes = writer.to_bytes();
  auto parsed = File::parse(bytes);
  ASSERT_TRUE(parsed.ok());
  const File& file = **parsed;

  const auto expect = [](const auto& result, std::string_view key, std::string_view expected,
                         std::string_view actual) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(result.error().detail, "metadata value '" + std::string(key) + "': expected " +
                                         std::string(expected) + ", it is " + std::string(actual));
  };
  expect(file.get_uint("negative"), "negative", "an integer >= 0", "-3");
  expect(file.get_uint("float"), "float", "an integer", "float32");
  expect(file.get_uint("missing"), "missing", "an integer", "absent");
  expect(file.get_uint_or("string", 1), "string", "an integer", "string");
  expect(file.get_float("negative"), "negative", "float32 or float64", "int32");
  expect(file.get_float_or("string", 0), "string", "float32 or float64", "string");
  expect(file.get_bool_or("negative", true), "negative", "bool", "int32");
  expect(file.get_string("floats"), "floats", "string", "array of float32");
  expect(file.get_string_or("float", ""), "float", "string", "float32");
  expect(file.get_strings("floats"), "floats", "array of string", "array of float32");
  expect(file.get_floats("strings"), "strings", "array of float32", "array of string");
  expect(file.get_ints("floats"), "floats", "array of integers", "array of float32");
  expect(file.get_ints("strings"), "strings", "array of integers", "array of string");
  expect(file.get_ints("large"), "large", "array of integers", "uint64");
  EXPECT_EQ(*file.get_uint("large"), 1ull << 63);

  EXPECT_EQ(*file.get_uint_or("missing", 9), 9u);
  EXPECT_EQ(*file.get_float_or("missing", 0.5), 0.5);
  EXPECT_TRUE(*file.get_bool_or("missing", true));
  EXPECT_EQ(*file.get_string_or("missing", "x"), "x");
}

// Every integer width, as scalar and as array, through add_value.
TEST(Gguf, IntegersOfEveryWidth) {
  const struct {
    ValueType type;
    int64_t lowest, highest;
  } kWidths[] = {
      {ValueType::kUint8, 0, 255},         {ValueType::kInt8, -128, 127},
      {ValueType::kUint16, 0, 65535},      {ValueType::kInt16, -32768, 32767},
      {ValueType::kUint32, 0, UINT32_MAX}, {ValueType::kInt32, INT32_MIN, INT32_MAX},
      {ValueType::kUint64, 0, INT64_MAX},  {ValueType::kInt64, INT64_MIN, INT64_MAX},
  };
  for (const auto& width : kWidths) {
    const size_t bytes_each = scalar_bytes(width.type);
    std::vector<uint8_t> raw(2 * bytes_each);
    std::memcpy(raw.data(), &width.lowest, bytes_each);
    std::memcpy(raw.data() + bytes_each, &width.highest, bytes_each);
    Value array{ValueType::kArray, width.type, 2, raw, {}};
    Value lowest{width.type, {}, 1, std::span(raw).first(bytes_each), {}};
    Value highest{width.type, {}, 1, std::span(raw).last(bytes_each), {}};
    Writer writer;
    writer.add_value("array", array);
    writer.add_value("lowest", lowest);
    writer.add_value("highest", highest);
    const std::vector<uint8_t> bytes = writer.to_bytes();
    auto file = File::parse(bytes);
    ASSERT_TRUE(file.ok()) << to_string(width.type) << ": " << file.error().to_text();
    EXPECT_EQ(*(*file)->get_uint("highest"), static_cast<uint64_t>(width.highest)) << to_string(width.type);
    EXPECT_EQ((*file)->get_uint("lowest").ok(), width.lowest == 0) << to_string(width.type);
    const auto ints = (*file)->get_ints("array");
    const bool fits = width.lowest >= INT32_MIN && width.highest <= INT32_MAX;
    ASSERT_EQ(ints.ok(), fits) << to_string(width.type);
    if (fits) {
      EXPECT_EQ(*ints, (std::vector<int32_t>{static_cast<int32_t>(width.lowest),
                                             static_cast<int32_t>(width.highest)}));
    }
  }
}

TEST(Gguf, FileRoundTripAndPathInErrors) {
  std::string folder = testing::TempDir() + "hedge_gguf_XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/model.gguf";
  const std::vector<float> values(40, 1.5f);
  Writer writer;
  writer.add_string("general.name", "tiny");
  writer.add_tensor("first", quant::Type::kF32, std::vector<uint64_t>{5}, as_bytes(values).first(20));
  writer.add_tensor("second", quant::Type::kF32, std::vector<uint64_t>{8, 5}, as_bytes(values));
  ASSERT_TRUE(writer.write_file(path).ok());

  {
    auto file = File::open(path);
    ASSERT_TRUE(file.ok()) << file.error().to_text();
    EXPECT_EQ((*file)->path(), path);
    const auto bytes = (*file)->bytes();
    EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.end()), writer.to_bytes());
  }
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 64);
  auto cut = File::open(path);
  ASSERT_FALSE(cut.ok());
  EXPECT_EQ(cut.error().code, ErrorCode::kCorrupt);
  const uint64_t whole = writer.to_bytes().size(), size = std::filesystem::file_size(path);
  EXPECT_EQ(cut.error().detail, path + ": file is truncated: tensor data ends at byte " +
                                    std::to_string(whole) + " ('second'), the file has " +
                                    std::to_string(size) + " bytes");

  EXPECT_EQ(File::open(folder + "/absent").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(File::open(folder).error().code, ErrorCode::kIo);
  std::filesystem::resize_file(path, 0);
  EXPECT_EQ(File::open(path).error().code, ErrorCode::kCorrupt);
  std::filesystem::remove_all(folder);
}

TEST(Gguf, AFailureOfTheDataLeavesNoFile) {
  std::string folder = testing::TempDir() + "hedge_gguf_XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  Writer writer;
  writer.add_tensor("t", quant::Type::kF32, std::vector<uint64_t>{1});
  const Status status = writer.write_file(folder + "/f", [](size_t) -> Result<std::span<const uint8_t>> {
    return make_error(ErrorCode::kIo, "no data");
  });
  EXPECT_EQ(status.error().detail, "no data");
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

// The facts of the two default models, where they are present.
TEST(Gguf, DefaultModels) {
  const char* models = std::getenv("HEDGE_MODELS");
  if (models == nullptr) GTEST_SKIP() << "HEDGE_MODELS is not set";
  const struct {
    const char *file, *architecture;
    size_t tensors, tokens;
  } kModels[] = {
      {"smollm2-135m-instruct-q4_1.gguf", "llama", 272, 49152},
      {"gemma-3-270m-q4_k_m.gguf", "gemma3", 236, 262144},
  };
  for (const auto& model : kModels) {
    const std::string path = std::string(models) + "/" + model.file;
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
    auto file = File::open(path);
    ASSERT_TRUE(file.ok()) << file.error().to_text();
    EXPECT_EQ(*(*file)->get_string("general.architecture"), model.architecture);
    EXPECT_EQ((*file)->tensors().size(), model.tensors);
    EXPECT_EQ((*file)->get_strings("tokenizer.ggml.tokens").value()->size(), model.tokens);
  }
}

}  // namespace
}  // namespace hedge::gguf
