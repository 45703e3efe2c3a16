#include "model/weights.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "kernels/table.h"

namespace hedge::model {
namespace {

class Loader {
 public:
  explicit Loader(const gguf::File& file) : file_(file) {}

  Result<Matrix> matrix(const std::string& name, int rows, int columns) {
    const gguf::Tensor* tensor = file_.find_tensor(name);
    if (tensor == nullptr) return make_error(ErrorCode::kCorrupt, "tensor " + name + " is missing");
    if (tensor->rows() != static_cast<uint64_t>(rows) ||
        tensor->columns() != static_cast<uint64_t>(columns)) {
      return make_error(ErrorCode::kCorrupt, "tensor " + name + ": expected " + std::to_string(rows) +
                                                 " rows of " + std::to_string(columns) + ", got " +
                                                 std::to_string(tensor->rows()) + " of " +
                                                 std::to_string(tensor->columns()));
    }
    const quant::TypeInfo& type = quant::info(tensor->type);
    if (type.block_values > 1 && tensor->columns() % kernels::kActGroup != 0) {
      return make_error(ErrorCode::kUnsupported, "tensor " + name + ": rows are not a multiple of 32 values");
    }
    used_.insert(tensor->name);
    return Matrix{tensor->type, tensor->data, static_cast<size_t>(rows), static_cast<size_t>(columns),
                  quant::row_bytes(tensor->type, static_cast<size_t>(columns))};
  }

  Result<Vector> vector(const std::string& name, int size) {
    HEDGE_TRY_SET(const Matrix matrix_view, matrix(name, 1, size));
    Vector out(static_cast<size_t>(size));
    quant::info(matrix_view.type).dequantize(matrix_view.data, out.data(), out.size());
    return out;
  }

  bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }

  // A tensor that the forward pass would silently leave out makes wrong answers; better none.
  Status all_used() const {
    for (const gguf::Tensor& tensor : file_.tensors()) {
      if (used_.count(tensor.name) == 0 && tensor.name != "rope_freqs.weight") {
        return make_error(ErrorCode::kUnsupported, "tensor " + std::string(tensor.name) +
                                                       " is not part of this architecture as Hedge knows it");
      }
    }
    return {};
  }

 private:
  const gguf::File& file_;
  std::set<std::string_view> used_;
};

Result<Layer> load_layer(Loader& loader, const Config& config, int index) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const int q_size = config.heads * config.head_dim;
  const int kv_size = config.kv_heads * config.head_dim;
  Layer layer;
  HEDGE_TRY_SET(layer.attention_norm, loader.vector(prefix + "attn_norm.weight", config.dim));
  HEDGE_TRY_SET(layer.query, loader.matrix(prefix + "attn_q.weight", q_size, config.dim));
  HEDGE_TRY_SET(layer.key, loader.matrix(prefix + "attn_k.weight", kv_size, config.dim));
  HEDGE_TRY_SET(layer.value, loader.matrix(prefix + "attn_v.weight", kv_size, config.dim));
  HEDGE_TRY_SET(layer.output, loader.matrix(prefix + "attn_output.weight", config.dim, q_size));
  HEDGE_TRY_SET(layer.ffn_norm, loader.vector(prefix + "ffn_norm.weight", config.dim));
  HEDGE_TRY_SET(layer.gate, loader.matrix(prefix + "ffn_gate.weight", config.ffn_dim, config.dim));
  HEDGE_TRY_SET(layer.up, loader.matrix(prefix + "ffn_up.weight", config.ffn_dim, config.dim));
  HEDGE_TRY_SET(layer.down, loader.matrix(prefix + "ffn_down.weight", config.dim, config.ffn_dim));
  if (config.qk_norm) {
    HEDGE_TRY_SET(layer.query_norm, loader.vector(prefix + "attn_q_norm.weight", config.head_dim));
    HEDGE_TRY_SET(layer.key_norm, loader.vector(prefix + "attn_k_norm.weight", config.head_dim));
  }
  if (config.post_norms) {
    HEDGE_TRY_SET(layer.post_attention_norm,
                  loader.vector(prefix + "post_attention_norm.weight", config.dim));
    HEDGE_TRY_SET(layer.post_ffn_norm, loader.vector(prefix + "post_ffw_norm.weight", config.dim));
  }
  return layer;
}

}  // namespace

Result<Weights> load_weights(const gguf::File& file, const Config& config) {
  Loader loader(file);
  Weights weights;
  HEDGE_TRY_SET(weights.embedding, loader.matrix("token_embd.weight", config.vocab, config.dim));
  for (int i = 0; i < config.layers; ++i) {
    HEDGE_TRY_SET(Layer layer, load_layer(loader, config, i));
    weights.layers.push_back(std::move(layer));
  }
  HEDGE_TRY_SET(weights.output_norm, loader.vector("output_norm.weight", config.dim));
  weights.head = weights.embedding;
  if (loader.has("output.weight")) {
    HEDGE_TRY_SET(weights.head, loader.matrix("output.weight", config.vocab, config.dim));
  }
  HEDGE_TRY(loader.all_used());
  return weights;
}

}  // namespace hedge::model
