// Speed of the matrix kernels by level and type, in CPU time of one thread:
//   direct   stored bytes per second of one activation row against rows that lie in the second-level cache
//   direct4  the same for four activation rows at once, direct8 for eight
//   narrow   direct for rows of 576 values
//   stream   the same against 64 MiB of rows, which no cache of a small machine holds
//   unpack   stored bytes per second of unpacking rows
//   pack     stored bytes per second of making panels of unpacked rows
//   few      operations (two per weight and activation) per second of four activation rows against unpacked
//   rows gemm     operations per second of a packed panel against 64 activation rows
// kernels_bench --benchmark_filter=avx2/gemm
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "kernels/dispatch.h"
#include "quant/type.h"

namespace hedge {
namespace {

using kernels::Table;
using quant::Type;

constexpr size_t kColumns = 2048;       // a multiple of every block
constexpr size_t kNarrowColumns = 576;  // not one of eight blocks of 32
constexpr size_t kCacheBytes = 256 * 1024;
constexpr size_t kStreamBytes = 64 << 20;
constexpr size_t kGemmRows = 64;

size_t group_of(Type type) { return kernels::kUnpackedGroup[static_cast<size_t>(type)]; }

// Rows that the type's quantiser wrote where it has one; else bytes whose f16 numbers are 0x1111, small and
// normal.
std::vector<uint8_t> stored_rows(Type type, size_t rows, size_t columns) {
  const quant::TypeInfo& info = quant::info(type);
  const size_t row_bytes = quant::row_bytes(type, columns);
  std::vector<uint8_t> bytes(rows * row_bytes, 0x11);
  if (info.quantize == nullptr) return bytes;
  Rng rng(1);
  std::vector<float> values(columns);
  const size_t distinct = std::min<size_t>(rows, 64);
  for (size_t r = 0; r < distinct; ++r) {
    for (float& v : values) v = static_cast<float>(rng.uniform() - 0.5);
    info.quantize(values.data(), &bytes[r * row_bytes], columns);
  }
  for (size_t r = distinct; r < rows; ++r) {
    std::copy_n(&bytes[(r % distinct) * row_bytes], row_bytes, &bytes[r * row_bytes]);
  }
  return bytes;
}

struct Rows {
  // Padded as the kernels expect: q to 64 values, scales to those of 512.
  Rows(const Table& table, size_t rows, size_t columns)
      : q(rows * round_up(columns, kernels::kRowPad)),
        d(rows * round_up(columns, 512) / 32),
        s(d.size()),
        s16(2 * d.size()),
        n(d.size()),
        n16(s16.size()),
        view{q.data(), d.data(),   s.data(),        s16.data(),
             n.data(), n16.data(), q.size() / rows, d.size() / rows} {
    Rng rng(2);
    std::vector<float> x(columns);
    for (size_t r = 0; r < rows; ++r) {
      for (float& v : x) v = static_cast<float>(rng.uniform() - 0.5);
      table.quantize_row(x.data(), columns, &view, r);
    }
  }
  std::vector<int8_t> q;
  std::vector<float> d, s, s16;
  std::vector<int32_t> n, n16;
  kernels::Activations view;
};

struct Unpacked {
  Unpacked(const Table& table, Type type)
      : bytes(stored_rows(type, table.panel_rows, kColumns)),
        u(table.panel_rows * kColumns),
        d(table.panel_rows * kColumns / 16),
        m(d.size()),
        panel_u(u.size()),
        panel_d(d.size()),
        panel_m(d.size()) {
    const uint8_t u_max = kernels::kUnpackedMax[static_cast<size_t>(type)];
    for (size_t r = 0; r < table.panel_rows; ++r) {
      rows.push_back({&u[r * kColumns], &d[r * kColumns / 16], &m[r * kColumns / 16], u_max});
    }
    panel = {panel_u.data(),
             panel_d.data(),
             panel_m.data(),
             kColumns,
             group_of(type),
             u_max,
             kernels::kUnpackedZero[static_cast<size_t>(type)]};
    unpack(table, type);
    table.pack_panel(rows.data(), rows.size(), &panel);
  }
  void unpack(const Table& table, Type type) {
    for (size_t r = 0; r < table.panel_rows; ++r) {
      table.unpack[static_cast<size_t>(type)](&bytes[r * quant::row_bytes(type, kColumns)], kColumns,
                                              rows[r]);
    }
  }
  std::vector<uint8_t> bytes, u;
  std::vector<float> d, m;
  std::vector<uint8_t> panel_u;
  std::vector<float> panel_d, panel_m;
  std::vector<kernels::UnpackedRow> rows;
  kernels::Panel panel;
};

void set_bytes(benchmark::State& state, size_t bytes) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

void set_operations(benchmark::State& state, size_t operations) {
  state.counters["op"] = benchmark::Counter(
      static_cast<double>(operations) * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void direct(benchmark::State& state, const Table& table, Type type, size_t columns, size_t bytes_wanted,
            size_t rows) {
  const size_t row_bytes = quant::row_bytes(type, columns);
  const size_t n_rows = bytes_wanted / row_bytes;
  const std::vector<uint8_t> bytes = stored_rows(type, n_rows, columns);
  Rows act(table, rows, columns);
  std::vector<float> out(rows * n_rows);
  constexpr size_t kChunk = 32;  // as the model calls it
  for (auto _ : state) {
    for (size_t r = 0; r < n_rows; r += kChunk) {
      table.dot_direct[static_cast<size_t>(type)](&bytes[r * row_bytes], row_bytes, columns,
                                                  std::min(kChunk, n_rows - r), &act.view, rows, &out[r],
                                                  n_rows);
    }
    benchmark::ClobberMemory();
  }
  set_bytes(state, n_rows * row_bytes);
}

void unpack(benchmark::State& state, const Table& table, Type type) {
  Unpacked w(table, type);
  for (auto _ : state) {
    w.unpack(table, type);
    benchmark::ClobberMemory();
  }
  set_bytes(state, w.bytes.size());
}

void pack(benchmark::State& state, const Table& table, Type type) {
  Unpacked w(table, type);
  for (auto _ : state) {
    table.pack_panel(w.rows.data(), w.rows.size(), &w.panel);
    benchmark::ClobberMemory();
  }
  set_bytes(state, w.bytes.size());
}

void few(benchmark::State& state, const Table& table, Type type) {
  Unpacked w(table, type);
  Rows act(table, 4, kColumns);
  std::vector<float> out(4 * table.panel_rows);
  for (auto _ : state) {
    for (size_t r = 0; r < table.panel_rows; ++r) {
      table.dot_unpacked(&w.rows[r], kColumns, group_of(type), &act.view, 4, &out[r], table.panel_rows);
    }
    benchmark::ClobberMemory();
  }
  set_operations(state, 2 * 4 * kColumns * table.panel_rows);
}

void gemm(benchmark::State& state, const Table& table, Type type) {
  Unpacked w(table, type);
  Rows act(table, kGemmRows, kColumns);
  std::vector<float> out(kGemmRows * table.panel_rows);
  for (auto _ : state) {
    table.gemm_panel(&w.panel, &act.view, kGemmRows, out.data(), table.panel_rows, table.panel_rows);
    benchmark::ClobberMemory();
  }
  set_operations(state, 2 * kGemmRows * kColumns * table.panel_rows);
}

void register_all() {
  for (const kernels::Level& level : kernels::levels()) {
    if (!level.usable) continue;
    const Table& table = *level.table;
    for (size_t i = 0; i < quant::kTypeCount; ++i) {
      const Type type = static_cast<Type>(i);
      if (table.unpack[i] == nullptr) continue;
      const auto name = [&](const char* what) {
        return std::string(level.name) + "/" + what + "/" + std::string(quant::info(type).name);
      };
      if (table.dot_direct[i] != nullptr) {
        const auto add = [&](const char* what, size_t columns, size_t bytes, size_t rows = 1) {
          benchmark::RegisterBenchmark(name(what).c_str(), [&table, type, columns, bytes, rows](auto& state) {
            direct(state, table, type, columns, bytes, rows);
          });
        };
        add("direct", kColumns, kCacheBytes);
        add("direct4", kColumns, kCacheBytes, 4);
        add("direct8", kColumns, kCacheBytes, 8);
        if (kNarrowColumns % quant::info(type).block_values == 0) add("narrow", kNarrowColumns, kCacheBytes);
        add("stream", kColumns, kStreamBytes);
      }
      benchmark::RegisterBenchmark(name("unpack").c_str(),
                                   [&table, type](auto& state) { unpack(state, table, type); });
      benchmark::RegisterBenchmark(name("pack").c_str(),
                                   [&table, type](auto& state) { pack(state, table, type); });
      benchmark::RegisterBenchmark(name("few").c_str(),
                                   [&table, type](auto& state) { few(state, table, type); });
      benchmark::RegisterBenchmark(name("gemm").c_str(),
                                   [&table, type](auto& state) { gemm(state, table, type); });
    }
  }
}

}  // namespace
}  // namespace hedge

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  hedge::register_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
