#include "cli/kernel_level.h"

#include <cstdlib>

#include "kernels/dispatch.h"

namespace hedge::cli {

Status choose_kernel_level() {
  const char* wanted = std::getenv("HEDGE_ISA");
  return kernels::choose(wanted == nullptr ? "" : wanted);
}

}  // namespace hedge::cli
