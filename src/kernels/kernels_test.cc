// Matrix kernels of every level against the types' dequantisers in double precision: all quantised types,
// widths with every kind of remainder, and data at the edges of the integer ranges. Stored rows end at an
// unreadable page.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <memory>

#include "kernels/test_util.h"

namespace hedge::kernels::testing {
namespace {

using quant::Type;

struct StoredType {
  Type type;
  size_t group;                         // values per scale
  std::vector<size_t> float_positions;  // where f16 numbers lie in a block
};

const std::vector<StoredType>& stored_types() {
  static const std::vector<StoredType> types = {
      {Type::kQ4_0, 32, {0}},    {Type::kQ4_1, 32, {0, 2}}, {Type::kQ5_0, 32, {0}},
      {Type::kQ5_1, 32, {0, 2}}, {Type::kQ8_0, 32, {0}},    {Type::kQ4_K, 32, {0, 2}},
      {Type::kQ5_K, 32, {0, 2}}, {Type::kQ6_K, 16, {208}},  {Type::kIQ4_NL, 32, {0}},
      {Type::kIQ4_XS, 32, {0}},  {Type::kQ3_K, 16, {108}},  {Type::kQ2_K, 16, {80, 82}},
  };
  return types;
}

std::vector<size_t> widths(Type type) {
  if (quant::info(type).block_values == 256) return {256, 512, 768, 2048};
  return {32, 64, 96, 128, 160, 224, 256, 288, 480, 544, 576, 640, 1536, 2048};
}

constexpr std::array kWeightFills = {"random", "all bits 0", "all bits 1", "only top bits", "quantised"};
constexpr std::array kActivationFills = {"random", "zero", "all 127", "all -127", "alternating", "one-hot"};

uint16_t half_of(float x) {
  uint16_t h;
  quant::info(Type::kF16).quantize(&x, &h, 1);
  return h;
}

// `rows` stored rows. Block floats are kept finite: random ones of either sign, or those that the quantiser
// chose.
void fill_weights(const StoredType& stored, size_t fill, Rng& rng, uint8_t* bytes, size_t rows,
                  size_t columns) {
  const quant::TypeInfo& type = quant::info(stored.type);
  const size_t size = rows * quant::row_bytes(stored.type, columns);
  if (fill == 4 && type.quantize != nullptr) {
    std::vector<float> values(rows * columns);
    for (float& v : values) v = normal(rng);
    type.quantize(values.data(), bytes, values.size());
    return;
  }
  constexpr std::array<uint8_t, 3> kConstant = {0x00, 0xff, 0x80};
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = fill >= 1 && fill <= 3 ? kConstant[fill - 1] : static_cast<uint8_t>(rng.below(256));
  }
  for (size_t block = 0; block < size / type.block_bytes; ++block) {
    for (const size_t position : stored.float_positions) {
      const uint16_t h = half_of(normal(rng) * 0.01f);
      std::memcpy(bytes + block * type.block_bytes + position, &h, 2);
    }
  }
}

void fill_activations(size_t fill, Rng& rng, ActivationRows& act) {
  for (size_t r = 0; r < act.rows; ++r) {
    for (size_t i = 0; i < act.columns; ++i) {
      int v = 0;
      switch (fill) {
        case 0:
          v = static_cast<int>(rng.below(255)) - 127;
          break;
        case 1:
          break;
        case 2:
          v = 127;
          break;
        case 3:
          v = -127;
          break;
        case 4:
          v = (i + r) % 2 == 0 ? 127 : -127;
          break;
        default:
          v = i == (r * 37 + 5) % act.columns ? 127 : 0;
      }
      act.q[r * act.q_stride + i] = static_cast<int8_t>(v);
    }
    for (size_t g = 0; g < act.columns / kActGroup; ++g) {
      act.d[r * act.group_stride + g] = static_cast<float>(0.01 + rng.uniform());
    }
  }
  act.finish();
}

// Products in double, and the sum of the magnitudes that a kernel adds up, which rounding errors are measured
// by.
struct Expected {
  std::vector<double> value, magnitude;  // [activation rows, weight rows]
};

Expected multiply(const StoredType& stored, const uint8_t* bytes, size_t n_rows, const ActivationRows& act) {
  const quant::TypeInfo& type = quant::info(stored.type);
  const size_t columns = act.columns;
  Expected out{std::vector<double>(act.rows * n_rows), std::vector<double>(act.rows * n_rows)};
  std::vector<double> activations(act.rows * columns);
  for (size_t r = 0; r < act.rows; ++r) {
    for (size_t i = 0; i < columns; ++i) activations[r * columns + i] = act.value(r, i);
  }
  std::vector<float> w(columns);
  std::vector<double> wide(columns);
  std::vector<uint8_t> u(columns);
  std::vector<float> d(columns / 16), m(d);
  for (size_t j = 0; j < n_rows; ++j) {
    type.dequantize(bytes + j * quant::row_bytes(stored.type, columns), w.data(), columns);
    std::copy(w.begin(), w.end(), wide.begin());
    // Kernels split w into d * u + m, whose parts may cancel.
    kGenericTable.unpack[static_cast<size_t>(stored.type)](bytes + j * quant::row_bytes(stored.type, columns),
                                                           columns, {u.data(), d.data(), m.data()});
    double largest = 0;
    for (size_t g = 0; g < columns / stored.group; ++g) {
      const double u_max = kUnpackedMax[static_cast<size_t>(stored.type)];
      largest = std::max(largest,
                         std::abs(static_cast<double>(d[g])) * u_max + std::abs(static_cast<double>(m[g])));
    }
    for (size_t r = 0; r < act.rows; ++r) {
      double sum = 0, total = 0;
      const double* a = &activations[r * columns];
      for (size_t i = 0; i < columns; ++i) {
        sum += wide[i] * a[i];
        total += std::abs(a[i]);
      }
      out.value[r * n_rows + j] = sum;
      out.magnitude[r * n_rows + j] = total * largest;
    }
  }
  return out;
}

class Kernels : public LevelTest {};

TEST_P(Kernels, UnpackGivesTheDequantisedValues) {
  Rng rng(1);
  for (const StoredType& stored : stored_types()) {
    const quant::TypeInfo& type = quant::info(stored.type);
    const UnpackFn unpack = table().unpack[static_cast<size_t>(stored.type)];
    ASSERT_NE(unpack, nullptr) << type.name;
    for (const size_t columns : widths(stored.type)) {
      for (size_t fill = 0; fill < kWeightFills.size(); ++fill) {
        SCOPED_TRACE(std::string(type.name) + ", " + std::to_string(columns) + " columns, " +
                     kWeightFills[fill]);
        GuardedBytes bytes(quant::row_bytes(stored.type, columns),
                           fill % 2 == 0 ? GuardedBytes::Side::kEnd : GuardedBytes::Side::kStart);
        fill_weights(stored, fill, rng, bytes.data(), 1, columns);
        std::vector<float> expected(columns);
        type.dequantize(bytes.data(), expected.data(), columns);
        GuardedBytes u(round_up(columns, kRowPad));
        GuardedBytes d(round_up(columns / stored.group, 16) * sizeof(float)), m(d.size());
        const UnpackedRow row{u.data(), d.as<float>(), m.as<float>()};
        unpack(bytes.data(), columns, row);
        for (size_t i = 0; i < columns; ++i) {
          const double product = static_cast<double>(row.d[i / stored.group]) * row.u[i];
          const double value = product + row.m[i / stored.group];
          ASSERT_NEAR(value, expected[i], 3e-7 * std::abs(product) + 1e-12) << "value " << i;
          ASSERT_LE(row.u[i], kUnpackedMax[static_cast<size_t>(stored.type)]) << "value " << i;
        }
      }
    }
  }
}

// One weight row after the other, unpacked, with 1 to 9 activation rows.
TEST_P(Kernels, DotUnpackedIsTheProduct) {
  Rng rng(2);
  for (const StoredType& stored : stored_types()) {
    const quant::TypeInfo& type = quant::info(stored.type);
    for (const size_t columns : widths(stored.type)) {
      for (size_t fill = 0; fill < kWeightFills.size() * kActivationFills.size(); ++fill) {
        const size_t weight_fill = fill % kWeightFills.size(), act_fill = fill / kWeightFills.size();
        SCOPED_TRACE(std::string(type.name) + ", " + std::to_string(columns) + " columns, weights " +
                     kWeightFills[weight_fill] + ", activations " + kActivationFills[act_fill]);
        const size_t rows = 1 + fill % 9;
        std::vector<uint8_t> bytes(quant::row_bytes(stored.type, columns));
        fill_weights(stored, weight_fill, rng, bytes.data(), 1, columns);
        ActivationRows act(rows, columns);
        fill_activations(act_fill, rng, act);
        const Expected expected = multiply(stored, bytes.data(), 1, act);

        // What earlier rows left in the padding must not count.
        std::vector<uint8_t> u(round_up(columns, kRowPad), 0xa5);
        std::vector<float> d(round_up(columns, 512) / stored.group, 3.0f), m(d);
        UnpackedRow row{u.data(), d.data(), m.data(), kUnpackedMax[static_cast<size_t>(stored.type)]};
        table().unpack[static_cast<size_t>(stored.type)](bytes.data(), columns, row);
        const Activations view = act.view();
        std::vector<float> out(rows * 3, -1.0f);
        table().dot_unpacked(&row, columns, stored.group, &view, rows, out.data(), 3);
        for (size_t r = 0; r < rows; ++r) {
          ASSERT_NEAR(out[r * 3], expected.value[r], 2e-6 * expected.magnitude[r] + 1e-9)
              << "row " << r << " of " << rows;
          ASSERT_EQ(out[r * 3 + 1], -1.0f) << "wrote beside its results";
        }
      }
    }
  }
}

TEST_P(Kernels, DotDirectIsTheProductAndReadsOnlyItsRows) {
  Rng rng(3);
  for (const StoredType& stored : stored_types()) {
    const quant::TypeInfo& type = quant::info(stored.type);
    const auto dot = table().dot_direct[static_cast<size_t>(stored.type)];
    if (dot == nullptr) continue;
    for (const size_t columns : widths(stored.type)) {
      const size_t row_bytes = quant::row_bytes(stored.type, columns);
      for (size_t fill = 0; fill < kWeightFills.size() * kActivationFills.size(); ++fill) {
        const size_t weight_fill = fill % kWeightFills.size(), act_fill = fill / kWeightFills.size();
        const size_t n_rows = 1 + fill % 7;
        SCOPED_TRACE(std::string(type.name) + ", " + std::to_string(n_rows) + " rows of " +
                     std::to_string(columns) + ", weights " + kWeightFills[weight_fill] + ", activations " +
                     kActivationFills[act_fill]);
        GuardedBytes bytes(n_rows * row_bytes,
                           fill % 4 == 3 ? GuardedBytes::Side::kStart : GuardedBytes::Side::kEnd);
        fill_weights(stored, weight_fill, rng, bytes.data(), n_rows, columns);
        ActivationRows act(1, columns);
        fill_activations(act_fill, rng, act);
        const Expected expected = multiply(stored, bytes.data(), n_rows, act);
        const Activations view = act.view();
        std::vector<float> out(n_rows + 1, -1.0f);
        dot(bytes.data(), row_bytes, columns, n_rows, &view, 1, out.data(), n_rows);
        for (size_t j = 0; j < n_rows; ++j) {
          ASSERT_NEAR(out[j], expected.value[j], 2e-6 * expected.magnitude[j] + 1e-9) << "row " << j;
        }
        ASSERT_EQ(out[n_rows], -1.0f) << "wrote beside its results";
      }
    }
  }
}

// A row of a batch has the bits that it has alone: nothing that a model answers may depend on what else is
// asked.
TEST_P(Kernels, DotDirectGivesARowTheSameBitsInEveryBatch) {
  Rng rng(11);
  constexpr size_t kRowsMax = 9, kStoredMax = 9;
  for (const StoredType& stored : stored_types()) {
    const auto dot = table().dot_direct[static_cast<size_t>(stored.type)];
    if (dot == nullptr) continue;
    std::vector<size_t> all = widths(stored.type);
    all.push_back(3072 +
                  quant::info(stored.type).block_values);  // wider than any activations that are prepared
    for (const size_t columns : all) {
      const size_t row_bytes = quant::row_bytes(stored.type, columns);
      const size_t fills = columns > 2048 ? 1 : kWeightFills.size() * kActivationFills.size();
      for (size_t fill = 0; fill < fills; ++fill) {
        const size_t weight_fill = fill % kWeightFills.size(), act_fill = fill / kWeightFills.size();
        GuardedBytes bytes(kStoredMax * row_bytes);
        fill_weights(stored, weight_fill, rng, bytes.data(), kStoredMax, columns);
        ActivationRows act(kRowsMax, columns);
        fill_activations(act_fill, rng, act);
        const Activations view = act.view();
        std::vector<float> alone(kRowsMax * kStoredMax);
        for (size_t r = 0; r < kRowsMax; ++r) {
          const Activations one = view.from(r);
          dot(bytes.data(), row_bytes, columns, kStoredMax, &one, 1, &alone[r * kStoredMax], kStoredMax);
        }
        for (size_t rows = 1; rows <= kRowsMax; ++rows) {
          const size_t n_rows = 1 + (rows + fill) % kStoredMax, stride = n_rows + fill % 3;
          std::vector<float> out(rows * stride, -1.0f);
          dot(bytes.data() + (kStoredMax - n_rows) * row_bytes, row_bytes, columns, n_rows, &view, rows,
              out.data(), stride);
          for (size_t r = 0; r < rows; ++r) {
            for (size_t i = 0; i < stride; ++i) {
              const float expected = i < n_rows ? alone[r * kStoredMax + kStoredMax - n_rows + i] : -1.0f;
              ASSERT_EQ(std::bit_cast<uint32_t>(out[r * stride + i]), std::bit_cast<uint32_t>(expected))
                  << quant::info(stored.type).name << ", " << n_rows << " rows of " << columns
                  << ", activation row " << r << " of " << rows << ", weights " << kWeightFills[weight_fill]
                  << ", activations " << kActivationFills[act_fill];
            }
          }
        }
      }
    }
  }
}

// Panels with all and with some of their rows, and 1 to 13 activation rows.
TEST_P(Kernels, GemmPanelIsTheProduct) {
  Rng rng(4);
  const size_t panel_rows = table().panel_rows;
  const std::array<size_t, 5> present = {panel_rows, 1, panel_rows / 2, panel_rows - 1, panel_rows / 2 + 1};
  size_t turn = 0;
  for (const StoredType& stored : stored_types()) {
    const size_t index = static_cast<size_t>(stored.type);
    const quant::TypeInfo& type = quant::info(stored.type);
    for (const size_t columns : widths(stored.type)) {
      const size_t groups = columns / stored.group;
      const size_t row_bytes = quant::row_bytes(stored.type, columns);
      for (size_t fill = 0; fill < kWeightFills.size() * kActivationFills.size(); ++fill, ++turn) {
        const size_t weight_fill = fill % kWeightFills.size(), act_fill = fill / kWeightFills.size();
        const size_t n_rows = present[turn % present.size()];
        const size_t rows = 1 + turn % 13;
        SCOPED_TRACE(std::string(type.name) + ", " + std::to_string(n_rows) + " rows of " +
                     std::to_string(columns) + " for " + std::to_string(rows) + ", weights " +
                     kWeightFills[weight_fill] + ", activations " + kActivationFills[act_fill]);
        std::vector<uint8_t> bytes(n_rows * row_bytes);
        fill_weights(stored, weight_fill, rng, bytes.data(), n_rows, columns);
        ActivationRows act(rows, columns);
        fill_activations(act_fill, rng, act);
        const Expected expected = multiply(stored, bytes.data(), n_rows, act);

        const size_t u_stride = round_up(columns, kRowPad), g_stride = round_up(columns, 512) / stored.group;
        std::vector<uint8_t> u(n_rows * u_stride, 0xa5);
        std::vector<float> d(n_rows * g_stride, 3.0f), m(d);
        std::vector<UnpackedRow> unpacked;
        for (size_t j = 0; j < n_rows; ++j) {
          unpacked.push_back({&u[j * u_stride], &d[j * g_stride], &m[j * g_stride], kUnpackedMax[index]});
          table().unpack[index](&bytes[j * row_bytes], columns, unpacked[j]);
        }
        GuardedBytes panel_u(columns * panel_rows);
        GuardedBytes panel_d(groups * panel_rows * sizeof(float)), panel_m(panel_d.size());
        const Panel panel{panel_u.data(), panel_d.as<float>(), panel_m.as<float>(), columns,
                          stored.group,   kUnpackedMax[index], kUnpackedZero[index]};
        if (kUnpackedZero[index] > 0) {
          for (size_t g = 0; g < groups; ++g) ASSERT_EQ(m[g], -std::ldexp(d[g], kUnpackedZero[index] - 1));
        }
        table().pack_panel(unpacked.data(), n_rows, &panel);
        const size_t stride = n_rows + 2;
        std::vector<float> out(rows * stride, -1.0f);
        const Activations view = act.view();
        table().gemm_panel(&panel, &view, rows, out.data(), stride, n_rows);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t j = 0; j < n_rows; ++j) {
            ASSERT_NEAR(out[r * stride + j], expected.value[r * n_rows + j],
                        2e-6 * expected.magnitude[r * n_rows + j] + 1e-9)
                << "activation row " << r << ", weight row " << j;
          }
          ASSERT_EQ(out[r * stride + n_rows], -1.0f) << "wrote beside its results";
          ASSERT_EQ(out[r * stride + n_rows + 1], -1.0f) << "wrote beside its results";
        }
      }
    }
  }
}

// A batch must not change a row's result: each activation row alone gives the bits that it gives among
// others.
TEST_P(Kernels, GemmPanelRowsDoNotDependOnTheirNeighbours) {
  Rng rng(5);
  const size_t panel_rows = table().panel_rows, columns = 512;
  for (const StoredType& stored : stored_types()) {
    const size_t index = static_cast<size_t>(stored.type);
    SCOPED_TRACE(quant::info(stored.type).name);
    std::vector<uint8_t> bytes(panel_rows * quant::row_bytes(stored.type, columns));
    fill_weights(stored, 0, rng, bytes.data(), panel_rows, columns);
    const size_t groups = columns / stored.group;
    std::vector<uint8_t> u(panel_rows * columns), panel_u(panel_rows * columns);
    std::vector<float> d(panel_rows * groups), m(d), panel_d(d), panel_m(d);
    std::vector<UnpackedRow> unpacked;
    for (size_t j = 0; j < panel_rows; ++j) {
      unpacked.push_back({&u[j * columns], &d[j * groups], &m[j * groups], kUnpackedMax[index]});
      table().unpack[index](&bytes[j * quant::row_bytes(stored.type, columns)], columns, unpacked[j]);
    }
    const Panel panel{panel_u.data(), panel_d.data(),      panel_m.data(),      columns,
                      stored.group,   kUnpackedMax[index], kUnpackedZero[index]};
    table().pack_panel(unpacked.data(), panel_rows, &panel);
    constexpr size_t kRows = 13;
    ActivationRows act(kRows, columns);
    fill_activations(0, rng, act);
    const Activations all = act.view();
    std::vector<float> together(kRows * panel_rows), alone(panel_rows);
    table().gemm_panel(&panel, &all, kRows, together.data(), panel_rows, panel_rows);
    for (size_t r = 0; r < kRows; ++r) {
      const Activations one = all.from(r);
      table().gemm_panel(&panel, &one, 1, alone.data(), panel_rows, panel_rows);
      for (size_t j = 0; j < panel_rows; ++j)
        ASSERT_EQ(alone[j], together[r * panel_rows + j]) << r << " " << j;
    }
  }
}

TEST_P(Kernels, QuantizeRowRoundsToTheNearestStep) {
  Rng rng(6);
  for (const size_t columns : {32, 64, 96, 576, 640, 2048}) {
    for (int fill = 0; fill < 6; ++fill) {
      GuardedBytes memory(columns * sizeof(float));
      float* x = memory.as<float>();
      for (size_t i = 0; i < columns; ++i) {
        switch (fill) {
          case 0:
            x[i] = normal(rng);
            break;
          case 1:
            x[i] = 0;
            break;
          case 2:
            x[i] = i % 3 == 0 ? -8.0f : 8.0f;
            break;
          case 3:
            x[i] = normal(rng) * 1e30f;
            break;
          case 4:
            x[i] = normal(rng) * 1e-42f;
            break;  // the scale's inverse overflows
          default:
            x[i] = static_cast<float>(static_cast<int>(rng.below(255)) - 127) * 0.5f;  // ties
        }
      }
      if (fill == 5) x[0] = 127;
      ActivationRows act(3, columns);
      std::fill(act.q.begin(), act.q.end(), int8_t{7});
      std::fill(act.s.begin(), act.s.end(), 7.0f);
      const Activations view = act.view();
      table().quantize_row(x, columns, &view, 1);
      ActivationRows reference(3, columns);
      const Activations reference_view = reference.view();
      kGenericTable.quantize_row(x, columns, &reference_view, 1);
      for (size_t i = 0; i < columns; ++i) {
        const double step = act.d[act.group_stride + i / 32];
        ASSERT_NEAR(act.value(1, i), x[i], 0.5001 * step + 1e-37) << "fill " << fill << ", value " << i;
        ASSERT_EQ(act.q[act.q_stride + i], reference.q[act.q_stride + i])
            << "fill " << fill << ", value " << i;
        ASSERT_GE(act.q[act.q_stride + i], -127);
      }
      for (size_t i = columns; i < act.q_stride; ++i) ASSERT_EQ(act.q[act.q_stride + i], 0) << "padding";
      for (size_t g = 0; g < act.group_stride; ++g) {
        ASSERT_EQ(act.d[act.group_stride + g], reference.d[act.group_stride + g]);
        if (g * 32 >= columns) {
          ASSERT_EQ(act.s[act.group_stride + g], 0.0f) << "padding";
        }
      }
      const std::vector<float> s = act.s, s16 = act.s16;
      act.finish();
      for (size_t g = 0; g < columns / 32; ++g) {
        ASSERT_FLOAT_EQ(s[act.group_stride + g], act.s[act.group_stride + g]);
        ASSERT_FLOAT_EQ(s16[2 * (act.group_stride + g)], act.s16[2 * (act.group_stride + g)]);
        ASSERT_FLOAT_EQ(s16[2 * (act.group_stride + g) + 1], act.s16[2 * (act.group_stride + g) + 1]);
      }
      ASSERT_EQ(act.q[0], 7) << "wrote into another row";
      ASSERT_EQ(act.q[2 * act.q_stride], 7) << "wrote into another row";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Kernels, ::testing::ValuesIn(level_names()), level_test_name);

}  // namespace
}  // namespace hedge::kernels::testing
