#include "os/sensors.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "os/file.h"

namespace hedge::os {
namespace {

// A machine made of files.
class FakeRoot {
 public:
  FakeRoot() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hedge-sensors-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~FakeRoot() { std::filesystem::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    ASSERT_TRUE(make_dirs(file.parent_path().string()).ok());
    ASSERT_TRUE(write_file_atomic(file.string(), text).ok());
  }
  const std::string& path() const { return root_; }

 private:
  std::string root_;
};

constexpr const char* kRouteHead =
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

TEST(Sensors, NothingIsKnownOfAMachineWithoutFiles) {
  FakeRoot root;
  const Sensors sensors = read_sensors(root.path());
  EXPECT_FALSE(sensors.on_battery || sensors.battery_percent || sensors.temperature_c || sensors.online);
}

TEST(Sensors, ALaptopOnItsBattery) {
  FakeRoot root;
  root.put("/sys/class/power_supply/AC/type", "Mains\n");
  root.put("/sys/class/power_supply/AC/online", "0\n");
  root.put("/sys/class/power_supply/BAT0/type", "Battery\n");
  root.put("/sys/class/power_supply/BAT0/status", "Discharging\n");
  root.put("/sys/class/power_supply/BAT0/capacity", "41\n");
  root.put("/sys/class/power_supply/BAT1/type", "Battery\n");
  root.put("/sys/class/power_supply/BAT1/status", "Full\n");
  root.put("/sys/class/power_supply/BAT1/capacity", "100\n");
  root.put("/sys/class/power_supply/mouse/type", "Battery\n");
  root.put("/sys/class/power_supply/mouse/scope", "Device\n");
  root.put("/sys/class/power_supply/mouse/capacity", "3\n");
  Sensors sensors = read_sensors(root.path());
  EXPECT_EQ(sensors.on_battery, true);
  EXPECT_EQ(sensors.battery_percent, 41);
  root.put("/sys/class/power_supply/AC/online", "1\n");
  root.put("/sys/class/power_supply/BAT0/status", "Charging\n");
  sensors = read_sensors(root.path());
  EXPECT_EQ(sensors.on_battery, false);
}

TEST(Sensors, AServerWithoutABatteryIsOnMains) {
  FakeRoot root;
  ASSERT_TRUE(make_dirs(root.path() + "/sys/class/power_supply").ok());
  EXPECT_EQ(read_sensors(root.path()).on_battery, false);
}

TEST(Sensors, TheHottestZoneThatIsPlausible) {
  FakeRoot root;
  root.put("/sys/class/thermal/thermal_zone0/temp", "41500\n");
  root.put("/sys/class/thermal/thermal_zone1/temp", "78000\n");
  root.put("/sys/class/thermal/thermal_zone2/temp", "-274000\n");
  root.put("/sys/class/thermal/thermal_zone3/temp", "warm\n");
  root.put("/sys/class/thermal/cooling_device0/temp", "99000\n");
  EXPECT_EQ(read_sensors(root.path()).temperature_c, 78);
}

TEST(Sensors, TheDefaultRouteOfTheLowestMetric) {
  FakeRoot root;
  root.put("/proc/net/route", std::string(kRouteHead) +
                                  "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
                                  "wwan0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
                                  "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
  Sensors sensors = read_sensors(root.path());
  EXPECT_EQ(sensors.online, true);
  EXPECT_EQ(sensors.route_interface, "wwan0");
  root.put("/proc/net/route", kRouteHead);
  EXPECT_EQ(read_sensors(root.path()).online, false);
  root.put("/proc/net/ipv6_route",
           "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
           "fd000000000000000000000000000001 00000400 00000003 00000000 00000003     usb0\n"
           "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
           "00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n");
  sensors = read_sensors(root.path());
  EXPECT_EQ(sensors.online, true);
  EXPECT_EQ(sensors.route_interface, "usb0");
}

TEST(Sensors, BrokenFilesAreNothing) {
  FakeRoot root;
  root.put("/proc/net/route", "\n\nx\ty\n\0\0");
  root.put("/proc/net/ipv6_route", "zz zz zz\n");
  root.put("/sys/class/power_supply/BAT0/type", "Battery");
  root.put("/sys/class/power_supply/BAT0/capacity", "41%");
  const Sensors sensors = read_sensors(root.path());
  EXPECT_EQ(sensors.online, false);
  EXPECT_FALSE(sensors.battery_percent);
}

}  // namespace
}  // namespace hedge::os
