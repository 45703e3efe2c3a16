// An index from hashed keys to small ids: open addressing over 32-bit slots (22 bits of id, 10 bits of hash),
// built once. The keys themselves stay where they are (in the mapped file): the caller compares. 2 MB for
// 262,144 tokens, against some 25 MB for a node-based map, and built without an allocation per key. Immutable
// after the inserts; then safe from any thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace hedge::text {

inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Multiply-and-fold over overlapping words, as in wyhash (Wang Yi, public domain). Not for secrets.
inline uint64_t hash_bytes(std::string_view text) {
  constexpr uint64_t kSeed = 0xa0761d6478bd642fu, kFirst = 0xe7037ed1a0b428dbu, kSecond = 0x8ebc6af09c88c6e3u;
  const char* p = text.data();
  const size_t size = text.size();
  uint64_t seed = kSeed, a = 0, b = 0;
  if (size > 16) {
    size_t left = size;
    for (; left > 16; left -= 16, p += 16) {
      seed = hash_mix(load_le<uint64_t>(p) ^ kFirst, load_le<uint64_t>(p + 8) ^ seed);
    }
    a = load_le<uint64_t>(p + left - 16);
    b = load_le<uint64_t>(p + left - 8);
  } else if (size >= 8) {
    a = load_le<uint64_t>(p);
    b = load_le<uint64_t>(p + size - 8);
  } else if (size >= 4) {
    a = load_le<uint32_t>(p);
    b = load_le<uint32_t>(p + size - 4);
  } else if (size > 0) {
    a = static_cast<uint64_t>(static_cast<uint8_t>(p[0])) << 16 |
        static_cast<uint64_t>(static_cast<uint8_t>(p[size / 2])) << 8 | static_cast<uint8_t>(p[size - 1]);
  }
  return hash_mix(kSecond ^ size, hash_mix(a ^ kFirst, b ^ seed));
}

class HashIndex {
 public:
  static constexpr uint32_t kIdLimit = (1u << 22) - 1;
  // At most half of the slots are used, so that a good spread gives runs of a few dozen; a file whose keys
  // were chosen to collide is refused here and cannot make loading quadratic.
  static constexpr uint32_t kProbeLimit = 512;

  enum class Insert { kDone, kPresent, kTooManyCollisions };

  // Room for `count` ids below kIdLimit.
  void resize(size_t count) {
    const size_t slots = std::bit_ceil(std::max<size_t>(count * 2, 2));
    slots_.assign(slots, 0);
    shift_ = 64 - std::countr_zero(slots);
  }

  // `equal(id)` says whether the key of `id` is the one looked for. -1 when there is none.
  template <typename Equal>
  int32_t find(uint64_t hash, const Equal& equal) const {
    for (size_t i = hash >> shift_;; i = (i + 1) & (slots_.size() - 1)) {
      const uint32_t slot = slots_[i];
      if (slot == 0) return -1;
      if ((slot >> 22) == tag(hash) && equal(id_of(slot))) return static_cast<int32_t>(id_of(slot));
    }
  }

  template <typename Equal>
  Insert insert(uint64_t hash, uint32_t id, const Equal& equal, uint32_t* present = nullptr) {
    size_t i = hash >> shift_;
    for (uint32_t probes = 0; probes < kProbeLimit; ++probes, i = (i + 1) & (slots_.size() - 1)) {
      const uint32_t slot = slots_[i];
      if (slot == 0) {
        slots_[i] = tag(hash) << 22 | (id + 1);
        return Insert::kDone;
      }
      if ((slot >> 22) == tag(hash) && equal(id_of(slot))) {
        if (present != nullptr) *present = id_of(slot);
        return Insert::kPresent;
      }
    }
    return Insert::kTooManyCollisions;
  }

  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash >> shift_], 1); }

 private:
  static uint32_t tag(uint64_t hash) { return static_cast<uint32_t>(hash & 0x3ff); }
  static uint32_t id_of(uint32_t slot) { return (slot & kIdLimit) - 1; }

  std::vector<uint32_t> slots_ = {0, 0};
  int shift_ = 63;
};

}  // namespace hedge::text
