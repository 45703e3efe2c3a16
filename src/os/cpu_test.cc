#include "os/cpu.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "os/file.h"

namespace hedge::os {
namespace {

// A made-up machine.
class CpuTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "hedge_cpu_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    paths_ = {root_ + "/proc", root_ + "/sys"};
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void put(const std::string& path, const std::string& content) {
    const std::filesystem::path full = root_ + "/" + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << content;
  }

  std::string root_;
  SystemPaths paths_;
};

int affinity_count() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  return ::sched_getaffinity(0, sizeof(mask), &mask) == 0 ? CPU_COUNT(&mask) : 0;
}

TEST_F(CpuTest, QuotaLimitsCores) {
  EXPECT_EQ(usable_cores(paths_), affinity_count());  // No control group is shown.
  put("proc/self/cgroup", "0::/a/b\n");
  EXPECT_EQ(usable_cores(paths_), affinity_count());
  put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(usable_cores(paths_), affinity_count());
  put("sys/fs/cgroup/a/b/cpu.max", "190000 100000\n");
  EXPECT_EQ(usable_cores(paths_), 1);
  put("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
  EXPECT_EQ(usable_cores(paths_), 1);
  put("sys/fs/cgroup/a/b/cpu.max", "99900000 100000\n");
  EXPECT_EQ(usable_cores(paths_), std::min(affinity_count(), 999));
  put("sys/fs/cgroup/a/cpu.max", "100000 100000\n");  // The group above counts too.
  EXPECT_EQ(usable_cores(paths_), 1);
}

TEST_F(CpuTest, BrokenQuotasAreNoQuotas) {
  put("proc/self/cgroup", "1:cpu:/old\n0::/\n");
  for (const char* text : {"", "100000", "100000 ", "100000 0", "x 100000", "99999999999999999999 100000"}) {
    put("sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(usable_cores(paths_), affinity_count()) << text;
  }
  put("sys/fs/cgroup/cpu.max", "100000 100000");
  EXPECT_EQ(usable_cores(paths_), 1);
  put("proc/self/cgroup", "1:cpu:/old\n");  // Only version 1, whose folder shows no limit.
  EXPECT_EQ(usable_cores(paths_), affinity_count());
}

TEST_F(CpuTest, Version1LimitsToo) {
  put("proc/self/cgroup", "4:memory:/box\n3:cpu,cpuacct:/box/in\n1:name=systemd:/x\nbroken\n2:memory\n");
  put("proc/meminfo", "MemTotal:       1000 kB\nMemAvailable:    600 kB\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("sys/fs/cgroup/cpu/box/in/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu/box/in/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(memory_sizes(paths_).total_bytes, 1000u << 10);
  EXPECT_EQ(usable_cores(paths_), affinity_count());
  put("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "409600\n");
  put("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "300000\n");
  put("sys/fs/cgroup/memory/box/memory.stat", "inactive_file 7\ntotal_inactive_file 100000\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n");
  put("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(memory_sizes(paths_).total_bytes, 409600u);
  EXPECT_EQ(memory_sizes(paths_).group_limit_bytes, 409600u);
  EXPECT_EQ(memory_sizes(paths_).machine_bytes, 1000u << 10);
  EXPECT_EQ(memory_sizes(paths_).available_bytes, 209600u);
  EXPECT_EQ(usable_cores(paths_), 1);
}

TEST_F(CpuTest, Brand) {
  EXPECT_EQ(cpu_brand(paths_), "unknown");
  put("proc/cpuinfo",
      "processor\t: 0\nmodel name\t: A Processor: 3 GHz\n\nprocessor\t: 1\nmodel name\t: B\n");
  EXPECT_EQ(cpu_brand(paths_), "A Processor: 3 GHz");
  put("proc/cpuinfo", "processor\t: 0\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n");
  EXPECT_EQ(cpu_brand(paths_), "Raspberry Pi 5 Model B Rev 1.0");
}

TEST_F(CpuTest, Caches) {
  EXPECT_EQ(cache_sizes(paths_).l2_bytes, 0u);
  const auto cache = [&](int index, const char* level, const char* type, const char* size) {
    const std::string folder = "sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    put(folder + "/level", level);
    put(folder + "/type", type);
    put(folder + "/size", size);
  };
  cache(0, "1\n", "Data\n", "48K\n");
  cache(1, "1\n", "Instruction\n", "32K\n");
  cache(2, "2\n", "Unified\n", "1024K\n");
  cache(3, "3\n", "Unified\n", "32M\n");
  const CacheSizes sizes = cache_sizes(paths_);
  EXPECT_EQ(sizes.l1_data_bytes, 48u << 10);
  EXPECT_EQ(sizes.l2_bytes, 1u << 20);
  EXPECT_EQ(sizes.l3_bytes, 32u << 20);
}

TEST_F(CpuTest, MemoryIsTheSmallerOfMachineAndGroup) {
  EXPECT_EQ(memory_sizes(paths_).total_bytes, 0u);
  put("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n");
  EXPECT_EQ(memory_sizes(paths_).total_bytes, 1000u << 10);
  EXPECT_EQ(memory_sizes(paths_).available_bytes, 600u << 10);
  put("proc/self/cgroup", "0::/box\n");
  put("sys/fs/cgroup/box/memory.max", "max\n");
  EXPECT_EQ(memory_sizes(paths_).total_bytes, 1000u << 10);
  put("sys/fs/cgroup/box/memory.max", "409600\n");
  put("sys/fs/cgroup/box/memory.current", "300000\n");
  put("sys/fs/cgroup/box/memory.stat", "anon 1\ninactive_file 100000\n");
  EXPECT_EQ(memory_sizes(paths_).total_bytes, 409600u);
  EXPECT_EQ(memory_sizes(paths_).available_bytes, 209600u);
  put("sys/fs/cgroup/box/memory.current", "999999999\n");
  EXPECT_EQ(memory_sizes(paths_).available_bytes, 0u);
}

TEST(Cpu, PeakCoversTheMemoryTouched) {
  constexpr size_t kBytes = 64 << 20;
  const std::vector<char> memory(kBytes, 1);
  EXPECT_GE(peak_resident_bytes(), kBytes);
  EXPECT_LE(peak_resident_bytes(), memory_sizes().total_bytes);
  EXPECT_EQ(memory[kBytes - 1], 1);
}

TEST(Cpu, ThisMachine) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), affinity_count());
  EXPECT_NE(cpu_brand(), "");
  const MemorySizes memory = memory_sizes();
  EXPECT_GT(memory.total_bytes, 64u << 20);
  EXPECT_LE(memory.available_bytes, memory.total_bytes);
}

// The kernel's own list is the second opinion: it names a feature only when it also saves the registers.
TEST(Cpu, FeaturesAreThoseThatLinuxNames) {
  auto cpuinfo = read_file("/proc/cpuinfo", 4 << 20);
  if (!cpuinfo.ok() || cpuinfo->find("\nflags") == std::string::npos) GTEST_SKIP() << "not an x86 Linux";
  const size_t at = cpuinfo->find("\nflags") + 1;
  std::istringstream line(cpuinfo->substr(at, cpuinfo->find('\n', at) - at));
  const std::vector<std::string> flags{std::istream_iterator<std::string>(line), {}};
  // All names that feature_names() can give.
  const CpuFeatures all{true, true, true, true, true, true, true, true, true, true};
  const auto ours = feature_names(cpu_features());
  for (const std::string_view name : feature_names(all)) {
    EXPECT_EQ(std::find(ours.begin(), ours.end(), name) != ours.end(),
              std::find(flags.begin(), flags.end(), name) != flags.end())
        << name;
  }
}

}  // namespace
}  // namespace hedge::os
