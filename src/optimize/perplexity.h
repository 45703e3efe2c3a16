// Perplexity and KL divergence of a model over a text, by the method of llama.cpp's llama-perplexity: the
// text is cut into chunks of `context_tokens`, each begins with BOS where the model wants one, and the second
// half of each chunk is predicted.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace hedge::optimize {

struct PerplexityOptions {
  std::string model_path;
  std::string text_path;
  int context_tokens = 512;
  int chunks = -1;  // -1: all
  int threads = 0;  // 0: all cores
  std::string kv_type = "q8";
  // A file written by llama-perplexity --kl-divergence-base over the same text; its tokens are used as they
  // are.
  std::string kl_base_path;
};

struct PerplexityResult {
  double ppl = 0;
  double ppl_stderr = 0;
  long tokens = 0;  // predicted
  int chunks = 0;
  bool has_kl = false;
  double ppl_base = 0;  // of the base file's own distribution
  double kl_mean = 0;   // nats
  double kl_p99 = 0;
  double same_top_pct = 0;  // share of positions whose most probable token is the base's
  double seconds = 0;
};

// progress(done, total, running ppl) is called after every chunk.
Result<PerplexityResult> perplexity(const PerplexityOptions& options,
                                    const std::function<void(int, int, double)>& progress);

}  // namespace hedge::optimize
