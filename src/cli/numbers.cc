#include "cli/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hedge::cli {

std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string percent(double share) {
  const double value = 100 * share;
  const bool small = value > 0 && value < 9.95 && std::abs(value - std::round(value)) >= 0.05;
  return small ? fmt::format("{:.1f} %", value) : fmt::format("{:.0f} %", value);
}

std::string milliseconds(double ms) {
  if (!std::isfinite(ms)) return "?";
  if (ms < 9.95) return fmt::format("{:.1f} ms", ms);
  if (ms < 999.5) return fmt::format("{:.0f} ms", ms);
  if (ms < 59'950) return fmt::format("{:.1f} s", ms / 1000);
  const auto seconds = static_cast<int64_t>(std::llround(std::min(ms, 1e15) / 1000));
  return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
}

std::string span_of(double seconds) {
  const auto s = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e12));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min", s / 60);
  if (s < 86400) return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
  return fmt::format("{} d {} h", s / 86400, s % 86400 / 3600);
}

std::string money(double amount) {
  if (amount == 0) return "0";
  const double size = std::abs(amount);
  if (size >= 1) return fmt::format("{:.2f}", amount);
  const int places = std::clamp(3 - static_cast<int>(std::floor(std::log10(size))) - 1, 2, 9);
  return fmt::format("{:.{}f}", amount, places);
}

}  // namespace hedge::cli
