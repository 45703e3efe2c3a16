// The one choice of kernel level, made once at start.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "kernels/table.h"

namespace hedge::kernels {

struct Level {
  std::string_view name;  // "scalar", "avx2", "avx512": also the values of HEDGE_ISA
  const Table* table;
  bool usable;  // on this machine
};

// Best first.
std::span<const Level> levels();

// Takes the level by name, or the best usable one when the name is empty. An unknown name or one that this
// machine cannot run is an error, never a silent fallback. Call before the first model is loaded.
Status choose(std::string_view name);

// The chosen level; the best usable one when choose() was not called.
const Table& active();

}  // namespace hedge::kernels
