#include "kernels/dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <array>
#include <string>

#include "quant/type.h"

namespace hedge::kernels {
namespace {

static_assert(kTypes == quant::kTypeCount,
              "kernels::kTypes must equal the number of lines in quant/type_list.inc");

#if defined(__x86_64__)
// __builtin_cpu_supports("f16c") is not known to clang 14.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#else
  return false;
#endif
}

// VBMI came with VNNI on Ice Lake and Zen 4; Cascade Lake has VNNI alone and takes the AVX2 level.
bool has_avx512() {
#if defined(__x86_64__)
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
#else
  return false;
#endif
}

const std::array<Level, 3>& level_list() {
  static const std::array<Level, 3> list = {{
#if defined(__x86_64__)
      {"avx512", &kAvx512Table, has_avx512()},
      {"avx2", &kAvx2Table, has_avx2()},
#else
      {"avx512", &kGenericTable, false},
      {"avx2", &kGenericTable, false},
#endif
      {"scalar", &kGenericTable, true},
  }};
  return list;
}

const Table*& chosen() {
  static const Table* table = [] {
    for (const Level& level : level_list()) {
      if (level.usable) return level.table;
    }
    return &kGenericTable;
  }();
  return table;
}

}  // namespace

std::span<const Level> levels() { return level_list(); }

Status choose(std::string_view name) {
  if (name.empty()) return {};
  std::string known;
  for (const Level& level : level_list()) {
    if (level.name == name) {
      if (!level.usable) {
        return make_error(ErrorCode::kUnsupported, "kernel level '" + std::string(name) +
                                                       "' was asked for, but this CPU cannot run it");
      }
      chosen() = level.table;
      return {};
    }
    known += (known.empty() ? "" : ", ") + std::string(level.name);
  }
  return make_error(ErrorCode::kInvalidArgument,
                    "unknown kernel level '" + std::string(name) + "'; expected one of: " + known);
}

const Table& active() { return *chosen(); }

}  // namespace hedge::kernels
