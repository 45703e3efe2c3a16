// Float kernels of every level against double precision, for lengths with every kind of remainder. Inputs end
// at an unreadable page.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/test_util.h"

namespace hedge::kernels::testing {
namespace {

const std::vector<size_t> kLengths = {1,  2,  3,  7,  8,  9,   15,  16,  17,  31,
                                      32, 33, 63, 64, 65, 100, 576, 640, 2047};

// Floats that end at an unreadable page.
class Floats {
 public:
  explicit Floats(size_t n) : n_(n), memory_(n * sizeof(float)) {}
  Floats(size_t n, Rng& rng, float factor = 1) : Floats(n) {
    for (size_t i = 0; i < n; ++i) data()[i] = normal(rng) * factor;
  }
  float* data() { return memory_.as<float>(); }
  float& operator[](size_t i) { return data()[i]; }
  size_t size() const { return n_; }
  std::vector<double> copy() { return {data(), data() + n_}; }

 private:
  size_t n_;
  GuardedBytes memory_;
};

class Halves {
 public:
  Halves(size_t n, Rng& rng, bool bf16 = false) : memory_(n * 2) {
    const quant::TypeInfo& type = quant::info(bf16 ? quant::Type::kBF16 : quant::Type::kF16);
    std::vector<float> source(n);
    for (float& v : source) v = normal(rng);
    type.quantize(source.data(), memory_.data(), n);
    values.resize(n);
    type.dequantize(memory_.data(), values.data(), n);
  }
  uint16_t* data() { return memory_.as<uint16_t>(); }
  std::vector<float> values;

 private:
  GuardedBytes memory_;
};

class FloatKernels : public LevelTest {};

TEST_P(FloatKernels, DotProducts) {
  Rng rng(1);
  for (const size_t n : kLengths) {
    Floats a(n, rng), b(n, rng);
    Halves half(n, rng), brain(n, rng, true);
    double f32 = 0, f16 = 0, bf16 = 0, magnitude = 0;
    for (size_t i = 0; i < n; ++i) {
      f32 += static_cast<double>(a[i]) * b[i];
      f16 += static_cast<double>(half.values[i]) * b[i];
      bf16 += static_cast<double>(brain.values[i]) * b[i];
      magnitude += std::abs(b[i]) * 4;
    }
    const double bound = 1e-6 * magnitude;
    EXPECT_NEAR(table().dot_f32(a.data(), b.data(), n), f32, bound) << n;
    EXPECT_NEAR(table().dot_f16(half.data(), b.data(), n), f16, bound) << n;
    EXPECT_NEAR(table().dot_bf16(brain.data(), b.data(), n), bf16, bound) << n;
  }
}

TEST_P(FloatKernels, RotatesPairs) {
  Rng rng(11);
  for (const size_t n : {2, 6, 16, 32, 50, 64, 256}) {
    for (const bool interleaved : {true, false}) {
      Floats x(n, rng), c(n, rng), s(n, rng);
      const std::vector<double> before = x.copy();
      table().rotate(x.data(), c.data(), s.data(), n, interleaved);
      for (size_t i = 0; i < n; ++i) {
        const size_t partner = interleaved ? i ^ 1 : (i + n / 2) % n;
        EXPECT_NEAR(x[i], before[i] * c[i] + before[partner] * s[i], 1e-5) << n << ", " << i;
      }
    }
  }
}

// All 65,536 bit patterns, by vectors and one at a time.
TEST_P(FloatKernels, HalvesBecomeFloats) {
  constexpr size_t kAll = 65536;
  std::vector<uint16_t> in(kAll);
  for (size_t i = 0; i < kAll; ++i) in[i] = static_cast<uint16_t>(i);
  std::vector<float> expected(kAll), all(kAll);
  quant::info(quant::Type::kF16).dequantize(in.data(), expected.data(), kAll);
  table().f16_to_f32(in.data(), all.data(), kAll);
  for (size_t i = 0; i < kAll; ++i) {
    float one;
    table().f16_to_f32(&in[i], &one, 1);
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(all[i]) && std::isnan(one)) << i;
      continue;
    }
    ASSERT_EQ(all[i], expected[i]) << i;
    ASSERT_EQ(one, expected[i]) << i;
    ASSERT_EQ(std::signbit(all[i]), std::signbit(expected[i])) << i;
  }
}

// Every half, the midpoints to its neighbour and the floats beside them: rounding is to nearest, ties to
// even.
TEST_P(FloatKernels, FloatsBecomeHalves) {
  std::vector<float> in;
  const quant::TypeInfo& type = quant::info(quant::Type::kF16);
  for (uint32_t i = 0; i < 0x7c00; ++i) {
    const uint16_t pair[2] = {static_cast<uint16_t>(i), static_cast<uint16_t>(i + 1)};
    float value[2];
    type.dequantize(pair, value, 2);
    if (std::isinf(value[1])) value[1] = 65536;
    const float middle = value[0] + (value[1] - value[0]) / 2;
    for (const float v : {value[0], middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)}) {
      in.push_back(v);
      in.push_back(-v);
    }
  }
  for (const float v : {65519.99f, 65520.0f, 1e9f, 1e-30f, std::numeric_limits<float>::infinity()}) {
    in.push_back(v);
    in.push_back(-v);
  }
  std::vector<uint16_t> expected(in.size()), all(in.size());
  type.quantize(in.data(), expected.data(), in.size());
  table().f32_to_f16(in.data(), all.data(), in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    uint16_t one;
    table().f32_to_f16(&in[i], &one, 1);
    ASSERT_EQ(all[i], expected[i]) << in[i];
    ASSERT_EQ(one, expected[i]) << in[i];
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  uint16_t half;
  table().f32_to_f16(&nan, &half, 1);
  EXPECT_GT(half & 0x7fff, 0x7c00);
}

TEST_P(FloatKernels, ElementWise) {
  Rng rng(2);
  for (const size_t n : kLengths) {
    Floats x(n, rng), y(n, rng);
    Halves half(n, rng);
    const std::vector<double> before = y.copy();
    table().add(x.data(), y.data(), n);
    for (size_t i = 0; i < n; ++i)
      ASSERT_FLOAT_EQ(y[i], static_cast<float>(x[i] + before[i])) << n << " " << i;

    const std::vector<double> added = y.copy();
    table().axpy_f16(0.75f, half.data(), y.data(), n);
    for (size_t i = 0; i < n; ++i) ASSERT_NEAR(y[i], added[i] + 0.75 * half.values[i], 2e-6) << n << " " << i;

    const std::vector<double> summed = y.copy();
    table().scale(-1.25f, y.data(), n);
    for (size_t i = 0; i < n; ++i)
      ASSERT_FLOAT_EQ(y[i], static_cast<float>(-1.25 * summed[i])) << n << " " << i;

    Floats negative(n, rng);
    for (size_t i = 0; i < n; ++i) negative[i] = -std::abs(negative[i]) - 1;
    const std::vector<double> values = negative.copy();
    ASSERT_EQ(table().max_of(negative.data(), n), *std::max_element(values.begin(), values.end())) << n;
  }
}

TEST_P(FloatKernels, RmsNorm) {
  Rng rng(3);
  for (const size_t n : kLengths) {
    for (const float factor : {1.0f, 1e-4f, 1e6f, 0.0f}) {
      Floats x(n, rng, factor), weight(n, rng), out(n);
      double squares = 0;
      for (size_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
      const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      table().rms_norm(x.data(), weight.data(), 1e-5f, out.data(), n);
      for (size_t i = 0; i < n; ++i) {
        const double expected = x[i] * scale * weight[i];
        ASSERT_NEAR(out[i], expected, 3e-6 * std::abs(expected) + 1e-30) << n << " " << i;
      }
      const std::vector<double> apart = out.copy();
      table().rms_norm(x.data(), weight.data(), 1e-5f, x.data(), n);  // in place, as for the heads' norms
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(x[i], apart[i]) << n << " " << i;
    }
  }
}

TEST_P(FloatKernels, GatedActivations) {
  Rng rng(4);
  for (const size_t n : kLengths) {
    Floats gate(n, rng, 4), up(n, rng), out(n);
    gate[0] = 100;
    gate[n / 2] = -100;
    gate[n - 1] = -20;
    table().silu_mul(gate.data(), up.data(), out.data(), n);
    for (size_t i = 0; i < n; ++i) {
      const double g = gate[i], expected = g / (1 + std::exp(-g)) * up[i];
      ASSERT_NEAR(out[i], expected, 1e-5 * std::abs(expected) + 1e-30) << g;
    }
    table().gelu_mul(gate.data(), up.data(), out.data(), n);
    for (size_t i = 0; i < n; ++i) {
      const double g = gate[i];
      // The sum 1 + tanh loses its digits below -6, where the result is all but zero.
      const double expected =
          0.5 * g * (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * up[i];
      ASSERT_NEAR(out[i], expected, 2e-5 * std::abs(expected) + 1e-12) << g;
    }
    const std::vector<double> apart = out.copy();
    table().gelu_mul(gate.data(), up.data(), gate.data(), n);  // in place, as the feed-forward calls it
    for (size_t i = 0; i < n; ++i) ASSERT_EQ(gate[i], apart[i]) << n << " " << i;
  }
}

TEST_P(FloatKernels, ExpSum) {
  Rng rng(5);
  for (const size_t n : kLengths) {
    Floats x(n);
    for (size_t i = 0; i < n; ++i) x[i] = 5 - static_cast<float>(rng.uniform() * 86);
    const float max = 5;
    x[n / 2] = max;
    const std::vector<double> before = x.copy();
    const double sum = table().exp_sum(x.data(), max, n);
    double expected_sum = 0;
    for (size_t i = 0; i < n; ++i) {
      const double expected = std::exp(before[i] - max);
      expected_sum += expected;
      ASSERT_NEAR(x[i], expected, 6e-6 * expected) << before[i] - max;
    }
    ASSERT_NEAR(sum, expected_sum, 6e-6 * expected_sum) << n;
  }
  Floats masked(16);
  for (size_t i = 0; i < 16; ++i) masked[i] = i == 3 ? 1.0f : -std::numeric_limits<float>::infinity();
  EXPECT_NEAR(table().exp_sum(masked.data(), 1, 16), 1, 1e-6);
}

TEST_P(FloatKernels, Sgemm) {
  Rng rng(6);
  for (const size_t m : {1, 2, 3, 4, 5, 9}) {
    for (const size_t n : {16, 32, 48, 64, 80, 128, 256}) {
      for (const size_t k : {0, 1, 7, 64}) {
        for (const int accumulate : {0, 1}) {
          SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k));
          const size_t lda = k + 3, ldb = n + 5, ldc = n + 1;
          // The last rows are as long as the matrix: nothing of their padding is there to be read.
          Floats a((m - 1) * lda + k, rng), b(k == 0 ? 0 : (k - 1) * ldb + n, rng), c((m - 1) * ldc + n, rng);
          const std::vector<double> before = c.copy();
          table().sgemm(a.data(), lda, b.data(), ldb, c.data(), ldc, m, n, k, accumulate);
          for (size_t i = 0; i < m; ++i) {
            for (size_t j = 0; j < n; ++j) {
              double expected = accumulate != 0 ? before[i * ldc + j] : 0;
              for (size_t t = 0; t < k; ++t) expected += static_cast<double>(a[i * lda + t]) * b[t * ldb + j];
              ASSERT_NEAR(c[i * ldc + j], expected, 2e-5) << i << " " << j;
            }
            if (i + 1 < m) {
              ASSERT_EQ(c[i * ldc + n], before[i * ldc + n]) << "wrote beside its results";
            }
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, FloatKernels, ::testing::ValuesIn(level_names()), level_test_name);

}  // namespace
}  // namespace hedge::kernels::testing
