// What the system knows about the network without a packet being sent.
#pragma once

#include <string>

namespace hedge::os {

// Whether any route leads beyond this machine: an entry of /proc/net/route or ipv6_route that is up, rejects
// nothing and belongs to another interface than lo. Where the tables cannot be read: true, for the network
// itself then says it. Costs some 30 us; from any thread. `proc_net` is for tests.
bool has_route_beyond(const std::string& proc_net = "/proc/net");

}  // namespace hedge::os
