#include "optimize/perplexity.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "model/model.h"
#include "os/file.h"
#include "text/tokenizer.h"

namespace hedge::optimize {
namespace {

constexpr size_t kTextBytesMax = size_t{1} << 30;
constexpr int kLogitRows = 16;  // logits in memory at once: 16 MB for a vocabulary of 262k

// The file that llama-perplexity --kl-divergence-base writes: "_logits_", then int32 context, vocabulary and
// chunks, the tokens of all chunks, and for every predicted position the log-probabilities in 16 bits: float
// scale, float minimum, then one uint16 per token, padded to an even count.
class KlBase {
 public:
  static Result<std::unique_ptr<KlBase>> open(const std::string& path) {
    auto base = std::make_unique<KlBase>();
    HEDGE_TRY_SET(base->file_, os::MappedFile::open(path));
    const std::span<const uint8_t> bytes = base->file_->bytes();
    constexpr size_t kHeader = 20;
    if (bytes.size() < kHeader || std::memcmp(bytes.data(), "_logits_", 8) != 0) {
      return make_error(ErrorCode::kCorrupt,
                        path + ": expected a KL base file of llama-perplexity (beginning with _logits_)");
    }
    base->context = load_le<int32_t>(bytes.data() + 8);
    base->vocab = load_le<int32_t>(bytes.data() + 12);
    base->chunks = load_le<int32_t>(bytes.data() + 16);
    if (base->context < 8 || base->context > 1 << 20 || base->vocab < 2 || base->vocab > 1 << 21 ||
        base->chunks < 1 || base->chunks > 1 << 20) {
      return make_error(ErrorCode::kCorrupt, path + ": context, vocabulary or chunk count out of range");
    }
    base->stride_ = 2 * ((static_cast<size_t>(base->vocab) + 1) / 2) + 4;
    base->per_chunk_ = static_cast<size_t>(base->context - 1 - base->context / 2);
    const size_t tokens_bytes = static_cast<size_t>(base->chunks) * static_cast<size_t>(base->context) * 4;
    const size_t expected =
        kHeader + tokens_bytes + static_cast<size_t>(base->chunks) * base->per_chunk_ * base->stride_ * 2;
    if (bytes.size() < expected) {
      return make_error(ErrorCode::kCorrupt, path + ": expected " + std::to_string(expected) +
                                                 " bytes, got " + std::to_string(bytes.size()));
    }
    base->tokens.resize(tokens_bytes / 4);
    std::memcpy(base->tokens.data(), bytes.data() + kHeader, tokens_bytes);
    for (const int32_t token : base->tokens) {
      if (token < 0 || token >= base->vocab)
        return make_error(ErrorCode::kCorrupt, path + ": token id out of range");
    }
    base->log_probs_ = bytes.data() + kHeader + tokens_bytes;
    return base;
  }

  // Log-probability record of predicted position `index` of `chunk`: scale, minimum, 16-bit values.
  const uint8_t* record(int chunk, int index) const {
    return log_probs_ + (static_cast<size_t>(chunk) * per_chunk_ + static_cast<size_t>(index)) * stride_ * 2;
  }

  int context = 0, vocab = 0, chunks = 0;
  std::vector<int32_t> tokens;

 private:
  std::unique_ptr<os::MappedFile> file_;
  const uint8_t* log_probs_ = nullptr;
  size_t stride_ = 0, per_chunk_ = 0;
};

struct Sums {
  double nll = 0, nll_squares = 0, nll_base = 0;
  long count = 0, same_top = 0;
  std::vector<float> divergences;
};

double log_sum_exp(const float* logits, size_t vocab, float top) {
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(logits[i] - top);
  return top + std::log(sum);
}

Status score(const float* logits, size_t vocab, int32_t next, const uint8_t* base, Sums& sums) {
  const size_t best = static_cast<size_t>(std::max_element(logits, logits + vocab) - logits);
  const double norm = log_sum_exp(logits, vocab, logits[best]);
  const double nll = norm - logits[next];
  if (!std::isfinite(nll))
    return make_error(ErrorCode::kCorrupt, "the model gave no finite logits: its weights are broken");
  sums.nll += nll;
  sums.nll_squares += nll * nll;
  ++sums.count;
  if (base == nullptr) return {};
  const float scale = load_le<float>(base);
  const float minimum = load_le<float>(base + 4);
  if (!std::isfinite(scale) || !std::isfinite(minimum) || scale < 0 || minimum > 0) {
    return make_error(ErrorCode::kCorrupt, "KL base file: expected finite log-probabilities");
  }
  const auto log_prob = [&](size_t i) { return scale * load_le<uint16_t>(base + 8 + 2 * i) + minimum; };
  double divergence = 0;
  size_t base_best = 0;
  float base_top = log_prob(0);
  for (size_t i = 0; i < vocab; ++i) {
    const float p = log_prob(i);
    if (p > base_top) {
      base_top = p;
      base_best = i;
    }
    // Below e^-16 the file holds only its floor; llama-perplexity leaves these out as well.
    if (p > -16.0f) divergence += std::exp(p) * (p - logits[i] + norm);
  }
  sums.nll_base -= log_prob(static_cast<size_t>(next));
  sums.same_top += best == base_best ? 1 : 0;
  sums.divergences.push_back(static_cast<float>(divergence));
  return {};
}

Status score_chunk(model::Forward& forward, model::KvCache& cache, std::span<const int32_t> tokens,
                   int32_t bos, size_t vocab, const KlBase* base, int chunk, Sums& sums) {
  const int context = static_cast<int>(tokens.size());
  const int first = context / 2;
  for (int begin = 0; begin < context; begin += forward.rows_max()) {
    const int end = std::min(context, begin + forward.rows_max());
    std::vector<model::Row> rows;
    std::vector<int> outputs;
    for (int i = begin; i < end; ++i) {
      rows.push_back({i == 0 && bos >= 0 ? bos : tokens[static_cast<size_t>(i)], i, &cache});
      if (i >= first && i + 1 < context) outputs.push_back(i - begin);
    }
    forward.run(rows, outputs);
    const int count = static_cast<int>(outputs.size());
    for (int at = 0; at < count; at += kLogitRows) {
      const int step = std::min(kLogitRows, count - at);
      const float* logits = forward.logits(at, step);
      for (int j = 0; j < step; ++j) {
        const int position = begin + outputs[static_cast<size_t>(at + j)];
        HEDGE_TRY(score(logits + static_cast<size_t>(j) * vocab, vocab,
                        tokens[static_cast<size_t>(position + 1)],
                        base != nullptr ? base->record(chunk, position - first) : nullptr, sums));
      }
    }
  }
  return {};
}

Result<std::vector<int32_t>> text_tokens(const PerplexityOptions& options, const text::Tokenizer& tokenizer) {
  HEDGE_TRY_SET(const std::string text, os::read_file(options.text_path, kTextBytesMax));
  std::vector<int32_t> tokens = tokenizer.encode(text, {true, true});
  if (static_cast<int>(tokens.size()) < 2 * options.context_tokens) {
    return make_error(ErrorCode::kInvalidArgument, options.text_path + ": expected at least " +
                                                       std::to_string(2 * options.context_tokens) +
                                                       " tokens, got " + std::to_string(tokens.size()));
  }
  return tokens;
}

PerplexityResult summarize(Sums& sums, bool has_kl) {
  PerplexityResult result;
  const double n = static_cast<double>(sums.count);
  const double mean = sums.nll / n;
  result.ppl = std::exp(mean);
  const double variance = sums.nll_squares / n - mean * mean;
  if (variance > 0 && sums.count > 1) result.ppl_stderr = std::sqrt(variance / (n - 1)) * result.ppl;
  result.tokens = sums.count;
  result.has_kl = has_kl;
  if (!has_kl) return result;
  double total = 0;
  for (const float d : sums.divergences) total += d;
  result.kl_mean = total / n;
  const size_t rank = static_cast<size_t>(0.99 * (n - 1));
  std::nth_element(sums.divergences.begin(), sums.divergences.begin() + static_cast<long>(rank),
                   sums.divergences.end());
  result.kl_p99 = sums.divergences[rank];
  result.same_top_pct = 100.0 * static_cast<double>(sums.same_top) / n;
  result.ppl_base = std::exp(sums.nll_base / n);
  return result;
}

}  // namespace

Result<PerplexityResult> perplexity(const PerplexityOptions& options,
                                    const std::function<void(int, int, double)>& progress) {
  const auto start = SteadyClock::now();
  if (options.context_tokens < 8 || options.context_tokens > 1 << 16) {
    return make_error(ErrorCode::kInvalidArgument,
                      "context: expected 8 to 65536 tokens, got " + std::to_string(options.context_tokens));
  }
  HEDGE_TRY_SET(const std::unique_ptr<model::Model> model,
                model::Model::load(options.model_path, options.threads));
  HEDGE_TRY_SET(const std::unique_ptr<text::Tokenizer> tokenizer, text::Tokenizer::load(model->file()));
  const size_t vocab = static_cast<size_t>(model->config().vocab);
  std::unique_ptr<KlBase> base;
  std::vector<int32_t> tokens;
  if (!options.kl_base_path.empty()) {
    HEDGE_TRY_SET(base, KlBase::open(options.kl_base_path));
    if (base->context != options.context_tokens || static_cast<size_t>(base->vocab) != vocab) {
      return make_error(ErrorCode::kInvalidArgument, options.kl_base_path + ": expected context " +
                                                         std::to_string(options.context_tokens) +
                                                         " and vocabulary " + std::to_string(vocab) +
                                                         ", got " + std::to_string(base->context) + " and " +
                                                         std::to_string(base->vocab));
    }
    tokens = base->tokens;
    HEDGE_TRY_SET(const std::vector<int32_t> of_text, text_tokens(options, *tokenizer));
    if (of_text.size() < tokens.size() || !std::equal(tokens.begin(), tokens.end(), of_text.begin())) {
      return make_error(ErrorCode::kInvalidArgument, options.kl_base_path + ": expected the tokens of " +
                                                         options.text_path +
                                                         ", but it was written over another text");
    }
  } else {
    HEDGE_TRY_SET(tokens, text_tokens(options, *tokenizer));
  }
  const int context = options.context_tokens;
  HEDGE_TRY_SET(const model::KvType kv_type, model::parse_kv_type(options.kv_type));
  int chunks = static_cast<int>(tokens.size()) / context;
  if (options.chunks > 0) chunks = std::min(chunks, options.chunks);
  HEDGE_TRY_SET(const std::unique_ptr<model::KvCache> cache,
                model::KvCache::create(model->config(), context, kv_type));
  const std::unique_ptr<model::Forward> forward =
      model->make_forward(std::min(context, 512), kLogitRows, context);
  Sums sums;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const std::span<const int32_t> piece(
        tokens.data() + static_cast<size_t>(chunk) * static_cast<size_t>(context),
        static_cast<size_t>(context));
    HEDGE_TRY(score_chunk(*forward, *cache, piece, tokenizer->adds_bos() ? tokenizer->bos() : -1, vocab,
                          base.get(), chunk, sums));
    if (progress) progress(chunk + 1, chunks, std::exp(sums.nll / static_cast<double>(sums.count)));
  }
  PerplexityResult result = summarize(sums, base != nullptr);
  result.chunks = chunks;
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace hedge::optimize
