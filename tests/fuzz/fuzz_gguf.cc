// The GGUF reader on any bytes. What it accepts must be readable throughout, and must survive being written
// again.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "gguf/file.h"
#include "gguf/writer.h"

namespace {

using namespace hedge;

volatile uint64_t sink;  // Keeps reads from being optimised away.

void read_metadata(const gguf::File& file) {
  for (const auto& [key, value] : file.metadata()) {
    HEDGE_CHECK(file.find(key) == &value);
    for (const uint8_t byte : value.raw) sink = sink + byte;
    for (const std::string_view text : value.strings) {
      for (const char c : text) sink = sink + static_cast<uint8_t>(c);
    }
    const bool readable[] = {
        file.get_uint(key).ok(),   file.get_float(key).ok(),   file.get_bool_or(key, false).ok(),
        file.get_string(key).ok(), file.get_strings(key).ok(), file.get_floats(key).ok(),
        file.get_ints(key).ok(),
    };
    for (const bool ok : readable) sink = sink + (ok ? 1 : 0);
  }
}

void read_tensors(const gguf::File& file) {
  constexpr size_t kDecodedBlocksMax = 4;
  for (const gguf::Tensor& tensor : file.tensors()) {
    HEDGE_CHECK(file.find_tensor(tensor.name) == &tensor);
    const quant::TypeInfo& type = quant::info(tensor.type);
    HEDGE_CHECK(tensor.size_bytes == quant::row_bytes(tensor.type, tensor.columns()) * tensor.rows());
    sink = sink + tensor.data[0] + tensor.data[tensor.size_bytes - 1];
    const size_t blocks = std::min(kDecodedBlocksMax, tensor.size_bytes / type.block_bytes);
    std::vector<float> values(blocks * type.block_values);
    type.dequantize(tensor.data, values.data(), values.size());
  }
}

void write_again(const gguf::File& file) {
  gguf::Writer writer;
  size_t keys = 0;
  for (const auto& [key, value] : file.metadata()) {
    writer.add_value(key, value);
    if (key != "general.alignment") ++keys;
  }
  for (const gguf::Tensor& tensor : file.tensors()) {
    writer.add_tensor(tensor.name, tensor.type, {tensor.dims, 4}, {tensor.data, tensor.size_bytes});
  }
  const std::vector<uint8_t> bytes = writer.to_bytes();
  const auto again = gguf::File::parse(bytes);
  HEDGE_CHECK(again.ok());
  HEDGE_CHECK((*again)->metadata().size() == keys);
  HEDGE_CHECK((*again)->tensors().size() == file.tensors().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // libFuzzer's own alignment is not the mapping's: a file is mapped at a page.
  const std::vector<uint8_t> bytes(data, data + size);
  const auto file = gguf::File::parse(bytes);
  if (!file.ok()) {
    HEDGE_CHECK(!file.error().detail.empty());
    return 0;
  }
  read_metadata(**file);
  read_tensors(**file);
  write_again(**file);
  return 0;
}
