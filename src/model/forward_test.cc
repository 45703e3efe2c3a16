// The forward pass against ReferenceForward, and against itself in other groupings of the same work.
#include "model/forward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/dispatch.h"
#include "model/kv_pool.h"
#include "model/reference_forward.h"
#include "model/tiny_model.h"

namespace hedge::model {
namespace {

// A tiny model loaded from memory, with forward passes on any kernel level.
struct Machine {
  explicit Machine(const TinySpec& tiny, int threads = 1)
      : spec(tiny), bytes(TinyModel(tiny).to_bytes()), team(threads) {
    auto parsed = gguf::File::parse(bytes);
    EXPECT_TRUE(parsed.ok()) << parsed.error().to_text();
    file = std::move(parsed).value();
    auto read = read_config(*file);
    EXPECT_TRUE(read.ok()) << read.error().to_text();
    config = std::move(read).value();
    auto loaded = load_weights(*file, config);
    EXPECT_TRUE(loaded.ok()) << loaded.error().to_text();
    weights = std::move(loaded).value();
  }
  std::unique_ptr<Forward> forward(const kernels::Table& table, int rows_max = 64, int outputs_max = 64) {
    return Forward::create(config, weights, table, team, rows_max, outputs_max, spec.context);
  }
  std::unique_ptr<KvCache> cache(KvType type = KvType::kF16) {
    return std::move(KvCache::create(config, spec.context, type)).value();
  }
  size_t vocab() const { return static_cast<size_t>(config.vocab); }

  const TinySpec spec;
  const std::vector<uint8_t> bytes;
  os::Team team;
  std::unique_ptr<gguf::File> file;
  Config config;
  Weights weights;
};

using Logits = std::vector<std::vector<double>>;  // by position

std::vector<int32_t> some_tokens(size_t count, uint64_t seed = 7) {
  Rng rng(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.below(tiny_vocab().tokens.size()));
  return tokens;
}

// Runs the tokens at `first` onwards in batches of `batch` rows; logits of all.
Logits run_in(Forward& forward, KvCache& cache, size_t vocab, const std::vector<int32_t>& tokens,
              size_t batch, size_t first = 0) {
  Logits all;
  for (size_t begin = first; begin < tokens.size(); begin += batch) {
    const size_t end = std::min(tokens.size(), begin + batch);
    std::vector<Row> rows;
    for (size_t i = begin; i < end; ++i) rows.push_back({tokens[i], static_cast<int>(i), &cache});
    std::vector<int> outputs(rows.size());
    std::iota(outputs.begin(), outputs.end(), 0);
    forward.run(rows, outputs);
    const float* logits = forward.logits(0, static_cast<int>(rows.size()));
    for (size_t i = 0; i < rows.size(); ++i) all.emplace_back(logits + i * vocab, logits + (i + 1) * vocab);
  }
  return all;
}

Logits reference(const Machine& machine, const std::vector<int32_t>& tokens) {
  ReferenceForward forward(*machine.file, machine.spec);
  Logits all;
  for (const int32_t token : tokens) all.push_back(forward.step(token));
  return all;
}

// |a - b| / |b| over all logits of all positions; infinite where the shapes differ or a value is not a
// number.
double relative_error(const Logits& a, const Logits& b) {
  double error = 0, size = 0;
  if (a.size() != b.size()) return INFINITY;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return INFINITY;
    for (size_t j = 0; j < a[i].size(); ++j) {
      error += (a[i][j] - b[i][j]) * (a[i][j] - b[i][j]);
      size += b[i][j] * b[i][j];
    }
  }
  const double relative = std::sqrt(error / size);
  return std::isfinite(relative) ? relative : INFINITY;
}

std::vector<TinySpec> both_architectures() {
  TinySpec llama;
  TinySpec gemma;
  gemma.architecture = "gemma3";
  gemma.layers = 7;  // five local ones, a global one, a local one
  gemma.kv_heads = 1;
  gemma.tied = true;
  gemma.rope_base = 1e6f;
  return {llama, gemma};
}

// Long enough for several windows and more than one attention tile of positions.
constexpr size_t kTokens = 80;

// Float weights: all that is left is the rounding of floats, and of keys and values to half precision, where
// now and then a float and a double lie on different sides of a tie, 2^-11 apart.
constexpr double kFloatBound = 2e-4;
// Quantised weights: the kernels round the input of each product to int8 with one scale per 32 values. A
// uniform error of max/127 where the largest of 32 is about twice the deviation is 0.5 % of each input; four
// products per layer in two to six layers add theirs in squares.
constexpr double kInt8Bound = 3e-2;

class ForwardLevels : public testing::Test {
 protected:
  template <typename Body>
  void for_levels(Body body) {
    int usable = 0;
    for (const kernels::Level& level : kernels::levels()) {
      if (!level.usable) continue;
      SCOPED_TRACE(std::string(level.name));
      body(*level.table);
      ++usable;
    }
    EXPECT_GE(usable, 1);
  }
};

TEST_F(ForwardLevels, FloatWeightsAgreeWithTheReference) {
  for (TinySpec spec : both_architectures()) {
    for (const quant::Type type : {quant::Type::kF32, quant::Type::kF16, quant::Type::kBF16}) {
      spec.type = type;
      SCOPED_TRACE(spec.architecture + " " + std::string(quant::info(type).name));
      Machine machine(spec);
      const std::vector<int32_t> tokens = some_tokens(kTokens);
      const Logits expected = reference(machine, tokens);
      for_levels([&](const kernels::Table& table) {
        const auto forward = machine.forward(table);
        for (const size_t batch : {1, 3, 64}) {
          const auto cache = machine.cache();
          EXPECT_LT(relative_error(run_in(*forward, *cache, machine.vocab(), tokens, batch), expected),
                    kFloatBound)
              << "rows per step: " << batch;
        }
      });
    }
  }
}

TEST_F(ForwardLevels, EveryWeightTypeAgreesWithTheReference) {
  for (TinySpec spec : both_architectures()) {
    spec.dim = 256;  // the blocks of the K types
    spec.ffn_dim = 256;
    spec.heads = 4;
    spec.head_dim = 64;
    spec.layers = spec.gemma() ? 6 : 2;
    for (size_t i = 0; i < quant::kTypeCount; ++i) {
      spec.type = static_cast<quant::Type>(i);
      const quant::TypeInfo& type = quant::info(spec.type);
      if (type.block_values == 1 || type.quantize == nullptr) continue;
      if (spec.gemma() && spec.type != quant::Type::kQ4_K && spec.type != quant::Type::kQ8_0) continue;
      SCOPED_TRACE(spec.architecture + " " + std::string(type.name));
      Machine machine(spec);
      const std::vector<int32_t> tokens = some_tokens(12);
      const Logits expected = reference(machine, tokens);
      for_levels([&](const kernels::Table& table) {
        const auto forward = machine.forward(table);
        for (const size_t batch : {1, 3, 12}) {
          const auto cache = machine.cache();
          const Logits got = run_in(*forward, *cache, machine.vocab(), tokens, batch);
          EXPECT_LT(relative_error(got, expected), kInt8Bound) << "rows per step: " << batch;
        }
      });
    }
  }
}

TEST_F(ForwardLevels, RopeVariantsAgreeWithTheReference) {
  TinySpec factors;
  for (int i = 0; i < factors.head_dim / 2; ++i)
    factors.rope_factors.push_back(1.0f + 0.3f * static_cast<float>(i));
  TinySpec linear = both_architectures()[1];
  linear.rope_linear = 8;
  for (const TinySpec& spec : {factors, linear}) {
    SCOPED_TRACE(spec.architecture);
    Machine machine(spec);
    const std::vector<int32_t> tokens = some_tokens(24);
    const auto forward = machine.forward(kernels::active());
    const auto cache = machine.cache();
    EXPECT_LT(
        relative_error(run_in(*forward, *cache, machine.vocab(), tokens, 24), reference(machine, tokens)),
        kFloatBound);
  }
}

// The same sums in another order. For float weights that is float rounding. For quantised ones a value next
// to a tie of the int8 rounding goes the other way, which moves others over theirs: after a few products two
// orders differ by about as much as each does from exact activations.
constexpr double kRegroupedFloat = kFloatBound;
constexpr double kRegroupedInt8 = kInt8Bound;

TEST(Forward, PrefillEqualsSteps) {
  for (TinySpec spec : both_architectures()) {
    for (const quant::Type type : {quant::Type::kF32, quant::Type::kQ8_0}) {
      spec.type = type;
      Machine machine(spec);
      const std::vector<int32_t> tokens = some_tokens(kTokens);
      const auto forward = machine.forward(kernels::active());
      const auto one = machine.cache();
      const Logits steps = run_in(*forward, *one, machine.vocab(), tokens, 1);
      for (const size_t batch : {5, 33, 64}) {
        const auto other = machine.cache();
        EXPECT_LT(relative_error(run_in(*forward, *other, machine.vocab(), tokens, batch), steps),
                  type == quant::Type::kF32 ? kRegroupedFloat : kRegroupedInt8)
            << spec.architecture << ", rows per step: " << batch;
      }
    }
  }
}

// Several sequences in one batch, at different positions, decodes beside prompt pieces, equal each alone.
TEST(Forward, SequencesInOneBatchDoNotMix) {
  for (TinySpec spec : both_architectures()) {
    for (const quant::Type type : {quant::Type::kF32, quant::Type::kQ4_0}) {
      spec.type = type;
      Machine machine(spec);
      const auto forward = machine.forward(kernels::active());
      struct Member {
        std::vector<int32_t> tokens;
        size_t before;  // computed ahead of the common batch
        Logits alone;
        std::unique_ptr<KvCache> cache;
      };
      std::vector<Member> members;
      for (const auto& [count, before] :
           {std::pair<size_t, size_t>{20, 19}, {9, 0}, {31, 12}, {1, 0}, {40, 39}}) {
        Member member{some_tokens(count, count), before, {}, machine.cache()};
        const auto own = machine.cache();
        member.alone = run_in(*forward, *own, machine.vocab(), member.tokens, 1);
        if (before > 0) {
          const std::vector<int32_t> head(member.tokens.begin(),
                                          member.tokens.begin() + static_cast<long>(before));
          run_in(*forward, *member.cache, machine.vocab(), head, 8);
        }
        members.push_back(std::move(member));
      }
      std::vector<Row> rows;
      std::vector<int> outputs;
      Logits expected;
      for (const Member& member : members) {
        for (size_t i = member.before; i < member.tokens.size(); ++i) {
          rows.push_back({member.tokens[i], static_cast<int>(i), member.cache.get()});
        }
        outputs.push_back(static_cast<int>(rows.size()) - 1);
        expected.push_back(member.alone.back());
      }
      forward->run(rows, outputs);
      Logits got;
      const int half = static_cast<int>(outputs.size()) / 2;
      for (const auto& [first, count] :
           {std::pair<int, int>{0, half}, {half, static_cast<int>(outputs.size()) - half}}) {
        const float* logits = forward->logits(first, count);
        for (int i = 0; i < count; ++i) {
          const float* row = logits + static_cast<size_t>(i) * machine.vocab();
          got.emplace_back(row, row + machine.vocab());
        }
      }
      for (size_t i = 0; i < members.size(); ++i) {
        EXPECT_LT(relative_error({got[i]}, {expected[i]}),
                  type == quant::Type::kF32 ? kRegroupedFloat : kRegroupedInt8)
            << spec.architecture << ", sequence " << i;
      }
    }
  }
}

// With only local layers, a token further back than layers * (window - 1) cannot be seen; a nearer one can.
TEST(Forward, HonoursTheSlidingWindow) {
  TinySpec spec = both_architectures()[1];
  spec.layers = 2;
  spec.window = 8;
  Machine machine(spec);
  const auto forward = machine.forward(kernels::active());
  const std::vector<int32_t> tokens = some_tokens(40);
  const auto last_logits = [&](const std::vector<int32_t>& all, size_t batch) {
    const auto cache = machine.cache();
    return Logits{run_in(*forward, *cache, machine.vocab(), all, batch).back()};
  };
  for (const size_t batch : {1, 40}) {
    const Logits base = last_logits(tokens, batch);
    std::vector<int32_t> far = tokens;
    far[39 - 2 * 7 - 1] ^= 1;
    EXPECT_EQ(relative_error(last_logits(far, batch), base), 0) << "rows per step: " << batch;
    std::vector<int32_t> near = tokens;
    near[39 - 7] ^= 1;
    EXPECT_GT(relative_error(last_logits(near, batch), base), 1e-3) << "rows per step: " << batch;
  }
  TinySpec global = spec;
  global.window = 0;  // a file without a window has no local layers
  Machine open(global);
  const auto open_forward = open.forward(kernels::active());
  const auto cache_a = open.cache(), cache_b = open.cache();
  std::vector<int32_t> far = tokens;
  far[2] ^= 1;
  EXPECT_GT(relative_error({run_in(*open_forward, *cache_a, open.vocab(), far, 40).back()},
                           {run_in(*open_forward, *cache_b, open.vocab(), tokens, 40).back()}),
            1e-6);
}

TEST(Forward, ThreadsDoNotChangeTheResult) {
  for (TinySpec spec : both_architectures()) {
    for (const quant::Type type : {quant::Type::kF32, quant::Type::kQ5_1}) {
      spec.type = type;
      const std::vector<int32_t> tokens = some_tokens(40);
      Logits first;
      for (const int threads : {1, 2, 3}) {
        Machine machine(spec, threads);
        const auto forward = machine.forward(kernels::active());
        for (const size_t batch : {1, 40}) {
          const auto cache = machine.cache();
          const Logits got = run_in(*forward, *cache, machine.vocab(), tokens, batch);
          if (threads == 1 && batch == 1) first = got;
          EXPECT_LT(relative_error(got, first), type == quant::Type::kF32 ? kRegroupedFloat : kRegroupedInt8)
              << spec.architecture << ", threads: " << threads << ", rows per step: " << batch;
        }
      }
    }
  }
}

// A cache over pages of a pool, that it gives back at its end.
struct PooledCache {
  PooledCache(KvPool& pages, int context) : pool(pages), cache(pages.layout(), context) {}
  ~PooledCache() {
    for (const auto& [part, page] : own) pool.give(part, page);
  }
  KvPage add(KvPart part, size_t block) {
    const KvPage page = pool.take(part);
    EXPECT_NE(page, kNoPage);
    own.emplace_back(part, page);
    cache.set_page(part, block, pool.data(part, page));
    return page;
  }
  KvPool& pool;
  KvCache cache;
  std::vector<std::pair<KvPart, KvPage>> own;
};

// Two caches that share full pages, the second with a copy of the begun one, and without the local parts that
// no position sees any more, go on as if each had computed all; pages may come in any order.
TEST(Forward, SharedAndCopiedPagesAreTheSameCache) {
  for (const KvType type : {KvType::kF16, KvType::kQ8, KvType::kQ5}) {
    for (TinySpec spec : both_architectures()) {
      spec.window = 70;
      spec.context = 512;
      Machine machine(spec);
      const auto forward = machine.forward(kernels::active());
      const std::vector<int32_t> tokens = some_tokens(300);
      const KvLayout layout(machine.config, type);
      const auto pool = std::move(KvPool::create(layout, layout.bytes(4096, 64))).value();
      const auto own = machine.cache(type);
      const Logits whole = run_in(*forward, *own, machine.vocab(), tokens, 10);
      PooledCache first(*pool, spec.context), second(*pool, spec.context);
      std::vector<std::pair<KvPage, KvPage>> pages(5, {kNoPage, kNoPage});
      for (const size_t block : {3, 0, 4, 1, 2}) {
        pages[block].first = first.add(KvPart::kGlobal, block);
        if (layout.has_local()) pages[block].second = first.add(KvPart::kLocal, block);
      }
      EXPECT_EQ(run_in(*forward, first.cache, machine.vocab(), tokens, 10), whole);
      const size_t begun = 4 * kKvBlock + 14;  // where the second goes on; a multiple of the batch
      for (size_t block = 0; block < 4; ++block) {
        second.cache.set_page(KvPart::kGlobal, block, pool->data(KvPart::kGlobal, pages[block].first));
        if (layout.has_local() && layout.sees_local(block, begun))
          second.cache.set_page(KvPart::kLocal, block, pool->data(KvPart::kLocal, pages[block].second));
      }
      std::memcpy(pool->data(KvPart::kGlobal, second.add(KvPart::kGlobal, 4)),
                  pool->data(KvPart::kGlobal, pages[4].first), layout.bytes_of(KvPart::kGlobal));
      if (layout.has_local()) {
        EXPECT_EQ(layout.first_local_block(begun), 3u);
        std::memcpy(pool->data(KvPart::kLocal, second.add(KvPart::kLocal, 4)),
                    pool->data(KvPart::kLocal, pages[4].second), layout.bytes_of(KvPart::kLocal));
      }
      EXPECT_EQ(run_in(*forward, second.cache, machine.vocab(), tokens, 10, begun),
                Logits(whole.begin() + begun, whole.end()))
          << spec.architecture << ", " << kv_type_name(type);
    }
  }
}

// ---- 8-bit keys and values ----

// Keys are rounded by 1/254 of the largest of 32, values of the largest of a head, queries and weights
// likewise: about what the int8 inputs of the products lose.
constexpr double kKv8Bound = kInt8Bound;

TEST_F(ForwardLevels, EightBitCacheIsNearTheReference) {
  for (TinySpec spec : both_architectures()) {
    for (const int head_dim : {32, 48}) {  // a multiple of the group, and one that is padded
      spec.head_dim = head_dim;
      Machine machine(spec);
      const std::vector<int32_t> tokens = some_tokens(kTokens);
      const Logits expected = reference(machine, tokens);
      for_levels([&](const kernels::Table& table) {
        const auto forward = machine.forward(table);
        for (const size_t batch : {1, 3, 64}) {
          const auto cache = machine.cache(KvType::kQ8);
          EXPECT_LT(relative_error(run_in(*forward, *cache, machine.vocab(), tokens, batch), expected),
                    kKv8Bound)
              << spec.architecture << ", head " << head_dim << ", rows per step: " << batch;
        }
      });
    }
  }
}

// A decode far into the context merges pieces of positions; the tiled way of a prompt has none.
TEST_F(ForwardLevels, PiecesOfALongContextAddUp) {
  TinySpec spec;
  spec.context = 2500;
  spec.layers = 2;
  Machine machine(spec, 2);
  const std::vector<int32_t> tokens = some_tokens(2300);
  for_levels([&](const kernels::Table& table) {
    if (&table != &kernels::active()) return;  // the scalar level takes long, and the pieces are the same
    const auto forward = machine.forward(table);
    const auto cache = machine.cache(KvType::kQ5);
    const Logits prompt = run_in(*forward, *cache, machine.vocab(), tokens, 64);
    for (const size_t position : {1023, 1024, 1100, 2047, 2048, 2299}) {
      const Row row{tokens[position], static_cast<int>(position), cache.get()};
      const int output = 0;
      forward->run({&row, 1}, {&output, 1}, Mode::kDecode);
      const float* logits = forward->logits(0, 1);
      EXPECT_LT(relative_error({{logits, logits + machine.vocab()}}, {prompt[position]}), 2e-3)
          << "position " << position;
    }
  });
}

// ---- 5-bit keys and values ----

// Queries of the first three blocks see all in 8 bits; later ones see older blocks rounded to 31 half-steps
// of the largest of 32 (keys) or of a head (values), four times as coarse.
TEST_F(ForwardLevels, FiveBitsAreForWhatIsFar) {
  for (TinySpec spec : both_architectures()) {
    for (const int head_dim : {32, 48}) {
      spec.head_dim = head_dim;
      spec.context = 320;
      Machine machine(spec);
      const std::vector<int32_t> tokens = some_tokens(300);
      for_levels([&](const kernels::Table& table) {
        const auto forward = machine.forward(table);
        const auto five = machine.cache(KvType::kQ5), eight = machine.cache(KvType::kQ8);
        const Logits got = run_in(*forward, *five, machine.vocab(), tokens, 60);
        const Logits finer = run_in(*forward, *eight, machine.vocab(), tokens, 60);
        const auto part = [](const Logits& all, size_t begin, size_t end) {
          return Logits(all.begin() + static_cast<long>(begin), all.begin() + static_cast<long>(end));
        };
        EXPECT_EQ(part(got, 0, 3 * kKvBlock), part(finer, 0, 3 * kKvBlock)) << spec.architecture;
        const double error = relative_error(part(got, 3 * kKvBlock, 300), part(finer, 3 * kKvBlock, 300));
        EXPECT_GT(error, 0) << spec.architecture;
        EXPECT_LT(error, 4 * kKv8Bound) << spec.architecture << ", head " << head_dim;
      });
    }
  }
}

// What a position sees depends on itself alone, not on the pieces in which a prompt is read.
TEST(Forward, FiveBitsDoNotDependOnTheCut) {
  for (TinySpec spec : both_architectures()) {
    spec.window = 70;
    spec.context = 400;
    Machine machine(spec, 2);
    const auto forward = machine.forward(kernels::active());
    const std::vector<int32_t> tokens = some_tokens(380);
    Logits first;
    for (const size_t batch : {64, 7, 50, 33}) {
      const auto cache = machine.cache(KvType::kQ5);
      std::vector<Row> rows;
      for (size_t begin = 0; begin < tokens.size(); begin += batch) {
        rows.clear();
        for (size_t p = begin; p < std::min(begin + batch, tokens.size()); ++p)
          rows.push_back({tokens[p], static_cast<int>(p), cache.get()});
        const int last = static_cast<int>(rows.size()) - 1;
        forward->run(rows, {&last, 1}, Mode::kPrompt);
      }
      const float* logits = forward->logits(0, 1);
      const Logits got{{logits, logits + machine.vocab()}};
      if (first.empty()) first = got;
      EXPECT_EQ(got, first) << spec.architecture << ", rows per step: " << batch;
    }
  }
}

// Of f16's bytes per token, at the longest default context.
TEST(KvLayout, FiveBitsTakeTwoFifthsOfHalfPrecision) {
  Config config;
  config.layers = 30;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.local.assign(30, false);
  const KvLayout five(config, KvType::kQ5), half(config, KvType::kF16);
  EXPECT_LT(five.bytes_of(KvPart::kGlobal), half.bytes_of(KvPart::kGlobal) * 0.34);
  EXPECT_LT(five.bytes(4096, 256), half.bytes(4096, 256) * 0.40);
  EXPECT_EQ(five.packed_from(0, 0), SIZE_MAX);
  EXPECT_EQ(five.packed_from(0, 3), 5 * kKvBlock);
  for (const size_t position : {0, 63, 64, 127, 128, 191, 192, 1000}) {
    for (size_t block = 0; block <= position / kKvBlock; ++block)
      EXPECT_EQ(five.sees_local(block, position), position < five.packed_from(0, block)) << position;
  }
  EXPECT_EQ(half.packed_from(0, 3), SIZE_MAX);
}

// Bit for bit, whatever stands in the batch and however many threads compute.
class ForwardTypes : public testing::TestWithParam<KvType> {};
INSTANTIATE_TEST_SUITE_P(Types, ForwardTypes, testing::Values(KvType::kQ8, KvType::kQ5),
                         [](const auto& each) { return std::string(kv_type_name(each.param)); });

TEST_P(ForwardTypes, DecodesAreTheSameBits) {
  for (TinySpec spec : both_architectures()) {
    spec.context = 1500;
    const std::vector<int32_t> tokens = some_tokens(1200);
    Logits first;
    for (const int threads : {1, 2, 3}) {
      Machine machine(spec, threads);
      const auto forward = machine.forward(kernels::active());
      std::vector<std::unique_ptr<KvCache>> caches;
      for (int i = 0; i < 3; ++i) {
        caches.push_back(machine.cache(GetParam()));
        std::vector<Row> rows;
        for (size_t begin = 0; begin < tokens.size() - 1; begin += 64) {
          rows.clear();
          for (size_t p = begin; p < std::min(begin + 64, tokens.size() - 1); ++p)
            rows.push_back({tokens[p], static_cast<int>(p), caches.back().get()});
          forward->run(rows, {}, Mode::kPrompt);
        }
      }
      for (const size_t sequences : {1, 3}) {
        std::vector<Row> rows;
        std::vector<int> outputs;
        for (size_t i = 0; i < sequences; ++i) {
          rows.push_back({tokens.back(), static_cast<int>(tokens.size()) - 1, caches[i].get()});
          outputs.push_back(static_cast<int>(i));
        }
        forward->run(rows, outputs, Mode::kDecode);
        const float* logits = forward->logits(0, static_cast<int>(sequences));
        const Logits got{{logits, logits + machine.vocab()}};
        if (first.empty()) first = got;
        EXPECT_EQ(got, first) << spec.architecture << ", threads " << threads << ", sequences " << sequences;
      }
    }
  }
}

// More sequences than the direct kernels take at once, and as many ends of prompts.
TEST(Forward, ManySequencesChangeNoBit) {
  for (const TinySpec& spec : both_architectures()) {
    Machine machine(spec, 2);
    const auto forward = machine.forward(kernels::active());
    const std::vector<int32_t> tokens = some_tokens(20);
    constexpr size_t kSequences = 20;
    for (const Mode mode : {Mode::kPrompt, Mode::kDecode}) {
      Logits first;
      for (const size_t sequences : {size_t{1}, size_t{9}, kSequences}) {
        std::vector<std::unique_ptr<KvCache>> caches;
        std::vector<Row> rows;
        std::vector<int> outputs;
        for (size_t i = 0; i < sequences; ++i) {
          caches.push_back(machine.cache(KvType::kQ8));
          std::vector<Row> prompt;
          for (size_t p = 0; p + 1 < tokens.size(); ++p)
            prompt.push_back({tokens[p], static_cast<int>(p), caches.back().get()});
          forward->run(prompt, {}, Mode::kPrompt);
          rows.push_back({tokens.back(), static_cast<int>(tokens.size()) - 1, caches.back().get()});
          outputs.push_back(static_cast<int>(i));
        }
        forward->run(rows, outputs, mode);
        const float* logits = forward->logits(0, static_cast<int>(sequences));
        if (first.empty()) first = {{logits, logits + machine.vocab()}};
        for (size_t i = 0; i < sequences; ++i) {
          const float* row = logits + i * machine.vocab();
          EXPECT_EQ(std::vector<double>(row, row + machine.vocab()), first[0])
              << spec.architecture << ", sequence " << i << " of " << sequences;
        }
      }
    }
  }
}

// Logits of the rows `tokens` at `position` onwards of one cache, in one decode batch. `beside`: another
// sequence's row that stands before them.
Logits decode(Forward& forward, KvCache& cache, size_t vocab, std::span<const int32_t> tokens,
              size_t position, const Row* beside = nullptr) {
  std::vector<Row> rows;
  if (beside != nullptr) rows.push_back(*beside);
  std::vector<int> outputs;
  for (const int32_t token : tokens) {
    outputs.push_back(static_cast<int>(rows.size()));
    rows.push_back({token, static_cast<int>(position++), &cache});
  }
  forward.run(rows, outputs, Mode::kDecode);
  const float* logits = forward.logits(0, static_cast<int>(tokens.size()));
  Logits all;
  for (size_t i = 0; i < tokens.size(); ++i) all.emplace_back(logits + i * vocab, logits + (i + 1) * vocab);
  return all;
}

void prefill(Forward& forward, KvCache& cache, std::span<const int32_t> tokens) {
  constexpr size_t kRows = 64;
  for (size_t begin = 0; begin < tokens.size(); begin += kRows) {
    std::vector<Row> rows;
    for (size_t i = begin; i < std::min(tokens.size(), begin + kRows); ++i)
      rows.push_back({tokens[i], static_cast<int>(i), &cache});
    forward.run(rows, {}, Mode::kPrompt);
  }
}

// What speculation rests on: up to kDecodeRowsMax rows of one sequence give the bits of as many single steps,
// whatever rejected drafts have left at their positions.
void expect_drafts_are_steps(Machine& machine, const kernels::Table& table, KvType type, size_t prompt) {
  constexpr size_t kSteps = 16;
  const std::vector<int32_t> tokens = some_tokens(prompt + kSteps);
  const std::vector<int32_t> wrong = some_tokens(kDecodeRowsMax, 99);
  const auto forward = machine.forward(table);
  const auto single = machine.cache(type), drafted = machine.cache(type), other = machine.cache(type);
  for (KvCache* cache : {single.get(), drafted.get(), other.get()})
    prefill(*forward, *cache, std::span(tokens).first(prompt));
  Logits expected;
  for (size_t i = prompt; i < tokens.size(); ++i)
    expected.push_back(decode(*forward, *single, machine.vocab(), {&tokens[i], 1}, i).front());
  const Row beside{tokens[prompt], static_cast<int>(prompt), other.get()};
  size_t batch = 0;
  for (size_t position = prompt; position < tokens.size(); ++batch) {
    const size_t rows = std::min(batch % kDecodeRowsMax + 1, tokens.size() - position);
    const bool has_beside = batch % 3 == 1 && rows < kDecodeRowsMax;
    decode(*forward, *drafted, machine.vocab(), std::span(wrong).first(1 + batch * 5 % kDecodeRowsMax),
           position);
    const Logits got = decode(*forward, *drafted, machine.vocab(), std::span(tokens).subspan(position, rows),
                              position, has_beside ? &beside : nullptr);
    for (size_t i = 0; i < rows; ++i) {
      ASSERT_EQ(got[i], expected[position + i - prompt])
          << "row " << i << " of " << rows << " at position " << position;
    }
    position += rows;
  }
}

TEST_F(ForwardLevels, DraftRowsOfOneSequenceAreSingleSteps) {
  for (TinySpec spec : both_architectures()) {
    spec.dim = 256;  // the blocks of the K types
    spec.ffn_dim = 256;
    for (size_t i = 0; i < quant::kTypeCount; ++i) {
      spec.type = static_cast<quant::Type>(i);
      const quant::TypeInfo& info = quant::info(spec.type);
      if (info.quantize == nullptr) continue;
      if (spec.gemma() && spec.type != quant::Type::kQ4_K && spec.type != quant::Type::kQ8_0) continue;
      spec.head_dim = i % 2 == 0 ? 32 : 48;  // a multiple of the group, and one that is padded
      spec.heads = i % 2 == 0 ? 8 : 16;
      Machine machine(spec, 1 + static_cast<int>(i % 3));
      for_levels([&](const kernels::Table& table) {
        for (const KvType type : {KvType::kF16, KvType::kQ8}) {
          SCOPED_TRACE(spec.architecture + " " + std::string(info.name) + ", KV " +
                       std::string(kv_type_name(type)));
          expect_drafts_are_steps(machine, table, type, 55);  // across the first block of positions
        }
      });
      if (HasFatalFailure()) return;
    }
  }
}

// Across two pieces of attention's work.
TEST(Forward, DraftRowsFarIntoTheContextAreSingleSteps) {
  for (TinySpec spec : both_architectures()) {
    spec.context = 1100;
    spec.type = quant::Type::kQ8_0;
    Machine machine(spec, 2);
    for (const KvType type : {KvType::kF16, KvType::kQ8, KvType::kQ5}) {
      SCOPED_TRACE(spec.architecture + ", KV " + std::string(kv_type_name(type)));
      expect_drafts_are_steps(machine, kernels::active(), type, 1010);
    }
  }
}

// The last block's state, through the final norm and the head, is what the logits are made of; and a tap
// leaves them as they are.
TEST(Forward, TappedStatesAreTheStreamAfterTheirBlock) {
  for (const char* architecture : {"llama", "gemma3"}) {
    SCOPED_TRACE(architecture);
    TinySpec spec;
    spec.architecture = architecture;
    spec.layers = 4;
    Machine machine(spec);
    const kernels::Table& table = kernels::active();
    const std::vector<int32_t> tokens = some_tokens(40);
    for (const size_t batch : {size_t{1}, size_t{2}, size_t{5}, size_t{40}}) {
      SCOPED_TRACE(batch);
      const auto tapped = machine.forward(table);
      const auto plain = machine.forward(table);
      const std::vector<int> blocks{1, 3};
      tapped->tap(blocks);
      const auto cache = KvCache::create(machine.config, spec.context, KvType::kF16);
      const auto plain_cache = KvCache::create(machine.config, spec.context, KvType::kF16);
      for (size_t begin = 0; begin < tokens.size(); begin += batch) {
        const size_t end = std::min(tokens.size(), begin + batch);
        std::vector<Row> rows, plain_rows;
        for (size_t i = begin; i < end; ++i) {
          rows.push_back({tokens[i], static_cast<int>(i), cache->get()});
          plain_rows.push_back({tokens[i], static_cast<int>(i), plain_cache->get()});
        }
        const std::vector<int> last{static_cast<int>(rows.size()) - 1};
        tapped->run(rows, last);
        plain->run(plain_rows, last);
        const std::span<const float> states = tapped->tapped(0);
        ASSERT_EQ(states.size(), 2 * static_cast<size_t>(machine.config.dim));
        const size_t dim = static_cast<size_t>(machine.config.dim);
        const std::span<const float> top = states.subspan(dim);
        double squares = 0;
        for (const float x : top) squares += static_cast<double>(x) * static_cast<double>(x);
        const double scale =
            1 / std::sqrt(squares / static_cast<double>(dim) + static_cast<double>(machine.config.norm_eps));
        std::vector<float> row(dim);
        const float* logits = tapped->logits(0, 1);
        const float* plain_logits = plain->logits(0, 1);
        const Matrix& head = machine.weights.head;
        for (size_t v = 0; v < machine.vocab(); ++v) {
          ASSERT_EQ(logits[v], plain_logits[v]) << "a tap changes nothing";
          quant::info(head.type).dequantize(head.row(v), row.data(), dim);
          double expected = 0;
          for (size_t i = 0; i < dim; ++i) {
            expected += static_cast<double>(row[i]) * static_cast<double>(top[i]) * scale *
                        static_cast<double>(machine.weights.output_norm.data()[i]);
          }
          ASSERT_NEAR(logits[v], expected, 0.05 * (1 + std::abs(expected))) << v;
        }
      }
    }
  }
}

}  // namespace
}  // namespace hedge::model
