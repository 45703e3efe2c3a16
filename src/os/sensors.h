// What the machine says of its power, temperature and network, read from the kernel's files. Nothing where
// there is no such sensor; reading never fails. `root` stands before every path, so that tests bring their
// own files.
#pragma once

#include <optional>
#include <string>

namespace hedge::os {

struct Sensors {
  std::optional<bool> on_battery;         // a battery supplies and no mains does; no battery at all: false
  std::optional<double> battery_percent;  // of the emptiest battery
  std::optional<double> temperature_c;    // of the hottest thermal zone
  std::optional<bool> online;             // there is a default route, IPv4 or IPv6
  std::string route_interface;            // over which it leads; of several the one of the lowest metric
};

// Some tens of microseconds.
Sensors read_sensors(const std::string& root = "");

}  // namespace hedge::os
