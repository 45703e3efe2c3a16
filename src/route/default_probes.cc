#include <array>

#include "route/probe.h"
#include "route/thresholds.h"

namespace hedge::route {

std::string_view embedded_smollm2_probe();
std::string_view embedded_gemma_probe();
std::string_view embedded_smollm2_thresholds();

std::span<const std::string_view> default_probes() {
  static const std::array<std::string_view, 2> kProbes = {embedded_smollm2_probe(), embedded_gemma_probe()};
  return kProbes;
}

std::span<const std::string_view> default_thresholds() {
  static const std::array<std::string_view, 1> kThresholds = {embedded_smollm2_thresholds()};
  return kThresholds;
}

}  // namespace hedge::route
