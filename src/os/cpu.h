// What machine this is: cores, instruction sets, caches, memory. Read anew at each call; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hedge::os {

// Where the kernel shows itself; tests give folders of their own.
struct SystemPaths {
  std::string proc = "/proc";
  std::string sys = "/sys";
};

// Instruction sets that the processor has and the operating system saves registers for.
struct CpuFeatures {
  bool avx2 = false;
  bool fma = false;
  bool f16c = false;
  bool avx_vnni = false;
  bool avx512f = false;
  bool avx512bw = false;
  bool avx512vl = false;
  bool avx512dq = false;
  bool avx512_vnni = false;
  bool avx512_vbmi = false;
};
CpuFeatures cpu_features();
// Names of those present, as Linux writes them ("avx2", "avx512_vnni").
std::vector<std::string_view> feature_names(const CpuFeatures& features);

// "AMD EPYC 9454P 48-Core Processor"; "unknown" where nothing tells.
std::string cpu_brand(const SystemPaths& paths = {});

// Cores that this process can keep busy: those of its affinity mask, and no more than the CPU quota of its
// control group and every group above allows, rounded down, since a thread over the quota stalls
// the others. At least 1.
int usable_cores(const SystemPaths& paths = {});

// Of the first core; 0 where unknown. The third level is shared with other cores.
struct CacheSizes {
  uint64_t l1_data_bytes = 0;
  uint64_t l2_bytes = 0;
  uint64_t l3_bytes = 0;
};
CacheSizes cache_sizes(const SystemPaths& paths = {});

// The machine's, or its control group's where that has less; 0 where unknown. What is available includes page
// cache that the kernel can give up.
struct MemorySizes {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;
  uint64_t machine_bytes = 0;      // of the machine alone
  uint64_t group_limit_bytes = 0;  // the smallest limit of its groups below that; 0: none
};
MemorySizes memory_sizes(const SystemPaths& paths = {});

// The most memory that was resident in this process at once (VmHWM), mapped files included; 0 where unknown.
uint64_t peak_resident_bytes(const SystemPaths& paths = {});

}  // namespace hedge::os
