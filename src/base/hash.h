// FNV-1a of 64 bits (Fowler, Noll, Vo): for small things, and to find damage; no protection against forgery.
#pragma once

#include <cstdint>
#include <string_view>

namespace hedge {

inline constexpr uint64_t kFnvStart = 0xcbf29ce484222325u;

// `hash`: that of the bytes before, to hash several pieces as one.
inline uint64_t fnv1a(std::string_view bytes, uint64_t hash = kFnvStart) {
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

}  // namespace hedge
