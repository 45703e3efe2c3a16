// Formats: the kernel's Documentation/ABI/testing/sysfs-class-power and sysfs-class-thermal; /proc/net/route
// is net/ipv4/fib_trie.c, /proc/net/ipv6_route is net/ipv6/route.c.
#include "os/sensors.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <vector>

#include "os/file.h"

namespace hedge::os {
namespace {

constexpr size_t kValueBytesMax = 4096;       // sysfs gives at most a page
constexpr size_t kRoutesBytesMax = 1u << 20;  // thousands of routes
constexpr size_t kDevicesMax = 256;
constexpr unsigned kRouteUp = 0x1;         // RTF_UP
constexpr unsigned kRouteReject = 0x0200;  // RTF_REJECT

std::string value_of(const std::filesystem::path& file) {
  const auto text = read_file(file.string(), kValueBytesMax);
  if (!text.ok()) return {};
  return text->substr(0, text->find_first_of("\r\n"));
}

std::optional<double> number_of(const std::filesystem::path& file) {
  const std::string text = value_of(file);
  double value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::filesystem::path> entries_of(const std::string& folder) {
  std::vector<std::filesystem::path> out;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end;
       !error && it != end && out.size() < kDevicesMax; it.increment(error)) {
    out.push_back(it->path());
  }
  return out;
}

void read_power(const std::string& root, Sensors& out) {
  const std::string folder = root + "/sys/class/power_supply";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) return;
  bool battery = false, discharging = false, mains = false, mains_known = false;
  for (const std::filesystem::path& supply : entries_of(folder)) {
    const std::string type = value_of(supply / "type");
    if (type == "Battery") {
      if (value_of(supply / "scope") == "Device") continue;  // of a mouse or a headset
      battery = true;
      discharging = discharging || value_of(supply / "status") == "Discharging";
      const std::optional<double> percent = number_of(supply / "capacity");
      if (percent) out.battery_percent = std::min(*percent, out.battery_percent.value_or(*percent));
    } else if (type == "Mains" || type == "USB" || type == "Wireless") {
      const std::optional<double> online = number_of(supply / "online");
      mains_known = mains_known || online.has_value();
      mains = mains || online.value_or(0) > 0;
    }
  }
  // A battery that gives is in use, whatever is plugged in and says that it is online.
  out.on_battery = battery && (discharging || (mains_known && !mains));
}

void read_temperature(const std::string& root, Sensors& out) {
  constexpr double kMilli = 1000;
  for (const std::filesystem::path& zone : entries_of(root + "/sys/class/thermal")) {
    if (!zone.filename().string().starts_with("thermal_zone")) continue;
    const std::optional<double> milli = number_of(zone / "temp");
    if (!milli || *milli <= -100 * kMilli || *milli >= 250 * kMilli) continue;  // a sensor that is off
    out.temperature_c = std::max(*milli / kMilli, out.temperature_c.value_or(*milli / kMilli));
  }
}

bool parse_hex(const std::string& text, unsigned& out) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
  return failed == std::errc() && end == text.data() + text.size() && !text.empty();
}

struct DefaultRoute {
  std::string interface;
  unsigned metric = 0;
};

void keep_better(std::optional<DefaultRoute>& best, DefaultRoute route) {
  if (!best || route.metric < best->metric) best = std::move(route);
}

// "Iface Destination Gateway Flags RefCnt Use Metric Mask ...", addresses and flags in hexadecimal.
bool find_ipv4(const std::string& root, std::optional<DefaultRoute>& best) {
  const auto text = read_file(root + "/proc/net/route", kRoutesBytesMax);
  if (!text.ok()) return false;
  std::istringstream lines(*text);
  std::string line;
  std::getline(lines, line);  // the heading
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string interface, destination, gateway, flags, references, uses, mask;
    unsigned metric = 0, bits = 0;
    fields >> interface >> destination >> gateway >> flags >> references >> uses >> metric >> mask;
    if (!fields || destination != "00000000" || mask != "00000000" || !parse_hex(flags, bits)) continue;
    if ((bits & kRouteUp) != 0 && (bits & kRouteReject) == 0) keep_better(best, {interface, metric});
  }
  return true;
}

// "destination length source length next-hop metric references uses flags interface", all but the last in
// hexadecimal.
bool find_ipv6(const std::string& root, std::optional<DefaultRoute>& best) {
  const auto text = read_file(root + "/proc/net/ipv6_route", kRoutesBytesMax);
  if (!text.ok()) return false;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string destination, length, source, source_length, hop, metric, references, uses, flags, interface;
    fields >> destination >> length >> source >> source_length >> hop >> metric >> references >> uses >>
        flags >> interface;
    unsigned cost = 0, bits = 0;
    if (!fields || length != "00" || !parse_hex(metric, cost) || !parse_hex(flags, bits)) continue;
    if (destination.find_first_not_of('0') != std::string::npos || interface == "lo") continue;
    if ((bits & kRouteUp) != 0 && (bits & kRouteReject) == 0) keep_better(best, {interface, cost});
  }
  return true;
}

void read_network(const std::string& root, Sensors& out) {
  std::optional<DefaultRoute> best, other;
  const bool v4 = find_ipv4(root, best);
  const bool v6 = find_ipv6(root, other);
  if (!v4 && !v6) return;
  if (!best) best = other;  // metrics of the two families do not compare
  out.online = best.has_value();
  if (best) out.route_interface = best->interface;
}

}  // namespace

Sensors read_sensors(const std::string& root) {
  Sensors out;
  read_power(root, out);
  read_temperature(root, out);
  read_network(root, out);
  return out;
}

}  // namespace hedge::os
