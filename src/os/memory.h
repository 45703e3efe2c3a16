// Anonymous memory: address space first, pages when they are touched.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace hedge::os {

Result<uint8_t*> reserve_memory(size_t size_bytes);
void free_memory(uint8_t* memory, size_t size_bytes);
// The content becomes zero and the pages go back to the system.
void discard_memory(uint8_t* memory, size_t size_bytes);

// Asks the system to map the pages of a file view soon, in order; returns when done. Best effort.
void populate_view(const uint8_t* data, size_t size_bytes);

}  // namespace hedge::os
