// gemma3 (270M to 27B, text): sandwich norms, query/key norms, five sliding-window layers to one global one
// with their own RoPE bases, GeGLU, embeddings scaled by sqrt(dim).
#include <cmath>

#include "model/arch/arch.h"

namespace hedge::model {

Result<Config> gemma3_config(const gguf::File& file) {
  HEDGE_TRY_SET(Config config, read_common(file, "gemma3"));
  HEDGE_TRY_SET(const uint64_t window, file.get_uint_or("gemma3.attention.sliding_window", 0));
  HEDGE_TRY_SET(const double local_base, file.get_float_or("gemma3.rope.local.freq_base", 10000.0));
  if (window > 1u << 20) {
    return make_error(ErrorCode::kCorrupt, "gemma3.attention.sliding_window: expected at most 1048576, got " +
                                               std::to_string(window));
  }
  constexpr int kPattern =
      6;  // Every sixth layer is global; not stored in the file (Gemma 3 report, section 2).
  config.window = static_cast<int>(window);
  for (int i = 0; i < config.layers; ++i)
    config.local.at(static_cast<size_t>(i)) = window > 0 && i % kPattern < kPattern - 1;
  config.rope = Rope::kNeox;
  config.rope_base_local = static_cast<float>(local_base);
  config.qk_norm = true;
  config.post_norms = true;
  config.activation = Activation::kGelu;
  config.embedding_scale = std::sqrt(static_cast<float>(config.dim));
  // The 27B model scales by its width per head instead of the head's own.
  if (config.layers == 62)
    config.attention_scale =
        1.0f / std::sqrt(static_cast<float>(config.dim) / static_cast<float>(config.heads));
  HEDGE_TRY_SET(const double softcap, file.get_float_or("gemma3.final_logit_softcapping", 0.0));
  if (softcap != 0)
    return make_error(ErrorCode::kUnsupported, "gemma3 with final_logit_softcapping is not supported");
  return config;
}

}  // namespace hedge::model
