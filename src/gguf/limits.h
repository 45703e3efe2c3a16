// What the reader accepts at most, and why. Each is far above what any published model has and far below what
// would let a small hostile file cost much memory or time.
#pragma once

#include <cstdint>

namespace hedge::gguf {

inline constexpr uint32_t kVersionMin =
    2;  // Version 1 had 32-bit counts and was replaced within weeks, in 2023.
inline constexpr uint32_t kVersionMax = 3;

inline constexpr uint64_t kMetadataCountMax = 1 << 16;  // Models have 20 to 60 keys.
inline constexpr uint64_t kTensorCountMax = 1
                                            << 17;  // 61 layers of 256 experts in single tensors are 47,000.
inline constexpr uint64_t kKeyBytesMax = 65535;     // The format's own limit.
inline constexpr uint64_t kTensorNameBytesMax =
    127;  // The format says 64; llama.cpp reads 63. Some slack for tools.
inline constexpr uint64_t kStringBytesMax = 16 << 20;     // The longest are chat templates, about 30 kB.
inline constexpr uint64_t kStringsBytesMax = UINT32_MAX;  // Of an array: the largest vocabularies have 10 MB.
inline constexpr uint64_t kArrayCountMax = 1
                                           << 24;  // The largest are vocabularies and merges, about 500,000.
inline constexpr uint32_t kDimCountMax = 4;

// Where general.alignment is absent. The format wants multiples of 8, llama.cpp powers of two; so F32 tensors
// and block scales can be read in place. 64 KiB is the largest page of the machines that Hedge runs on.
inline constexpr uint32_t kAlignmentDefault = 32;
inline constexpr uint32_t kAlignmentMin = 8;
inline constexpr uint32_t kAlignmentMax = 64 << 10;

}  // namespace hedge::gguf
