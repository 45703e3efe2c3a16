// The architectures' config readers, declared from the list.
#pragma once

#include "model/config.h"

namespace hedge::model {
#define HEDGE_ARCH(name, reader) Result<Config> reader(const gguf::File& file);
#include "model/arch/arch_list.inc"
#undef HEDGE_ARCH
}  // namespace hedge::model
