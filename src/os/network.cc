#include "os/network.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace hedge::os {
namespace {

constexpr unsigned long kUp = 0x1, kReject = 0x200;  // RTF_UP, RTF_REJECT of <linux/route.h>
constexpr int kLinesMax = 100'000;  // a router with the whole Internet's routes is no edge device

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> out;
  for (std::string word; out.size() < 16 && stream >> word;) out.push_back(std::move(word));
  return out;
}

bool leads_out(const std::string& interface, const std::string& flags_hex) {
  const unsigned long flags = std::strtoul(flags_hex.c_str(), nullptr, 16);
  return interface != "lo" && (flags & kUp) != 0 && (flags & kReject) == 0;
}

}  // namespace

bool has_route_beyond(const std::string& proc_net) {
  std::ifstream v4(proc_net + "/route"), v6(proc_net + "/ipv6_route");
  if (!v4 && !v6) return true;
  std::string line;
  // Iface Destination Gateway Flags ...
  for (int i = 0; i < kLinesMax && std::getline(v4, line); ++i) {
    const auto words = words_of(line);
    if (words.size() >= 4 && words[0] != "Iface" && leads_out(words[0], words[3])) return true;
  }
  // Destination, prefix length, source, its length, next hop, metric, references, uses, flags, interface.
  // Routes to link-local and multicast addresses (fe80::, ff00::) lead to no other network's host.
  for (int i = 0; i < kLinesMax && std::getline(v6, line); ++i) {
    const auto words = words_of(line);
    if (words.size() < 10 || words[0].starts_with("fe80") || words[0].starts_with("ff")) continue;
    if (leads_out(words[9], words[8])) return true;
  }
  return false;
}

}  // namespace hedge::os
