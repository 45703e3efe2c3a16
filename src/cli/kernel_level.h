// Which kernels compute: the best that this machine can run, or what $HEDGE_ISA says (scalar, avx2, avx512).
#pragma once

#include "base/result.h"

namespace hedge::cli {

// Call before the first model is loaded. kInvalidArgument or kUnsupported for a level that is unknown or
// cannot run here.
Status choose_kernel_level();

}  // namespace hedge::cli
