#include "os/network.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace hedge::os {
namespace {

// A folder that looks like /proc/net.
class Network : public testing::Test {
 protected:
  Network() : folder_(testing::TempDir() + "hedge-net-" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~Network() override { std::filesystem::remove_all(folder_); }

  bool with(const std::string& v4, const std::string& v6 = {}) {
    std::ofstream(folder_ + "/route") << "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
                                      << v4;
    std::ofstream(folder_ + "/ipv6_route") << v6;
    return has_route_beyond(folder_);
  }

  const std::string folder_;
};

constexpr const char* kZero = "00000000000000000000000000000000";

std::string v6(const std::string& destination, const std::string& flags, const std::string& interface) {
  return destination + " 00 " + kZero + " 00 " + kZero + " ffffffff 00000001 00000000 " + flags + " " +
         interface + "\n";
}

TEST_F(Network, RoutesOfOtherInterfacesLeadOut) {
  EXPECT_TRUE(with("eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\n"));
  EXPECT_TRUE(with("wlan0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"))
      << "the same site needs no default route";
  EXPECT_TRUE(with("", v6("20010db8000000000000000000000000", "00000001", "eth0")));
}

TEST_F(Network, NothingButLoopbackDoesNot) {
  EXPECT_FALSE(with(""));
  EXPECT_FALSE(with("lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\n"));
  EXPECT_FALSE(with("eth0\t00000000\t0100A8C0\t0002\t0\t0\t100\t00000000\n")) << "down";
  EXPECT_FALSE(with("", v6(kZero, "00200200", "lo"))) << "the kernel's own reject route";
  EXPECT_FALSE(with("", v6(kZero, "00000201", "eth0"))) << "unreachable";
  EXPECT_FALSE(with("", v6("fe800000000000000000000000000000", "00000001", "eth0")));
  EXPECT_FALSE(with("", v6("ff000000000000000000000000000000", "00000001", "eth0")));
}

TEST_F(Network, DamagedTablesAreSurvived) {
  EXPECT_FALSE(with("eth0\n\n\t\t\nx y z\n" + std::string(100'000, 'x'), "1 2 3\n"));
  EXPECT_TRUE(has_route_beyond(folder_ + "/absent"));
}

}  // namespace
}  // namespace hedge::os
