// llama (Llama 2 and 3, SmolLM2, Mistral as converted): pre-norm, grouped-query attention, interleaved RoPE,
// SwiGLU.
#include "model/arch/arch.h"

namespace hedge::model {

Result<Config> llama_config(const gguf::File& file) {
  HEDGE_TRY_SET(Config config, read_common(file, "llama"));
  if (file.find("llama.expert_count") != nullptr) {
    HEDGE_TRY_SET(const uint64_t experts, file.get_uint("llama.expert_count"));
    if (experts > 0)
      return make_error(ErrorCode::kUnsupported, "llama with experts (mixture of experts) is not supported");
  }
  config.rope = Rope::kInterleaved;
  config.activation = Activation::kSilu;
  return config;
}

}  // namespace hedge::model
