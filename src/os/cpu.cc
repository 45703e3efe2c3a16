#include "os/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "os/file.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace hedge::os {
namespace {

constexpr size_t kSystemFileBytesMax = 4 << 20;  // /proc/cpuinfo of 1,024 cores has about 1.5 MB.
constexpr std::string_view kBlank = " \t\n";

std::optional<std::string> read_system_file(const std::string& path) {
  auto content = read_file(path, kSystemFileBytesMax);
  if (!content.ok()) return std::nullopt;
  return std::move(content).value();
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// The leading digits; absent when there are none or they exceed 64 bits.
std::optional<uint64_t> leading_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

// The value of the first line "NAME : VALUE", as /proc writes them.
std::optional<std::string_view> field(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos && trimmed(line.substr(0, colon)) == name)
      return trimmed(line.substr(colon + 1));
  }
  return std::nullopt;
}

// A field in kB; 0 when absent.
uint64_t field_kilobytes(const std::optional<std::string>& text, std::string_view name) {
  if (!text) return 0;
  const auto value = field(*text, name);
  return value ? leading_number(*value).value_or(0) << 10 : 0;
}

// A control group's folder. Version 1 keeps one tree per controller, with other names for its files.
struct ControlGroup {
  std::string folder;
  bool version1 = false;
};

void add_groups(const std::string& mount, std::string_view path, bool version1,
                std::vector<ControlGroup>& groups) {
  std::string group(path);
  for (;;) {
    groups.push_back({mount + (group == "/" ? "" : group), version1});
    if (group.size() <= 1) return;
    group.resize(std::max<size_t>(1, group.find_last_of('/')));
  }
}

// This process's control groups that may limit what `controller` ("memory", "cpu") names, and all groups
// above them, innermost first. Lines are "ID:CONTROLLERS:/PATH"; version 2 has ID 0 and no controllers.
std::vector<ControlGroup> control_groups(const SystemPaths& paths, std::string_view controller) {
  std::vector<ControlGroup> groups;
  const std::string membership = read_system_file(paths.proc + "/self/cgroup").value_or("");
  const std::string root = paths.sys + "/fs/cgroup";
  for (std::string_view rest = membership; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos || line.substr(second + 1, 1) != "/") continue;
    const std::string_view path = line.substr(second + 1);
    const std::string names = "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    if (names == ",,") {
      if (line.starts_with("0:")) add_groups(root, path, false, groups);
    } else if (names.find("," + std::string(controller) + ",") != names.npos) {
      add_groups(root + "/" + std::string(controller), path, true, groups);
    }
  }
  return groups;
}

#if defined(__x86_64__)
// Bits of XCR0: the registers that the operating system saves on a switch.
constexpr uint64_t kSavesYmm = 0x6;   // xmm, upper halves of ymm
constexpr uint64_t kSavesZmm = 0xe6;  // and the mask registers, upper halves of zmm, zmm16 to zmm31

uint64_t saved_registers() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}
#endif

}  // namespace

CpuFeatures cpu_features() {
  CpuFeatures features;
#if defined(__x86_64__)
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return features;
  const bool has_xgetbv = (ecx & bit_OSXSAVE) != 0;
  const uint64_t saved = has_xgetbv ? saved_registers() : 0;
  const bool ymm = (saved & kSavesYmm) == kSavesYmm;
  const bool zmm = (saved & kSavesZmm) == kSavesZmm;
  features.fma = ymm && (ecx & bit_FMA);
  features.f16c = ymm && (ecx & bit_F16C);
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return features;
  features.avx2 = ymm && (ebx & bit_AVX2);
  features.avx512f = zmm && (ebx & bit_AVX512F);
  features.avx512bw = zmm && (ebx & bit_AVX512BW);
  features.avx512vl = zmm && (ebx & bit_AVX512VL);
  features.avx512dq = zmm && (ebx & bit_AVX512DQ);
  features.avx512_vnni = zmm && (ecx & bit_AVX512VNNI);
  features.avx512_vbmi = zmm && (ecx & bit_AVX512VBMI);
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) features.avx_vnni = ymm && (eax & bit_AVXVNNI);
#endif
  return features;
}

std::vector<std::string_view> feature_names(const CpuFeatures& features) {
  const struct {
    bool present;
    std::string_view name;
  } kAll[] = {
      {features.avx2, "avx2"},
      {features.fma, "fma"},
      {features.f16c, "f16c"},
      {features.avx_vnni, "avx_vnni"},
      {features.avx512f, "avx512f"},
      {features.avx512bw, "avx512bw"},
      {features.avx512vl, "avx512vl"},
      {features.avx512dq, "avx512dq"},
      {features.avx512_vnni, "avx512_vnni"},
      {features.avx512_vbmi, "avx512vbmi"},
  };
  std::vector<std::string_view> names;
  for (const auto& feature : kAll) {
    if (feature.present) names.push_back(feature.name);
  }
  return names;
}

std::string cpu_brand(const SystemPaths& paths) {
  const auto cpuinfo = read_system_file(paths.proc + "/cpuinfo");
  if (cpuinfo) {
    // x86 says "model name", ARM boards at most "Model" or "Hardware".
    for (const std::string_view name : {"model name", "Model", "Hardware"}) {
      if (const auto value = field(*cpuinfo, name); value && !value->empty()) return std::string(*value);
    }
  }
  return "unknown";
}

int usable_cores(const SystemPaths& paths) {
  int cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  cpu_set_t mask;
  CPU_ZERO(&mask);
  // Fails where the machine has more than CPU_SETSIZE (1,024) cores; then the count of those online stands.
  if (::sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  for (const ControlGroup& group : control_groups(paths, "cpu")) {
    std::optional<uint64_t> quota, period;  // in microseconds
    if (group.version1) {
      quota = leading_number(read_system_file(group.folder + "/cpu.cfs_quota_us").value_or(""));  // or "-1"
      period = leading_number(read_system_file(group.folder + "/cpu.cfs_period_us").value_or(""));
    } else {
      const auto limit = read_system_file(group.folder + "/cpu.max");  // "QUOTA PERIOD", or "max PERIOD"
      if (!limit) continue;
      quota = leading_number(*limit);
      period =
          leading_number(trimmed(std::string_view(*limit).substr(std::min(limit->find(' '), limit->size()))));
    }
    if (quota && period.value_or(0) > 0)
      cores = static_cast<int>(std::min<uint64_t>(cores, *quota / *period));
  }
  return std::max(cores, 1);
}

CacheSizes cache_sizes(const SystemPaths& paths) {
  CacheSizes sizes;
  constexpr int kCachesMax = 16;
  for (int i = 0; i < kCachesMax; ++i) {
    const std::string folder = paths.sys + "/devices/system/cpu/cpu0/cache/index" + std::to_string(i);
    const auto level = read_system_file(folder + "/level");
    const auto type = read_system_file(folder + "/type");
    const auto size = read_system_file(folder + "/size");
    if (!level || !type || !size) break;
    if (trimmed(*type) == "Instruction") continue;
    const std::string_view text = trimmed(*size);
    const uint64_t unit = text.ends_with('K') ? 1 << 10 : text.ends_with('M') ? 1 << 20 : 1;
    const uint64_t bytes = leading_number(text).value_or(0) * unit;
    const std::string_view number = trimmed(*level);
    if (number == "1") sizes.l1_data_bytes = bytes;
    if (number == "2") sizes.l2_bytes = bytes;
    if (number == "3") sizes.l3_bytes = bytes;
  }
  return sizes;
}

MemorySizes memory_sizes(const SystemPaths& paths) {
  const auto meminfo = read_system_file(paths.proc + "/meminfo");
  MemorySizes sizes;
  sizes.total_bytes = sizes.machine_bytes = field_kilobytes(meminfo, "MemTotal");
  sizes.available_bytes = field_kilobytes(meminfo, "MemAvailable");
  for (const ControlGroup& group : control_groups(paths, "memory")) {
    // Bytes; without a limit "max", or in version 1 a number beyond all memory.
    const auto limit_text =
        read_system_file(group.folder + (group.version1 ? "/memory.limit_in_bytes" : "/memory.max"));
    const auto limit = limit_text ? leading_number(*limit_text) : std::nullopt;
    if (!limit || (group.version1 && *limit >= uint64_t{1} << 60)) continue;
    const auto used_text =
        read_system_file(group.folder + (group.version1 ? "/memory.usage_in_bytes" : "/memory.current"));
    const auto statistics = read_system_file(group.folder + "/memory.stat");
    uint64_t used = used_text ? leading_number(*used_text).value_or(0) : 0;
    // Page cache of files counts as used but can be given up. Lines are "NAME VALUE".
    if (statistics) {
      const std::string_view name = group.version1 ? "total_inactive_file " : "inactive_file ";
      const size_t at = statistics->find(name);
      const auto reclaimable = at == std::string::npos
                                   ? std::nullopt
                                   : leading_number(std::string_view(*statistics).substr(at + name.size()));
      used -= std::min(used, reclaimable.value_or(0));
    }
    if (sizes.total_bytes == 0 || *limit < sizes.total_bytes)
      sizes.total_bytes = sizes.group_limit_bytes = *limit;
    sizes.available_bytes = std::min(sizes.available_bytes, *limit - std::min(*limit, used));
  }
  return sizes;
}

uint64_t peak_resident_bytes(const SystemPaths& paths) {
  return field_kilobytes(read_system_file(paths.proc + "/self/status"), "VmHWM");
}

}  // namespace hedge::os
