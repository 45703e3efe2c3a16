#include "model/config.h"

#include <cmath>
#include <cstring>

#include "model/arch/arch.h"

namespace hedge::model {
namespace {

struct Arch {
  std::string_view name;
  Result<Config> (*read)(const gguf::File&);
};

constexpr Arch kArchs[] = {
#define HEDGE_ARCH(name, reader) {name, reader},
#include "model/arch/arch_list.inc"
#undef HEDGE_ARCH
};

// Bounds that every real model keeps by far; they keep products of sizes in range and allocations sane.
constexpr uint64_t kLayersMax = 512;
constexpr uint64_t kDimMax = 1 << 16;
constexpr uint64_t kHeadsMax = 1024;
constexpr uint64_t kHeadDimMax = 1024;
constexpr uint64_t kFfnMax = 1 << 18;
constexpr uint64_t kContextMax = 1 << 24;

Result<int> bounded(const gguf::File& file, const std::string& key, uint64_t low, uint64_t high) {
  HEDGE_TRY_SET(const uint64_t value, file.get_uint(key));
  if (value < low || value > high) {
    return make_error(ErrorCode::kCorrupt, key + ": expected " + std::to_string(low) + " to " +
                                               std::to_string(high) + ", got " + std::to_string(value));
  }
  return static_cast<int>(value);
}

Result<int> bounded_or(const gguf::File& file, const std::string& key, uint64_t low, uint64_t high,
                       int fallback) {
  if (file.find(key) == nullptr) return fallback;
  return bounded(file, key, low, high);
}

Result<float> positive_or(const gguf::File& file, const std::string& key, double fallback) {
  HEDGE_TRY_SET(const double value, file.get_float_or(key, fallback));
  if (!(value > 0) || !std::isfinite(value)) {
    return make_error(ErrorCode::kCorrupt,
                      key + ": expected a positive number, got " + std::to_string(value));
  }
  return static_cast<float>(value);
}

Status read_rope_factors(const gguf::File& file, Config& config) {
  const gguf::Tensor* tensor = file.find_tensor("rope_freqs.weight");
  if (tensor == nullptr) return {};
  const uint64_t expected = static_cast<uint64_t>(config.rope_dim / 2);
  if (tensor->type != quant::Type::kF32 || tensor->columns() != expected || tensor->rows() != 1) {
    return make_error(ErrorCode::kCorrupt,
                      "rope_freqs.weight: expected " + std::to_string(expected) + " F32 values");
  }
  config.rope_factors.resize(expected);
  std::memcpy(config.rope_factors.data(), tensor->data, expected * sizeof(float));
  for (const float factor : config.rope_factors) {
    if (!(factor > 0) || !std::isfinite(factor)) {
      return make_error(ErrorCode::kCorrupt, "rope_freqs.weight: expected positive numbers");
    }
  }
  return {};
}

}  // namespace

Result<Config> read_config(const gguf::File& file) {
  HEDGE_TRY_SET(const std::string_view architecture, file.get_string("general.architecture"));
  std::string known;
  for (const Arch& arch : kArchs) {
    if (arch.name == architecture) return arch.read(file);
    known += (known.empty() ? "" : ", ") + std::string(arch.name);
  }
  return make_error(ErrorCode::kUnsupported, "architecture '" + std::string(architecture) +
                                                 "' is not supported; expected one of: " + known);
}

Result<Config> read_common(const gguf::File& file, const std::string& arch) {
  Config config;
  config.architecture = arch;
  HEDGE_TRY_SET(const std::string_view name, file.get_string_or("general.name", ""));
  config.name = name;
  HEDGE_TRY_SET(config.layers, bounded(file, arch + ".block_count", 1, kLayersMax));
  HEDGE_TRY_SET(config.dim, bounded(file, arch + ".embedding_length", 32, kDimMax));
  HEDGE_TRY_SET(config.heads, bounded(file, arch + ".attention.head_count", 1, kHeadsMax));
  HEDGE_TRY_SET(config.kv_heads,
                bounded_or(file, arch + ".attention.head_count_kv", 1, kHeadsMax, config.heads));
  HEDGE_TRY_SET(config.head_dim,
                bounded_or(file, arch + ".attention.key_length", 16, kHeadDimMax, config.dim / config.heads));
  HEDGE_TRY_SET(const int value_dim,
                bounded_or(file, arch + ".attention.value_length", 16, kHeadDimMax, config.head_dim));
  HEDGE_TRY_SET(config.ffn_dim, bounded(file, arch + ".feed_forward_length", 32, kFfnMax));
  HEDGE_TRY_SET(config.context, bounded_or(file, arch + ".context_length", 1, kContextMax, 2048));
  HEDGE_TRY_SET(config.norm_eps, positive_or(file, arch + ".attention.layer_norm_rms_epsilon", 1e-5));
  HEDGE_TRY_SET(config.rope_base, positive_or(file, arch + ".rope.freq_base", 10000.0));
  HEDGE_TRY_SET(config.rope_dim,
                bounded_or(file, arch + ".rope.dimension_count", 2, kHeadDimMax, config.head_dim));
  HEDGE_TRY_SET(const std::string_view scaling, file.get_string_or(arch + ".rope.scaling.type", "none"));
  if (scaling == "linear") {
    HEDGE_TRY_SET(const float factor, positive_or(file, arch + ".rope.scaling.factor", 1.0));
    config.rope_scale = 1.0f / factor;
  } else if (scaling != "none") {
    return make_error(ErrorCode::kUnsupported,
                      arch + ".rope.scaling.type: expected none or linear, got " + std::string(scaling));
  }
  if (config.heads % config.kv_heads != 0) {
    return make_error(ErrorCode::kCorrupt,
                      arch + ".attention.head_count: expected a multiple of head_count_kv (" +
                          std::to_string(config.kv_heads) + "), got " + std::to_string(config.heads));
  }
  if (config.head_dim % 16 != 0 || config.head_dim == 0 || value_dim != config.head_dim) {
    return make_error(ErrorCode::kUnsupported,
                      "heads of " + std::to_string(config.head_dim) + " (keys) and " +
                          std::to_string(value_dim) +
                          " (values): expected equal lengths that are a multiple of 16");
  }
  if (config.rope_dim > config.head_dim || config.rope_dim % 2 != 0) {
    return make_error(ErrorCode::kCorrupt, arch + ".rope.dimension_count: expected an even number up to " +
                                               std::to_string(config.head_dim) + ", got " +
                                               std::to_string(config.rope_dim));
  }
  const gguf::Tensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr) return make_error(ErrorCode::kCorrupt, "tensor token_embd.weight is missing");
  if (embedding->rows() == 0 || embedding->rows() > 1u << 21) {
    return make_error(ErrorCode::kCorrupt, "token_embd.weight: expected 1 to 2097152 rows, got " +
                                               std::to_string(embedding->rows()));
  }
  config.vocab = static_cast<int>(embedding->rows());
  config.attention_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  config.local.assign(static_cast<size_t>(config.layers), false);
  HEDGE_TRY(read_rope_factors(file, config));
  return config;
}

}  // namespace hedge::model
