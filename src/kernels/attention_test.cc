// Attention over 8-bit keys and values, every level: against double precision on the stored values, and each
// row against itself alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/test_util.h"

namespace hedge::kernels::testing {
namespace {

struct Blocks {
  Blocks(const Table& table, size_t n_in, size_t positions, Rng& rng)
      : n(n_in), count((positions + kKvBlock - 1) / kKvBlock) {
    k.resize(count * kKvBlock * n);
    v.resize(k.size());
    kd.resize(count * kKvBlock * (n / kActGroup));
    vd.resize(count * kKvBlock);
    std::vector<float> x(n);
    for (size_t p = 0; p < positions; ++p) {
      const KvBlock block = at(p / kKvBlock);
      for (float& value : x) value = normal(rng) * (p % 7 == 0 ? 3.0f : 1.0f);
      table.store_key(x.data(), n, &block, p % kKvBlock);
      keys.push_back(x);
      for (float& value : x) value = normal(rng) * (p % 5 == 0 ? 2.0f : 0.5f);
      if (p == 3) std::fill(x.begin(), x.end(), 0.0f);
      table.store_value(x.data(), n, &block, p % kKvBlock);
      values.push_back(x);
    }
  }
  KvBlock at(size_t b) {
    return {k.data() + b * kKvBlock * n, kd.data() + b * kKvBlock * (n / kActGroup),
            v.data() + b * kKvBlock * n, vd.data() + b * kKvBlock};
  }
  // As stored.
  double key(size_t p, size_t i) {
    const KvBlock block = at(p / kKvBlock);
    const int u = block.k[(i / 4 * kKvBlock + p % kKvBlock) * 4 + i % 4];
    return (u - 128) * static_cast<double>(block.kd[i / kActGroup * kKvBlock + p % kKvBlock]);
  }
  double value(size_t p, size_t i) {
    const KvBlock block = at(p / kKvBlock);
    const size_t slot = p % kKvBlock;
    return block.v[(slot / 4 * n + i) * 4 + slot % 4] * static_cast<double>(block.vd[slot]);
  }

  size_t n, count;
  std::vector<uint8_t> k;
  std::vector<int8_t> v;
  std::vector<float> kd, vd;
  std::vector<std::vector<float>> keys, values;  // as given
};

struct Rows {
  Rows(const Table& table, const std::vector<std::vector<float>>& queries, float scale)
      : rows(queries.size()), n(queries[0].size()) {
    q.resize(rows * n);
    qd.resize(rows * (n / kActGroup));
    qs.resize(qd.size());
    sums.resize(rows * n);
    top.assign(rows, -1.0e30f);
    total.resize(rows);
    scores.resize(rows * kKvBlock);
    p.resize(rows * kKvBlock);
    for (size_t r = 0; r < rows; ++r) {
      table.quantize_query(queries[r].data(), n, scale, &q[r * n], &qd[r * (n / kActGroup)],
                           &qs[r * (n / kActGroup)]);
    }
  }
  // Row r sees positions [from[r], to[r]).
  void attend(const Table& table, Blocks& blocks, const std::vector<size_t>& from,
              const std::vector<size_t>& to) {
    const AttentionRows view{rows,        n,          q.data(),     qd.data(),     qs.data(),
                             sums.data(), top.data(), total.data(), scores.data(), p.data()};
    std::vector<uint8_t> low(rows), high(rows);
    for (size_t b = 0; b < blocks.count; ++b) {
      const size_t begin = b * kKvBlock;
      for (size_t r = 0; r < rows; ++r) {
        low[r] = static_cast<uint8_t>(std::clamp(from[r], begin, begin + kKvBlock) - begin);
        high[r] = static_cast<uint8_t>(std::clamp(to[r], begin, begin + kKvBlock) - begin);
      }
      const KvBlock block = blocks.at(b);
      table.attend_block(&view, &block, low.data(), high.data());
    }
  }
  float out(size_t r, size_t i) const { return sums[r * n + i] / total[r]; }

  size_t rows, n;
  std::vector<int8_t> q;
  std::vector<float> qd, sums, top, total, scores;
  std::vector<int32_t> qs;
  std::vector<uint8_t> p;
};

std::vector<std::vector<float>> some_queries(size_t rows, size_t n, Rng& rng) {
  std::vector<std::vector<float>> queries(rows, std::vector<float>(n));
  for (auto& query : queries) {
    for (float& value : query) value = normal(rng);
  }
  return queries;
}

class AttentionKernels : public LevelTest {};

TEST_P(AttentionKernels, StoredValuesAreNear) {
  Rng rng(1);
  Blocks blocks(table(), 96, 70, rng);
  for (size_t p = 0; p < 70; ++p) {
    for (size_t g = 0; g < 3; ++g) {
      float most = 0;
      for (size_t i = 0; i < 32; ++i) most = std::max(most, std::abs(blocks.keys[p][g * 32 + i]));
      for (size_t i = 0; i < 32; ++i) {
        EXPECT_NEAR(blocks.key(p, g * 32 + i), blocks.keys[p][g * 32 + i], most * 0.501 / 127);
      }
    }
    float most = 0;
    for (const float value : blocks.values[p]) most = std::max(most, std::abs(value));
    for (size_t i = 0; i < 96; ++i) EXPECT_NEAR(blocks.value(p, i), blocks.values[p][i], most * 0.501 / 127);
  }
}

TEST_P(AttentionKernels, AgreesWithDoublePrecision) {
  Rng rng(2);
  for (const size_t n : {32, 64, 96, 128, 256}) {
    for (const size_t rows : {1, 2, 3, 5, 12, 13, 30}) {
      const size_t positions = 150 + rows;
      Blocks blocks(table(), n, positions, rng);
      const float scale = 1.0f / std::sqrt(static_cast<float>(n));
      Rows got(table(), some_queries(rows, n, rng), scale);
      std::vector<size_t> from(rows), to(rows);
      for (size_t r = 0; r < rows; ++r) {
        to[r] = 1 + rng.below(positions);
        from[r] = r % 3 == 0 ? 0 : rng.below(to[r]);
      }
      got.attend(table(), blocks, from, to);
      double error = 0, size = 0;
      for (size_t r = 0; r < rows; ++r) {
        std::vector<double> weights;
        double total = 0;
        for (size_t p = from[r]; p < to[r]; ++p) {
          double score = 0;
          for (size_t i = 0; i < n; ++i) {
            score += blocks.key(p, i) * got.q[r * n + i] * got.qd[r * (n / kActGroup) + i / kActGroup];
          }
          weights.push_back(std::exp(score));
          total += weights.back();
        }
        for (size_t i = 0; i < n; ++i) {
          double expected = 0;
          for (size_t p = from[r]; p < to[r]; ++p)
            expected += weights[p - from[r]] / total * blocks.value(p, i);
          error += (got.out(r, i) - expected) * (got.out(r, i) - expected);
          size += expected * expected;
        }
      }
      // Weights are rounded to steps of 1/127 or 1/255 of the largest in a block.
      EXPECT_LT(std::sqrt(error / size), 0.01) << "n " << n << ", rows " << rows;
    }
  }
}

TEST_P(AttentionKernels, ARowDoesNotDependOnTheOthers) {
  Rng rng(3);
  const size_t rows = 17, positions = 200;
  for (const size_t n : {32, 64, 160}) {
    Blocks blocks(table(), n, positions, rng);
    const auto queries = some_queries(rows, n, rng);
    std::vector<size_t> from(rows), to(rows);
    for (size_t r = 0; r < rows; ++r) {
      to[r] = positions - r * 11;
      from[r] = r % 4 == 1 ? to[r] - 5 : 0;
    }
    Rows all(table(), queries, 0.1f);
    all.attend(table(), blocks, from, to);
    for (size_t r = 0; r < rows; ++r) {
      Rows one(table(), {queries[r]}, 0.1f);
      one.attend(table(), blocks, {from[r]}, {to[r]});
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(one.out(0, i), all.out(r, i)) << "row " << r;
    }
  }
}

// ---- rotation and 5 bits ----

TEST_P(AttentionKernels, HadamardIsTheMatrix) {
  Rng rng(4);
  for (const size_t n : {32, 64, 96, 160, 256, 512}) {
    const size_t run = n == 96 || n == 160 ? 32 : std::min<size_t>(n, kRotatedMax);
    std::vector<float> x(n);
    for (float& value : x) value = normal(rng);
    std::vector<float> got = x;
    table().hadamard(got.data(), n);
    for (size_t i = 0; i < n; ++i) {
      double expected = 0;
      for (size_t j = i / run * run; j < (i / run + 1) * run; ++j)
        expected += (__builtin_popcountll(i & j & (run - 1)) % 2 == 0 ? 1 : -1) * static_cast<double>(x[j]);
      EXPECT_NEAR(got[i], expected / std::sqrt(static_cast<double>(run)), 1e-5) << n << ", " << i;
    }
    table().hadamard(got.data(), n);
    for (size_t i = 0; i < n; ++i) EXPECT_NEAR(got[i], x[i], 1e-5);
  }
}

struct Packed {
  explicit Packed(size_t n)
      : bytes(kv_packed_bytes(n)),
        k(kKvBlock * n / 2),
        kh(k.size() / 4),
        v(k.size()),
        vh(kh.size()),
        kd(kKvBlock * n / kActGroup),
        vd(kKvBlock) {
    EXPECT_EQ(k.size() + kh.size() + v.size() + vh.size() + 2 * (kd.size() + vd.size()), bytes);
  }
  KvPacked view() { return {k.data(), kh.data(), kd.data(), v.data(), vh.data(), vd.data()}; }
  size_t bytes;
  std::vector<uint8_t> k, kh, v, vh;
  std::vector<uint16_t> kd, vd;
};

// What is packed comes back within half a step; positions may be written in any order, and twice.
TEST_P(AttentionKernels, PackedValuesAreNear) {
  for (const size_t n : {32, 64, 96, 256}) {
    Rng rng(5);
    Blocks blocks(table(), n, kKvBlock, rng);  // for its keys and values
    Packed packed(n);
    const KvPacked view = packed.view();
    for (size_t i = 0; i < 2 * kKvBlock; ++i) {
      const size_t p = i * 37 % kKvBlock;
      const auto& key = blocks.keys[i < kKvBlock ? (p + 1) % kKvBlock : p];
      table().pack_key(key.data(), n, &view, p);
      table().pack_value(blocks.values[p].data(), n, &view, p);
    }
    const KvBlock out = blocks.at(0);
    table().unpack_block(&view, n, &out);
    for (size_t p = 0; p < kKvBlock; ++p) {
      float largest = 0;
      for (const float value : blocks.values[p]) largest = std::max(largest, std::abs(value));
      for (size_t i = 0; i < n; ++i) {
        float most = 0;
        for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; ++j)
          most = std::max(most, std::abs(blocks.keys[p][j]));
        EXPECT_NEAR(blocks.key(p, i), blocks.keys[p][i], most * 1.01 / 31) << "key " << p << ", " << i;
        EXPECT_NEAR(blocks.value(p, i), blocks.values[p][i], largest * 1.01 / 31)
            << "value " << p << ", " << i;
      }
    }
  }
}

TEST_P(AttentionKernels, LevelsUnpackTheSame) {
  Rng rng(6);
  for (const size_t n : {32, 64, 160, 256}) {
    Packed packed(n);
    for (std::vector<uint8_t>* bytes : {&packed.k, &packed.kh, &packed.v, &packed.vh}) {
      for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>(rng.below(256));
    }
    for (std::vector<uint16_t>* scales : {&packed.kd, &packed.vd}) {
      for (uint16_t& scale : *scales) scale = static_cast<uint16_t>(rng.below(0x7c00));  // finite
    }
    const KvPacked view = packed.view();
    Blocks got(table(), n, kKvBlock, rng), expected(table(), n, kKvBlock, rng);
    const KvBlock got_view = got.at(0), expected_view = expected.at(0);
    table().unpack_block(&view, n, &got_view);
    kGenericTable.unpack_block(&view, n, &expected_view);
    EXPECT_EQ(got.k, expected.k) << n;
    EXPECT_EQ(got.v, expected.v) << n;
    EXPECT_EQ(got.kd, expected.kd) << n;
    EXPECT_EQ(got.vd, expected.vd) << n;
    // By definition: code c is the level 2c - 31.
    for (size_t p = 0; p < kKvBlock; ++p) {
      for (size_t i = 0; i < n; ++i) {
        const int nibbles = packed.k[(i / 8 * kKvBlock + p) * 4 + i % 4];
        const int fifths = packed.kh[(i / 32 * kKvBlock + p) * 4 + i % 4];
        const int code = (i % 8 < 4 ? nibbles & 15 : nibbles >> 4) | (fifths >> (i % 32 / 4) & 1) << 4;
        ASSERT_EQ(got.k[(i / 4 * kKvBlock + p) * 4 + i % 4], 2 * code - 31 + 128);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionKernels, ::testing::ValuesIn(level_names()), level_test_name);

}  // namespace
}  // namespace hedge::kernels::testing
