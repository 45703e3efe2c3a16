// A model's shape and habits as data. Architectures differ by values, not by classes; forward.cc reads only
// this.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/file.h"

namespace hedge::model {

enum class Rope : uint8_t {
  kInterleaved,  // pairs (0,1), (2,3), ...: llama files, whose q and k rows are permuted for it
  kNeox,         // pairs (i, i + n/2)
};

enum class Activation : uint8_t { kSilu, kGelu };

struct Config {
  std::string architecture;
  std::string name;  // general.name; may be empty
  int layers = 0;
  int dim = 0;  // width of the residual stream
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int ffn_dim = 0;
  int vocab = 0;
  int context = 0;  // trained length
  float norm_eps = 1e-5f;

  Rope rope = Rope::kInterleaved;
  int rope_dim = 0;            // leading values of a head that are rotated
  float rope_base = 10000.0f;  // of global layers
  float rope_scale = 1.0f;     // positions are multiplied by it (linear scaling), global layers only
  float rope_base_local = 10000.0f;
  std::vector<float> rope_factors;  // [rope_dim/2] frequency divisors (rope_freqs.weight), or empty

  float attention_scale = 0;  // on q.k
  int window = 0;             // of local layers: a token sees this many, itself included
  std::vector<bool> local;    // [layers] sliding-window layers
  bool qk_norm = false;       // RMS norm of each head of q and k, before RoPE
  bool post_norms = false;    // RMS norm of the attention's and the FFN's output, before the residual add
  Activation activation = Activation::kSilu;
  float embedding_scale = 1.0f;
};

// Reads the file's metadata by the architecture's own function (arch_list.inc) and checks every bound.
// kUnsupported names an architecture or a feature that Hedge does not have.
Result<Config> read_config(const gguf::File& file);

// For arch/*.cc: the keys that all decoder architectures share ("<arch>.block_count", ...).
Result<Config> read_common(const gguf::File& file, const std::string& arch);

}  // namespace hedge::model
