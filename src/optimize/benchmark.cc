#include "optimize/benchmark.h"

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/rng.h"
#include "model/model.h"

namespace hedge::optimize {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

struct Bench {
  model::Model& model;
  model::Forward& forward;
  model::KvCache& cache;
  Rng rng{1};

  int32_t random_token() {
    return static_cast<int32_t>(rng.below(static_cast<uint64_t>(model.config().vocab)));
  }

  // Runs random tokens at positions [first, first + tokens).
  void read(int first, int tokens) {
    std::vector<model::Row> rows;
    for (int i = 0; i < tokens; ++i) rows.push_back({random_token(), first + i, &cache});
    for (int begin = 0; begin < tokens; begin += forward.rows_max()) {
      const int count = std::min(forward.rows_max(), tokens - begin);
      const bool last = begin + count == tokens;
      const int output = count - 1;
      forward.run(std::span(rows).subspan(static_cast<size_t>(begin), static_cast<size_t>(count)),
                  last ? std::span(&output, 1) : std::span<const int>());
    }
    forward.logits(0, 1);
  }

  double prefill(int depth, int tokens) {
    const auto start = SteadyClock::now();
    read(depth, tokens);
    return tokens / seconds_since(start);
  }

  double decode(int depth, int tokens) {
    const int output = 0;
    const auto start = SteadyClock::now();
    for (int i = 0; i < tokens; ++i) {
      const model::Row row{random_token(), depth + i, &cache};
      forward.run({&row, 1}, {&output, 1});
      forward.logits(0, 1);
    }
    return tokens / seconds_since(start);
  }
};

}  // namespace

Result<std::vector<BenchmarkResult>> benchmark(const BenchmarkOptions& options) {
  int longest = 1;
  for (const int n : options.prompt_tokens) longest = std::max(longest, n);
  for (const int n : options.generated_tokens) longest = std::max(longest, n);
  const int depth = options.depth_tokens;
  if (longest > 1 << 18 || depth < 0 || depth > 1 << 18 || options.repetitions < 1 ||
      options.chunk_rows < 1) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "expected at most 262144 tokens and as deep a context, at least one repetition and one row");
  }
  HEDGE_TRY_SET(const model::KvType kv_type, model::parse_kv_type(options.kv_type));
  HEDGE_TRY_SET(const std::unique_ptr<model::Model> model,
                model::Model::load(options.model_path, options.threads));
  // What lies behind the length that a model was trained with says nothing about its use.
  if (const int context = model->config().context; context > 0 && depth + longest > context) {
    return make_error(ErrorCode::kContextExceeded,
                      "expected depth (-d) and test (-p, -n) of at most " + std::to_string(context) +
                          " tokens together, the context that the model was trained with; got " +
                          std::to_string(depth) + " + " + std::to_string(longest));
  }
  HEDGE_TRY_SET(const std::unique_ptr<model::KvCache> cache,
                model::KvCache::create(model->config(), depth + longest, kv_type));
  const std::unique_ptr<model::Forward> forward =
      model->make_forward(std::min(options.chunk_rows, depth + longest), 1, depth + longest);
  Bench bench{*model, *forward, *cache};
  std::vector<BenchmarkResult> results;
  const auto add = [&](const char* kind, int tokens) {
    BenchmarkResult result;
    result.test = kind + std::to_string(tokens);
    if (depth > 0) result.test += "@d" + std::to_string(depth);
    result.threads = model->team().threads();
    result.isa = model->table().name;
    results.push_back(std::move(result));
  };
  for (const int n : options.prompt_tokens) {
    if (n > 0) add("pp", n);
  }
  for (const int n : options.generated_tokens) {
    if (n > 0) add("tg", n);
  }
  // Whatever a test overwrites lies behind the depth.
  if (depth > 0) bench.read(0, depth);
  for (int run = -1; run < options.repetitions; ++run) {  // -1 is the warm-up
    for (BenchmarkResult& result : results) {
      const int tokens = std::stoi(result.test.substr(2));
      const double speed =
          result.test.starts_with("pp") ? bench.prefill(depth, tokens) : bench.decode(depth, tokens);
      if (run >= 0) result.runs.push_back(speed);
    }
  }
  for (BenchmarkResult& result : results) result.tokens_per_second = median(result.runs);
  return results;
}

}  // namespace hedge::optimize
