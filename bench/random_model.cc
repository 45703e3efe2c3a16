// Writes a language model of seeded random weights, for measuring speed and memory at a shape of which there
// is no small download. Its text is noise; its sizes, types and tokenizer are real, so every program that
// reads GGUF runs it. The defaults are the shape of Llama-3.2-1B.
//
// Other types than those Hedge writes, and mixtures such as Q4_K_M: write f16, then llama-quantize.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "gguf/writer.h"
#include "quant/type.h"
#include "text/bpe_bytes.h"

namespace {

using hedge::gguf::Writer;
namespace quant = hedge::quant;

struct Shape {
  uint32_t dim = 2048;
  uint32_t layers = 16;
  uint32_t heads = 32;
  uint32_t kv_heads = 8;
  uint32_t head_dim = 64;
  uint32_t ffn = 8192;
  uint32_t vocab = 128256;
  uint32_t context = 131072;
  uint64_t seed = 1;
};

struct Tensor {
  std::string name;
  quant::Type type;
  uint64_t columns;
  uint64_t rows;    // 1: a norm
  float deviation;  // of a matrix
};

std::vector<Tensor> tensors_of(const Shape& shape, quant::Type type) {
  std::vector<Tensor> tensors;
  const uint64_t q = uint64_t{shape.heads} * shape.head_dim, kv = uint64_t{shape.kv_heads} * shape.head_dim;
  const auto norm = [&](const std::string& name) {
    tensors.push_back({name, quant::Type::kF32, shape.dim, 1, 0});
  };
  const auto matrix = [&](const std::string& name, uint64_t rows, uint64_t columns) {
    tensors.push_back({name, type, columns, rows, 1.0f / std::sqrt(static_cast<float>(columns))});
  };
  matrix("token_embd.weight", shape.vocab, shape.dim);
  for (uint32_t i = 0; i < shape.layers; ++i) {
    const std::string p = fmt::format("blk.{}.", i);
    norm(p + "attn_norm.weight");
    matrix(p + "attn_q.weight", q, shape.dim);
    matrix(p + "attn_k.weight", kv, shape.dim);
    matrix(p + "attn_v.weight", kv, shape.dim);
    matrix(p + "attn_output.weight", shape.dim, q);
    norm(p + "ffn_norm.weight");
    matrix(p + "ffn_gate.weight", shape.ffn, shape.dim);
    matrix(p + "ffn_up.weight", shape.ffn, shape.dim);
    matrix(p + "ffn_down.weight", shape.dim, shape.ffn);
  }
  norm("output_norm.weight");
  return tensors;
}

void add_metadata(Writer& writer, const Shape& shape) {
  writer.add_string("general.architecture", "llama");
  writer.add_string("general.name", "random");
  writer.add_uint32("llama.block_count", shape.layers);
  writer.add_uint32("llama.embedding_length", shape.dim);
  writer.add_uint32("llama.attention.head_count", shape.heads);
  writer.add_uint32("llama.attention.head_count_kv", shape.kv_heads);
  writer.add_uint32("llama.attention.key_length", shape.head_dim);
  writer.add_uint32("llama.attention.value_length", shape.head_dim);
  writer.add_uint32("llama.feed_forward_length", shape.ffn);
  writer.add_uint32("llama.context_length", shape.context);
  writer.add_uint32("llama.rope.dimension_count", shape.head_dim);
  writer.add_uint32("llama.vocab_size", shape.vocab);
  writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.add_float32("llama.rope.freq_base", 500000.0f);
}

// Byte-level BPE with one merge; the rest of the vocabulary are words that no text is cut into.
void add_tokenizer(Writer& writer, const Shape& shape) {
  constexpr int32_t kNormal = 1, kControl = 3;
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int byte = 0; byte < 256; ++byte) {
    std::string name;
    hedge::text::append_byte_level(name, std::string(1, static_cast<char>(byte)));
    tokens.push_back(name);
    types.push_back(kNormal);
  }
  tokens.insert(tokens.end(), {"he", "<s>", "</s>"});
  types.insert(types.end(), {kNormal, kControl, kControl});
  while (tokens.size() < shape.vocab) {
    tokens.push_back(fmt::format("w{}", tokens.size()));
    types.push_back(kNormal);
  }
  writer.add_string("tokenizer.ggml.model", "gpt2");
  writer.add_string("tokenizer.ggml.pre", "gpt-2");
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  writer.add_ints("tokenizer.ggml.token_type", types);
  writer.add_strings("tokenizer.ggml.merges", std::vector<std::string>{"h e"});
  writer.add_uint32("tokenizer.ggml.bos_token_id", 257);
  writer.add_uint32("tokenizer.ggml.eos_token_id", 258);
  writer.add_bool("tokenizer.ggml.add_bos_token", true);
}

// Close to normal with deviation 1: four 16-bit uniform values in one draw, summed.
float gauss(hedge::Rng& rng) {
  const uint64_t bits = rng.next();
  const int sum = static_cast<int>(bits & 0xffff) + static_cast<int>(bits >> 16 & 0xffff) +
                  static_cast<int>(bits >> 32 & 0xffff) + static_cast<int>(bits >> 48);
  return static_cast<float>((sum / 65536.0 - 2.0) * std::sqrt(3.0));
}

}  // namespace

int main(int argc, char** argv) {
  Shape shape;
  std::string path, type_name = "F16";
  CLI::App app("Writes a GGUF file of seeded random weights; the defaults are the shape of Llama-3.2-1B.");
  app.add_option("file", path, "file to write")->required();
  app.add_option("--type", type_name, "type of the matrices (F16, Q8_0, Q4_0, ...)")->capture_default_str();
  const CLI::Range sizes(1, 1 << 20);
  app.add_option("--dim", shape.dim, "width of the residual stream")->capture_default_str()->check(sizes);
  app.add_option("--layers", shape.layers)->capture_default_str()->check(sizes);
  app.add_option("--heads", shape.heads)->capture_default_str()->check(sizes);
  app.add_option("--kv-heads", shape.kv_heads)->capture_default_str()->check(sizes);
  app.add_option("--head-dim", shape.head_dim)->capture_default_str()->check(sizes);
  app.add_option("--ffn", shape.ffn, "width of the feed-forward part")->capture_default_str()->check(sizes);
  app.add_option("--vocab", shape.vocab)->capture_default_str()->check(CLI::Range(259, 1 << 20));
  app.add_option("--seed", shape.seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  std::optional<quant::Type> type;
  for (size_t i = 0; i < quant::kTypeCount; ++i) {
    const quant::TypeInfo& candidate = quant::info(static_cast<quant::Type>(i));
    if (candidate.name == type_name && candidate.quantize != nullptr) type = candidate.type;
  }
  if (!type) {
    fmt::print(stderr, "random_model: --type: expected a tensor type such as F16 or Q4_0, got {}\n",
               type_name);
    return 1;
  }
  Writer writer;
  add_metadata(writer, shape);
  add_tokenizer(writer, shape);
  const std::vector<Tensor> tensors = tensors_of(shape, *type);
  for (const Tensor& tensor : tensors) {
    std::vector<uint64_t> dims = {tensor.columns};
    if (tensor.rows > 1) dims.push_back(tensor.rows);
    if (tensor.columns % quant::info(tensor.type).block_values != 0) {
      fmt::print(stderr, "random_model: {}: expected a multiple of {} columns for {}, got {}\n", tensor.name,
                 quant::info(tensor.type).block_values, type_name, tensor.columns);
      return 1;
    }
    writer.add_tensor(tensor.name, tensor.type, dims);
  }
  hedge::Rng rng(shape.seed);
  std::vector<uint8_t> bytes;
  std::vector<float> row;
  const hedge::Status written = writer.write_file(path, [&](size_t index) {
    const Tensor& tensor = tensors[index];
    const size_t row_bytes = quant::row_bytes(tensor.type, tensor.columns);
    bytes.resize(row_bytes * tensor.rows);
    row.resize(tensor.columns);
    for (uint64_t r = 0; r < tensor.rows; ++r) {
      for (float& value : row) value = tensor.rows == 1 ? 1.0f : gauss(rng) * tensor.deviation;
      quant::info(tensor.type).quantize(row.data(), bytes.data() + r * row_bytes, tensor.columns);
    }
    fmt::print(stderr, "\r{} of {} tensors", index + 1, tensors.size());
    return hedge::Result<std::span<const uint8_t>>(std::span<const uint8_t>(bytes));
  });
  fmt::print(stderr, "\n");
  if (!written.ok()) {
    fmt::print(stderr, "random_model: {}\n", written.error().to_text());
    return 1;
  }
  return 0;
}
