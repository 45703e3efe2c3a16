// The kernels of every level that this CPU has against each other and double precision: any stored type, any
// bit pattern with finite scales, widths and row counts with every remainder. Integer parts agree to the bit;
// sums of floats within what rounding may cost, n * 2^-24 of the magnitudes added for n roundings (Higham,
// "Accuracy and Stability of Numerical Algorithms", 3.1).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "kernels/dispatch.h"
#include "kernels/test_activations.h"
#include "quant/blocks.h"
#include "quant/type.h"

namespace {

using namespace hedge;
using namespace hedge::kernels;
using hedge::kernels::testing::ActivationRows;

constexpr double kRoundoff = 0x1p-24;

// The input's bytes one after the other; after its end they go on, mixed with the place.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() {
    const size_t at = position_++;
    if (at < size_) return data_[at];
    const uint8_t old = size_ > 0 ? data_[at % size_] : 0;
    return static_cast<uint8_t>(old + 0x9d * (at / std::max<size_t>(size_, 1)) + (at >> 3));
  }
  size_t below(size_t limit) { return (byte() | static_cast<size_t>(byte()) << 8) % limit; }
  // Of any exponent up to `limit`, a power of two.
  float number(float limit) {
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) bits = bits << 8 | byte();
    float x;
    std::memcpy(&x, &bits, sizeof x);
    if (!std::isfinite(x)) return limit;
    while (std::abs(x) > limit) x = std::ldexp(x, -static_cast<int>(1 + std::ilogb(x) - std::ilogb(limit)));
    return x;
  }
  // Most models' numbers: around 1.
  float plain() {
    return static_cast<float>(static_cast<int8_t>(byte())) / 32 + static_cast<float>(byte()) / 4096;
  }
  std::vector<float> numbers(size_t n, float limit) {
    const bool wild = byte() % 2 == 0;
    std::vector<float> out(n);
    for (float& x : out) x = wild ? number(limit) : plain();
    return out;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t position_ = 0;
};

struct Place {
  const char* level;
  const char* what;
  std::string_view type;
  size_t columns, rows, index;
};

[[noreturn]] void disagree(const Place& place, double got, double expected, double bound) {
  std::fprintf(stderr, "%s: %s of %.*s, %zu columns, %zu rows, at %zu: expected %.9g within %.3g, got %.9g\n",
               place.level, place.what, static_cast<int>(place.type.size()), place.type.data(), place.columns,
               place.rows, place.index, expected, bound, got);
  std::abort();
}

// NaN is never near.
void check_near(const Place& place, double got, double expected, double bound) {
  if (!(std::abs(got - expected) <= bound)) disagree(place, got, expected, bound);
}

template <typename Call>
void for_each_level(Call call) {
  for (const Level& level : levels()) {
    if (level.usable) call(*level.table);
  }
}

// ---- products of stored rows ----

// Where f16 numbers lie in a block.
std::vector<size_t> scales_of(quant::Type type) {
  switch (type) {
    case quant::Type::kQ4_1:
    case quant::Type::kQ5_1:
    case quant::Type::kQ4_K:
    case quant::Type::kQ5_K:
      return {0, 2};
    case quant::Type::kQ6_K:
      return {208};
    case quant::Type::kQ3_K:
      return {108};
    case quant::Type::kQ2_K:
      return {80, 82};
    default:
      return {0};
  }
}

std::vector<uint8_t> stored_rows(Input& input, quant::Type type, size_t rows, size_t columns) {
  const quant::TypeInfo& info = quant::info(type);
  std::vector<uint8_t> bytes(rows * quant::row_bytes(type, columns));
  for (uint8_t& b : bytes) b = input.byte();
  // Finite: an exponent of all ones becomes one less.
  for (size_t block = 0; block < bytes.size(); block += info.block_bytes) {
    for (const size_t at : scales_of(type)) {
      if ((bytes[block + at + 1] & 0x7c) == 0x7c) bytes[block + at + 1] &= 0xfb;
    }
  }
  return bytes;
}

ActivationRows activations(Input& input, size_t rows, size_t columns) {
  ActivationRows act(rows, columns);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < columns; ++i) {
      const int q = static_cast<int8_t>(input.byte());
      act.q[r * act.q_stride + i] = static_cast<int8_t>(std::max(q, -127));
    }
    for (size_t g = 0; g < columns / kActGroup; ++g) {
      act.d[r * act.group_stride + g] = std::abs(input.number(0x1p20f));
    }
  }
  act.finish();
  return act;
}

struct Unpacked {
  Unpacked(const Table& table, quant::Type type, size_t group, const uint8_t* row, size_t columns)
      : u(round_up(columns, kRowPad), 0xa5), d(round_up(columns, 512) / group, 3.0f), m(d) {
    table.unpack[static_cast<size_t>(type)](row, columns, view(type));
  }
  UnpackedRow view(quant::Type type) {
    return {u.data(), d.data(), m.data(), kUnpackedMax[static_cast<size_t>(type)]};
  }
  std::vector<uint8_t> u;
  std::vector<float> d, m;
};

// What one product of a stored row with an activation row is, and what its float sum may be off by.
struct Product {
  double value = 0, bound = 0;
};

Product product(const Unpacked& row, size_t group, const ActivationRows& act, size_t r) {
  Product out;
  double magnitude = 0;
  const size_t groups = act.columns / group;
  for (size_t g = 0; g < groups; ++g) {
    double inner = 0, sum = 0, inner_size = 0, sum_size = 0;
    for (size_t i = g * group; i < (g + 1) * group; ++i) {
      const int q = act.q[r * act.q_stride + i];
      inner += row.u[i] * q;
      sum += q;
      inner_size += row.u[i] * std::abs(q);
      sum_size += std::abs(q);
    }
    const double scale = act.d[r * act.group_stride + g * group / kActGroup];
    out.value += scale * (static_cast<double>(row.d[g]) * inner + static_cast<double>(row.m[g]) * sum);
    magnitude += scale * (std::abs(static_cast<double>(row.d[g])) * inner_size +
                          std::abs(static_cast<double>(row.m[g])) * sum_size);
  }
  // Each group costs the product of its scales, of these with the integer sum, the minimum's term and two
  // additions; levels may take minimums and sums of several groups in any order. Below the smallest normal
  // number a scale is off by 2^-150, and the integer sum times that.
  out.bound = (2 * static_cast<double>(groups) + 8) * kRoundoff * magnitude +
              static_cast<double>(groups) * 0x1p-126 * 8;
  return out;
}

void check_unpacked(const Table& table, quant::Type type, size_t group, const std::vector<uint8_t>& bytes,
                    size_t columns) {
  Unpacked expected(kGenericTable, type, group, bytes.data(), columns);
  Unpacked got(table, type, group, bytes.data(), columns);
  const std::string_view name = quant::info(type).name;
  for (size_t i = 0; i < columns; ++i) {
    check_near({table.name, "unpacked value", name, columns, 1, i}, got.u[i], expected.u[i], 0);
  }
  for (size_t g = 0; g < columns / group; ++g) {
    check_near({table.name, "unpacked scale", name, columns, 1, g}, got.d[g], expected.d[g], 0);
    check_near({table.name, "unpacked minimum", name, columns, 1, g}, got.m[g], expected.m[g], 0);
  }
  // The scalar level against the types' own definition.
  std::vector<float> values(columns);
  quant::info(type).dequantize(bytes.data(), values.data(), columns);
  for (size_t i = 0; i < columns; ++i) {
    const double scaled = static_cast<double>(expected.d[i / group]) * expected.u[i];
    const double m = expected.m[i / group];
    check_near({"scalar", "value", name, columns, 1, i}, scaled + m, values[i],
               4 * kRoundoff * (std::abs(scaled) + std::abs(m)));
  }
}

void check_products(const Table& table, quant::Type type, size_t group, const std::vector<uint8_t>& bytes,
                    size_t stored, ActivationRows& act) {
  const size_t index = static_cast<size_t>(type), columns = act.columns;
  const size_t row_bytes = quant::row_bytes(type, columns);
  const std::string_view name = quant::info(type).name;
  const Activations view = act.view();
  std::vector<Unpacked> rows;
  std::vector<Product> expected;  // [stored, act.rows]
  for (size_t j = 0; j < stored; ++j) {
    rows.emplace_back(table, type, group, &bytes[j * row_bytes], columns);
    for (size_t r = 0; r < act.rows; ++r) expected.push_back(product(rows[j], group, act, r));
  }
  const auto check = [&](const char* what, size_t j, size_t r, float got) {
    const Product& wanted = expected[j * act.rows + r];
    check_near({table.name, what, name, columns, act.rows, j}, got, wanted.value, wanted.bound);
  };

  std::vector<float> out(act.rows);
  std::vector<UnpackedRow> unpacked;
  for (size_t j = 0; j < stored; ++j) {
    unpacked.push_back(rows[j].view(type));
    table.dot_unpacked(&unpacked[j], columns, group, &view, act.rows, out.data(), 1);
    for (size_t r = 0; r < act.rows; ++r) check("dot_unpacked", j, r, out[r]);
  }

  if (const auto dot = table.dot_direct[index]; dot != nullptr) {
    std::vector<float> direct(act.rows * stored);
    dot(bytes.data(), row_bytes, columns, stored, &view, act.rows, direct.data(), stored);
    for (size_t r = 0; r < act.rows; ++r) {
      for (size_t j = 0; j < stored; ++j) check("dot_direct", j, r, direct[r * stored + j]);
    }
  }

  const size_t panel_rows = table.panel_rows, groups = columns / group;
  const size_t packed = std::min(stored, panel_rows);
  std::vector<uint8_t> panel_u(columns * panel_rows);
  std::vector<float> panel_d(groups * panel_rows), panel_m(panel_d);
  const Panel panel{panel_u.data(), panel_d.data(),      panel_m.data(),      columns,
                    group,          kUnpackedMax[index], kUnpackedZero[index]};
  table.pack_panel(unpacked.data(), packed, &panel);
  std::vector<float> tile(act.rows * packed);
  table.gemm_panel(&panel, &view, act.rows, tile.data(), packed, packed);
  for (size_t j = 0; j < packed; ++j) {
    for (size_t r = 0; r < act.rows; ++r) check("gemm_panel", j, r, tile[r * packed + j]);
  }
}

void fuzz_products(Input& input) {
  quant::Type type;
  do {
    type = static_cast<quant::Type>(input.below(kTypes));
  } while (kUnpackedGroup[static_cast<size_t>(type)] == 0);
  const size_t unit = std::max<size_t>(quant::info(type).block_values, kActGroup);
  const size_t columns = unit * (1 + input.below(unit == 256 ? 8 : 40));
  const size_t stored = 1 + input.below(20), rows = 1 + input.below(9);
  const size_t group = kUnpackedGroup[static_cast<size_t>(type)];
  const std::vector<uint8_t> bytes = stored_rows(input, type, stored, columns);
  ActivationRows act = activations(input, rows, columns);
  for_each_level([&](const Table& table) {
    check_unpacked(table, type, group, bytes, columns);
    check_products(table, type, group, bytes, stored, act);
  });
}

// ---- quantising ----

void fuzz_quantize(Input& input) {
  const size_t columns = kActGroup * (1 + input.below(40));
  const std::vector<float> x = input.numbers(columns, 0x1p100f);
  ActivationRows expected(1, columns);
  const Activations expected_view = expected.view();
  kGenericTable.quantize_row(x.data(), columns, &expected_view, 0);
  for (size_t i = 0; i < columns; ++i) {
    check_near({"scalar", "quantised value", "f32", columns, 1, i}, expected.value(0, i), x[i],
               0.5001 * expected.d[i / kActGroup] + 0x1p-122);
  }
  for_each_level([&](const Table& table) {
    ActivationRows rows(1, columns), groups(1, columns);
    const Activations rows_view = rows.view(), groups_view = groups.view();
    table.quantize_row(x.data(), columns, &rows_view, 0);
    for (size_t g = 0; g < columns / kActGroup; ++g) {
      table.quantize_group_of(&x[g * kActGroup], 1, &groups_view, 0, g);
    }
    for (const ActivationRows* got : {&rows, &groups}) {
      const char* what = got == &rows ? "quantize_row" : "quantize_group_of";
      const auto same = [&](const char* part, const auto& a, const auto& b) {
        for (size_t i = 0; i < a.size(); ++i) {
          if (a[i] != b[i]) {
            std::fprintf(stderr, "%s of ", part);
            disagree({table.name, what, "f32", columns, 1, i}, a[i], b[i], 0);
          }
        }
      };
      same("q", got->q, expected.q);
      same("d", got->d, expected.d);
      same("s", got->s, expected.s);
      same("s16", got->s16, expected.s16);
      same("n", got->n, expected.n);
      same("n16", got->n16, expected.n16);
    }
  });
}

// ---- attention ----

struct Kv {
  explicit Kv(size_t n_in)
      : n(n_in), k(kKvBlock * n), kd(kKvBlock * (n / kActGroup)), v(k.size()), vd(kKvBlock) {}
  KvBlock view() { return {k.data(), kd.data(), v.data(), vd.data()}; }
  double key(size_t p, size_t i) const {
    return (k[(i / 4 * kKvBlock + p) * 4 + i % 4] - 128) *
           static_cast<double>(kd[i / kActGroup * kKvBlock + p]);
  }
  double value(size_t p, size_t i) const {
    return v[(p / 4 * n + i) * 4 + p % 4] * static_cast<double>(vd[p]);
  }

  size_t n;
  std::vector<uint8_t> k;
  std::vector<float> kd;
  std::vector<int8_t> v;
  std::vector<float> vd;
};

struct Queries {
  Queries(size_t rows, size_t n)
      : q(rows * n),
        qd(rows * n / kActGroup),
        qs(qd.size()),
        sums(rows * n),
        top(rows, -1.0e30f),
        total(rows),
        scores(rows * kKvBlock),
        p(scores.size()) {}
  std::vector<int8_t> q;
  std::vector<float> qd;
  std::vector<int32_t> qs;
  std::vector<float> sums, top, total, scores;
  std::vector<uint8_t> p;
};

// One row over positions [low, high) of one block, by definition.
void check_attended(const Table& table, const Kv& kv, const Queries& queries, size_t r, size_t low,
                    size_t high) {
  const size_t n = kv.n, groups = n / kActGroup;
  std::vector<double> weights(kKvBlock);
  double top = -1e300, off = 0, total = 0;
  for (size_t p = low; p < high; ++p) {
    double score = 0, size = 0;
    for (size_t i = 0; i < n; ++i) {
      const double term = kv.key(p, i) * queries.q[r * n + i] * queries.qd[r * groups + i / kActGroup];
      score += term;
      size += std::abs(term);
    }
    weights[p] = score;
    top = std::max(top, score);
    off = std::max(off, (static_cast<double>(groups) + 4) * kRoundoff * size);
  }
  // A score that is off by `off` makes a weight off by this factor; the level's exp by 6e-6 (float_test.cc).
  const double factor = std::expm1(2 * off) + 2e-5;
  double most = 0;
  for (size_t p = low; p < high; ++p) {
    weights[p] = std::exp(weights[p] - top);
    total += weights[p];
    most = std::max(most, weights[p] * kv.vd[p]);
  }
  for (size_t i = 0; i < n; ++i) {
    double value = 0, size = 0;
    for (size_t p = low; p < high; ++p) {
      value += weights[p] * kv.value(p, i) / total;
      size += weights[p] * std::abs(kv.value(p, i)) / total;
    }
    // Weights are rounded to steps of at least 1/127 of the largest; a value is at most 127 of its scale.
    const double rounding = static_cast<double>(high - low) * 0.51 / 127 * 127 * most / total;
    check_near({table.name, "attend_block", "q8", n, queries.top.size(), i},
               queries.sums[r * n + i] / queries.total[r], value,
               rounding * (1 + factor) + 2 * factor * size + 0x1p-100);
  }
}

// Packing: within half a step of what was given. Unpacking: as the scalar level does it.
void check_packed(const Table& table, const std::vector<std::vector<float>>& keys,
                  const std::vector<std::vector<float>>& values) {
  const size_t n = keys[0].size(), groups = n / kActGroup;
  std::vector<uint8_t> k(kKvBlock * n / 2), kh(k.size() / 4), v(k.size()), vh(kh.size());
  std::vector<uint16_t> kd(kKvBlock * groups), vd(kKvBlock);
  const KvPacked packed{k.data(), kh.data(), kd.data(), v.data(), vh.data(), vd.data()};
  for (size_t p = 0; p < keys.size(); ++p) {
    table.pack_key(keys[p].data(), n, &packed, p);
    table.pack_value(values[p].data(), n, &packed, p);
  }
  Kv got(n), expected(n);
  const KvBlock got_view = got.view(), expected_view = expected.view();
  table.unpack_block(&packed, n, &got_view);
  kGenericTable.unpack_block(&packed, n, &expected_view);
  for (size_t i = 0; i < got.k.size(); ++i) {
    check_near({table.name, "unpack_block's key", "q5", n, keys.size(), i}, got.k[i], expected.k[i], 0);
    check_near({table.name, "unpack_block's value", "q5", n, keys.size(), i}, got.v[i], expected.v[i], 0);
  }
  for (size_t p = 0; p < keys.size(); ++p) {
    for (size_t i = 0; i < n; ++i) {
      // Half a step is a scale; the scale's own rounding moves its largest multiple, 31.
      const auto near = [](double scale) { return scale * 1.001 + 31 * (scale * 0x1p-11 + 0x1p-25); };
      check_near({table.name, "pack_key", "q5", n, p, i}, got.key(p, i), keys[p][i],
                 near(got.kd[i / kActGroup * kKvBlock + p]));
      check_near({table.name, "pack_value", "q5", n, p, i}, got.value(p, i), values[p][i], near(got.vd[p]));
    }
  }
}

void fuzz_attention(Input& input) {
  const size_t n = kActGroup * (1 + input.below(8)), rows = 1 + input.below(14);
  const size_t positions = 1 + input.below(kKvBlock);
  std::vector<std::vector<float>> keys, values, wanted;
  for (size_t p = 0; p < positions; ++p) {
    keys.push_back(input.numbers(n, 0x1p6f));
    values.push_back(input.numbers(n, 0x1p20f));
  }
  for (size_t r = 0; r < rows; ++r) wanted.push_back(input.numbers(n, 0x1p6f));
  std::vector<uint8_t> low(rows), high(rows);
  for (size_t r = 0; r < rows; ++r) {
    high[r] = static_cast<uint8_t>(input.below(positions + 1));
    low[r] = static_cast<uint8_t>(input.below(positions + 1));
  }
  const float scale = 1 / std::sqrt(static_cast<float>(n));
  Kv plain(n);
  const KvBlock plain_view = plain.view();
  for (size_t p = 0; p < positions; ++p) {
    kGenericTable.store_key(keys[p].data(), n, &plain_view, p);
    kGenericTable.store_value(values[p].data(), n, &plain_view, p);
  }
  for_each_level([&](const Table& table) {
    check_packed(table, keys, values);
    Kv kv(n);
    const KvBlock block = kv.view();
    Queries queries(rows, n);
    for (size_t p = 0; p < positions; ++p) {
      table.store_key(keys[p].data(), n, &block, p);
      table.store_value(values[p].data(), n, &block, p);
    }
    for (size_t r = 0; r < rows; ++r) {
      const size_t group = r * (n / kActGroup);
      table.quantize_query(wanted[r].data(), n, scale, &queries.q[r * n], &queries.qd[group],
                           &queries.qs[group]);
      for (size_t g = 0; g < n / kActGroup; ++g) {
        int sum = 0;
        for (size_t i = 0; i < kActGroup; ++i) sum += queries.q[r * n + g * kActGroup + i];
        check_near({table.name, "quantize_query's sum", "q8", n, rows, g}, queries.qs[group + g], 128.0 * sum,
                   0);
      }
    }
    for (size_t i = 0; i < kv.k.size(); ++i) {
      check_near({table.name, "store_key", "q8", n, positions, i}, kv.k[i], plain.k[i], 0);
      check_near({table.name, "store_value", "q8", n, positions, i}, kv.v[i], plain.v[i], 0);
    }
    for (size_t i = 0; i < kv.kd.size(); ++i) {
      check_near({table.name, "store_key's scale", "q8", n, positions, i}, kv.kd[i], plain.kd[i], 0);
    }
    for (size_t i = 0; i < kv.vd.size(); ++i) {
      check_near({table.name, "store_value's scale", "q8", n, positions, i}, kv.vd[i], plain.vd[i], 0);
    }
    const AttentionRows view{rows,
                             n,
                             queries.q.data(),
                             queries.qd.data(),
                             queries.qs.data(),
                             queries.sums.data(),
                             queries.top.data(),
                             queries.total.data(),
                             queries.scores.data(),
                             queries.p.data()};
    table.attend_block(&view, &block, low.data(), high.data());
    for (size_t r = 0; r < rows; ++r) {
      if (low[r] < high[r]) check_attended(table, kv, queries, r, low[r], high[r]);
    }
  });
}

// ---- floats ----

void check_dots(const Table& table, const std::vector<float>& a, const std::vector<float>& b) {
  const size_t n = a.size();
  double f32 = 0, size = 0;
  for (size_t i = 0; i < n; ++i) {
    f32 += static_cast<double>(a[i]) * b[i];
    size += std::abs(static_cast<double>(a[i]) * b[i]);
  }
  const double steps = static_cast<double>(n) + 2;
  check_near({table.name, "dot_f32", "f32", n, 1, 0}, table.dot_f32(a.data(), b.data(), n), f32,
             steps * (kRoundoff * size + 0x1p-126));
  for (const quant::Type type : {quant::Type::kF16, quant::Type::kBF16}) {
    std::vector<uint16_t> halves(n);
    std::vector<float> wide(n);
    std::vector<float> small(n);
    for (size_t i = 0; i < n; ++i) small[i] = std::clamp(a[i], -60000.0f, 60000.0f);
    quant::info(type).quantize(small.data(), halves.data(), n);
    quant::info(type).dequantize(halves.data(), wide.data(), n);
    double expected = 0, magnitude = 0;
    for (size_t i = 0; i < n; ++i) {
      expected += static_cast<double>(wide[i]) * b[i];
      magnitude += std::abs(static_cast<double>(wide[i]) * b[i]);
    }
    const auto dot = type == quant::Type::kF16 ? table.dot_f16 : table.dot_bf16;
    check_near({table.name, "dot", quant::info(type).name, n, 1, 0}, dot(halves.data(), b.data(), n),
               expected, steps * (kRoundoff * magnitude + 0x1p-126));
  }
}

void check_elements(const Table& table, const std::vector<float>& a, const std::vector<float>& b) {
  const size_t n = a.size();
  std::vector<float> y = b;
  table.add(a.data(), y.data(), n);
  for (size_t i = 0; i < n; ++i) check_near({table.name, "add", "f32", n, 1, i}, y[i], a[i] + b[i], 0);
  y = b;
  table.scale(a[0], y.data(), n);
  for (size_t i = 0; i < n; ++i) check_near({table.name, "scale", "f32", n, 1, i}, y[i], a[0] * b[i], 0);
  check_near({table.name, "max_of", "f32", n, 1, 0}, table.max_of(a.data(), n),
             *std::max_element(a.begin(), a.end()), 0);

  double squares = 0;
  for (const float x : a) squares += static_cast<double>(x) * x;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5f);
  table.rms_norm(a.data(), b.data(), 1e-5f, y.data(), n);
  for (size_t i = 0; i < n; ++i) {
    const double expected = a[i] * scale * b[i];
    check_near(
        {table.name, "rms_norm", "f32", n, 1, i}, y[i], expected,
        (static_cast<double>(n) + 8) * kRoundoff * std::abs(expected) + 0x1p-126 * (1 + std::abs(b[i])));
  }

  // exp_sum's contract: none is above max.
  const float max = *std::max_element(a.begin(), a.end());
  y = a;
  double sum = 0;
  const double got = table.exp_sum(y.data(), max, n);
  for (size_t i = 0; i < n; ++i) {
    const double distance = static_cast<double>(a[i]) - max;
    // The difference is rounded to a float before its exponential; 6e-6 as in float_test.cc.
    const double expected = std::exp(distance);
    check_near({table.name, "exp_sum's value", "f32", n, 1, i}, y[i], expected,
               (6e-6 + 2 * kRoundoff * std::abs(distance)) * expected + 0x1p-120);
    sum += y[i];
  }
  check_near({table.name, "exp_sum", "f32", n, 1, 0}, got, sum,
             (static_cast<double>(n) + 2) * kRoundoff * sum);
}

void check_gates(const Table& table, const std::vector<float>& gate, const std::vector<float>& up) {
  const size_t n = gate.size();
  std::vector<float> out(n);
  table.silu_mul(gate.data(), up.data(), out.data(), n);
  for (size_t i = 0; i < n; ++i) {
    const double g = gate[i], expected = g / (1 + std::exp(-g)) * up[i];
    check_near({table.name, "silu_mul", "f32", n, 1, i}, out[i], expected,
               1e-5 * std::abs(expected) + 1e-30 * (1 + std::abs(up[i])));
  }
  table.gelu_mul(gate.data(), up.data(), out.data(), n);
  for (size_t i = 0; i < n; ++i) {
    const double g = gate[i];
    const double expected =
        0.5 * g * (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * up[i];
    check_near({table.name, "gelu_mul", "f32", n, 1, i}, out[i], expected,
               2e-5 * std::abs(expected) + 1e-12 * (1 + std::abs(up[i])));
  }
}

void fuzz_floats(Input& input) {
  const size_t n = 1 + input.below(300);
  const std::vector<float> a = input.numbers(n, 0x1p40f), b = input.numbers(n, 0x1p40f);
  const std::vector<float> gate = input.numbers(n, 0x1p9f);
  for_each_level([&](const Table& table) {
    check_dots(table, a, b);
    check_elements(table, a, b);
    check_gates(table, gate, b);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  switch (input.byte() % 8) {
    case 0:
      fuzz_quantize(input);
      break;
    case 1:
      fuzz_attention(input);
      break;
    case 2:
      fuzz_floats(input);
      break;
    default:
      fuzz_products(input);
  }
  return 0;
}
