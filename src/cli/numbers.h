// Numbers as people read them, for tables, reports and screens.
#pragma once

#include <cstdint>
#include <string>

namespace hedge::cli {

std::string grouped(int64_t number);  // "12,345"
std::string percent(double share);    // of 0..1: "7 %", "0.4 %"
std::string milliseconds(double ms);  // "340 ms", "2.1 s", "1 min 05 s"
std::string span_of(double seconds);  // "45 s", "3 min", "2 h 05 min", "3 d 4 h"
std::string money(double amount);     // "0", "0.0123", "1.50": at least three digits that count

}  // namespace hedge::cli
