#include "kernels/dispatch.h"

#include <array>
#include <string>

#include "quant/type.h"

namespace hedge::kernels {
namespace {

static_assert(kTypes == quant::kTypeCount,
              "kernels::kTypes must equal the number of lines in quant/type_list.inc");

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
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
