// For tests: language models of a few thousand weights, as GGUF files in memory, made from a seed. Tests may
// change any metadata or tensor before the file is written.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "gguf/writer.h"
#include "quant/type.h"
#include "text/bpe_bytes.h"

namespace hedge::model {

struct TinySpec {
  std::string architecture = "llama";    // or "gemma3"
  quant::Type type = quant::Type::kF32;  // of the matrices
  int layers = 3;
  int dim = 64;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 32;
  int ffn_dim = 96;
  int context = 128;
  int window = 8;  // gemma3: of the local layers
  float eps = 1e-5f;
  float rope_base = 10000.0f;
  float rope_base_local = 1000.0f;  // gemma3
  float rope_linear = 1.0f;         // positions are divided by it
  std::vector<float> rope_factors;  // [head_dim / 2] or empty
  bool tied = false;                // the embedding is the output matrix
  uint64_t seed = 1;

  bool gemma() const { return architecture == "gemma3"; }
  // Gemma 3 has five local layers, then a global one.
  bool local(int layer) const { return gemma() && layer % 6 != 5; }
};

struct TinyTensor {
  std::string name;
  quant::Type type;
  std::vector<uint64_t> dims;  // columns first
  std::vector<uint8_t> data;
};

// Byte-level BPE: ids 0 to 255 are the bytes, then merged words, then control tokens.
struct TinyVocab {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<std::string> merges;
  int32_t bos = -1, eos = -1;
};

inline TinyVocab tiny_vocab() {
  constexpr int kNormal = 1, kControl = 3;
  TinyVocab vocab;
  const auto add = [&](std::string name, int type) {
    vocab.tokens.push_back(std::move(name));
    vocab.types.push_back(type);
  };
  for (int byte = 0; byte < 256; ++byte) {
    std::string name;
    text::append_byte_level(name, std::string(1, static_cast<char>(byte)));
    add(name, kNormal);
  }
  const auto merge = [&](const std::string& left, const std::string& right) {
    vocab.merges.push_back(left + " " + right);
    add(left + right, kNormal);
  };
  const std::string space = "\u0120";  // how byte-level BPE spells U+0020
  const std::pair<const char*, const char*> pairs[] = {
      {"h", "e"},  {"l", "l"},   {"he", "ll"},  {"hell", "o"}, {"t", "he"}, {"r", "e"}, {"the", "re"},
      {"i", "n"},  {"in", "g"},  {"a", "n"},    {"an", "d"},   {"o", "n"},  {"e", "r"}, {"o", "r"},
      {"w", "or"}, {"wor", "l"}, {"worl", "d"}, {"c", "a"},    {"ca", "t"}, {"s", "t"}};
  for (const auto& [left, right] : pairs) merge(left, right);
  for (const char* word : {"the", "there", "hello", "and", "world", "cat", "a", "in"}) merge(space, word);
  vocab.bos = static_cast<int32_t>(vocab.tokens.size());
  add("<s>", kControl);
  vocab.eos = static_cast<int32_t>(vocab.tokens.size());
  add("<|im_end|>", kControl);
  add("<|im_start|>", kControl);
  return vocab;
}

class TinyModel {
 public:
  explicit TinyModel(const TinySpec& spec) : spec_(spec), vocab(tiny_vocab()), rng_(spec.seed) {
    fill_metadata();
    fill_tensors();
  }

  std::vector<uint8_t> to_bytes() const {
    gguf::Writer writer;
    fill(writer);
    return writer.to_bytes();
  }
  Status write_file(const std::string& path) const {
    gguf::Writer writer;
    fill(writer);
    return writer.write_file(path);
  }

  TinyTensor* find(std::string_view name) {
    for (TinyTensor& tensor : tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }
  void remove(std::string_view name) {
    std::erase_if(tensors, [&](const TinyTensor& tensor) { return tensor.name == name; });
  }

  // How loud the model's rows of control tokens and of bytes outside of printable ASCII are in the output
  // matrix: so quiet that a greedy answer is ASCII text and never ends by itself.
  static constexpr float kQuiet = 0.02f;

 private:
  const TinySpec spec_;

 public:
  TinyVocab vocab;
  std::map<std::string, std::string> strings;
  std::map<std::string, uint32_t> uints;
  std::map<std::string, float> floats;
  std::vector<TinyTensor> tensors;

 private:
  void fill_metadata() {
    const std::string p = spec_.architecture + ".";
    strings["general.architecture"] = spec_.architecture;
    strings["general.name"] = "tiny";
    uints[p + "block_count"] = static_cast<uint32_t>(spec_.layers);
    uints[p + "embedding_length"] = static_cast<uint32_t>(spec_.dim);
    uints[p + "attention.head_count"] = static_cast<uint32_t>(spec_.heads);
    uints[p + "attention.head_count_kv"] = static_cast<uint32_t>(spec_.kv_heads);
    uints[p + "attention.key_length"] = static_cast<uint32_t>(spec_.head_dim);
    uints[p + "attention.value_length"] = static_cast<uint32_t>(spec_.head_dim);
    uints[p + "feed_forward_length"] = static_cast<uint32_t>(spec_.ffn_dim);
    uints[p + "context_length"] = static_cast<uint32_t>(spec_.context);
    uints[p + "rope.dimension_count"] = static_cast<uint32_t>(spec_.head_dim);
    floats[p + "attention.layer_norm_rms_epsilon"] = spec_.eps;
    floats[p + "rope.freq_base"] = spec_.rope_base;
    if (spec_.rope_linear != 1.0f) {
      strings[p + "rope.scaling.type"] = "linear";
      floats[p + "rope.scaling.factor"] = spec_.rope_linear;
    }
    if (spec_.gemma()) {
      uints[p + "attention.sliding_window"] = static_cast<uint32_t>(spec_.window);
      floats[p + "rope.local.freq_base"] = spec_.rope_base_local;
    }
    strings["tokenizer.ggml.model"] = "gpt2";
    strings["tokenizer.ggml.pre"] = "gpt-2";
    uints["tokenizer.ggml.bos_token_id"] = static_cast<uint32_t>(vocab.bos);
    uints["tokenizer.ggml.eos_token_id"] = static_cast<uint32_t>(vocab.eos);
  }

  void fill(gguf::Writer& writer) const {
    for (const auto& [key, value] : strings) writer.add_string(key, value);
    for (const auto& [key, value] : uints) writer.add_uint32(key, value);
    for (const auto& [key, value] : floats) writer.add_float32(key, value);
    writer.add_bool("tokenizer.ggml.add_bos_token", true);
    writer.add_strings("tokenizer.ggml.tokens", vocab.tokens);
    writer.add_ints("tokenizer.ggml.token_type", vocab.types);
    writer.add_strings("tokenizer.ggml.merges", vocab.merges);
    for (const TinyTensor& tensor : tensors)
      writer.add_tensor(tensor.name, tensor.type, tensor.dims, tensor.data);
  }

  // Close to normal with deviation 1: the sum of four uniform values.
  float gauss() {
    double sum = -2;
    for (int i = 0; i < 4; ++i) sum += rng_.uniform();
    return static_cast<float>(sum * std::sqrt(3.0));
  }

  void add(const std::string& name, quant::Type type, const std::vector<float>& values, int rows,
           int columns) {
    TinyTensor tensor{name, type, {static_cast<uint64_t>(columns)}, {}};
    if (rows > 1) tensor.dims.push_back(static_cast<uint64_t>(rows));
    tensor.data.resize(quant::row_bytes(type, values.size()));
    quant::info(type).quantize(values.data(), tensor.data.data(), values.size());
    tensors.push_back(std::move(tensor));
  }

  std::vector<float> random(int rows, int columns, float deviation) {
    std::vector<float> values(static_cast<size_t>(rows) * static_cast<size_t>(columns));
    for (float& value : values) value = gauss() * deviation;
    return values;
  }

  void add_matrix(const std::string& name, int rows, int columns, float gain) {
    add(name, spec_.type, random(rows, columns, gain / std::sqrt(static_cast<float>(columns))), rows,
        columns);
  }

  void add_norm(const std::string& name, int size) {
    std::vector<float> values = random(1, size, 0.2f);
    for (float& value : values) value += 1.0f;
    add(name, quant::Type::kF32, values, 1, size);
  }

  void add_vocab_matrix(const std::string& name, bool quiet) {
    const int rows = static_cast<int>(vocab.tokens.size());
    std::vector<float> values = random(rows, spec_.dim, 1.0f / std::sqrt(static_cast<float>(spec_.dim)));
    for (int row = 0; quiet && row < rows; ++row) {
      const bool printable =
          row >= 256 ? vocab.types[static_cast<size_t>(row)] == 1 : row >= ' ' && row < 127;
      if (printable) continue;
      for (int i = 0; i < spec_.dim; ++i) values[static_cast<size_t>(row * spec_.dim + i)] *= kQuiet;
    }
    add(name, spec_.type, values, rows, spec_.dim);
  }

  void fill_tensors() {
    const int q_size = spec_.heads * spec_.head_dim;
    const int kv_size = spec_.kv_heads * spec_.head_dim;
    add_vocab_matrix("token_embd.weight", spec_.tied);
    if (!spec_.rope_factors.empty()) {
      add("rope_freqs.weight", quant::Type::kF32, spec_.rope_factors, 1, spec_.head_dim / 2);
    }
    for (int i = 0; i < spec_.layers; ++i) {
      const std::string p = "blk." + std::to_string(i) + ".";
      add_norm(p + "attn_norm.weight", spec_.dim);
      add_matrix(p + "attn_q.weight", q_size, spec_.dim,
                 1.5f);  // loud enough that attention is not a plain mean
      add_matrix(p + "attn_k.weight", kv_size, spec_.dim, 1);
      add_matrix(p + "attn_v.weight", kv_size, spec_.dim, 1);
      add_matrix(p + "attn_output.weight", spec_.dim, q_size, 1);
      add_norm(p + "ffn_norm.weight", spec_.dim);
      add_matrix(p + "ffn_gate.weight", spec_.ffn_dim, spec_.dim, 1);
      add_matrix(p + "ffn_up.weight", spec_.ffn_dim, spec_.dim, 1);
      add_matrix(p + "ffn_down.weight", spec_.dim, spec_.ffn_dim, 1);
      if (spec_.gemma()) {
        add_norm(p + "attn_q_norm.weight", spec_.head_dim);
        add_norm(p + "attn_k_norm.weight", spec_.head_dim);
        add_norm(p + "post_attention_norm.weight", spec_.dim);
        add_norm(p + "post_ffw_norm.weight", spec_.dim);
      }
    }
    add_norm("output_norm.weight", spec_.dim);
    if (!spec_.tied) add_vocab_matrix("output.weight", true);
  }

  Rng rng_;
};

}  // namespace hedge::model
