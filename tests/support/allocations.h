// The count that counting_new.h keeps, for every source file of a test program that has it in one of them.
#pragma once

#include <atomic>

namespace hedge::testing {

inline std::atomic<long> allocations{0};

}  // namespace hedge::testing
