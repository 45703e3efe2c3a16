// The weights as views into the mapped file, checked against the Config. No copy but of the small norm
// vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "gguf/file.h"
#include "model/config.h"
#include "quant/type.h"

namespace hedge::model {

// [rows, columns], each row in stored blocks. The mapping outlives it.
struct Matrix {
  quant::Type type = quant::Type::kF32;
  const uint8_t* data = nullptr;
  size_t rows = 0;
  size_t columns = 0;
  size_t row_bytes = 0;

  const uint8_t* row(size_t index) const { return data + index * row_bytes; }
  bool present() const { return data != nullptr; }
};

using Vector = std::vector<float>;

struct Layer {
  Vector attention_norm;        // [dim]
  Matrix query, key, value;     // [heads * head_dim, dim], [kv_heads * head_dim, dim] twice
  Vector query_norm, key_norm;  // [head_dim], with Config::qk_norm
  Matrix output;                // [dim, heads * head_dim]
  Vector post_attention_norm;   // [dim], with Config::post_norms
  Vector ffn_norm;              // [dim]
  Matrix gate, up;              // [ffn_dim, dim]
  Matrix down;                  // [dim, ffn_dim]
  Vector post_ffn_norm;         // [dim], with Config::post_norms
};

struct Weights {
  Matrix embedding;  // [vocab, dim]
  std::vector<Layer> layers;
  Vector output_norm;  // [dim]
  Matrix head;         // [vocab, dim]; the embedding again where the file ties them
};

// kCorrupt names a tensor that is missing or has the wrong shape; kUnsupported one that Hedge would leave
// unused.
Result<Weights> load_weights(const gguf::File& file, const Config& config);

}  // namespace hedge::model
