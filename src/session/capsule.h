// A session as one JSON document, from which another Hedge goes on (docs/sessions.md has the form).
//
// Whatever is unknown is refused: a field that this program does not understand might be a mark that must
// hold. The checksum tells an altered or cut document from a whole one; it is no signature.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "session/store.h"

namespace hedge::session {

inline constexpr int kCapsuleVersion = 1;
inline constexpr size_t kCapsuleBytesMax = 64u << 20;
inline constexpr size_t kCapsuleTurnsMax = 100'000;

// Where the engine that wrote the capsule has the conversation's keys and values. An engine with the same
// fingerprint and the pages takes them over by itself; any other reads the conversation anew.
struct KvReference {
  std::string model;        // served name
  std::string fingerprint;  // hexadecimal; of the model's file and how pages are stored
  std::string key;          // hexadecimal; of the conversation's tokens
  int64_t tokens = 0;

  bool operator==(const KvReference&) const = default;
};

struct Capsule {
  Session session;
  std::optional<KvReference> kv;
};

// One line of JSON and a line break.
std::string encode_capsule(const Capsule& capsule);

// kInvalidArgument with the field at fault; kUnsupported: a later version; kCorrupt: the checksum is
// another's.
Result<Capsule> decode_capsule(std::string_view text);

// SHA-256 over the messages as two programs must agree on them, hexadecimal: roles, names, contents, calls,
// ids.
std::string transcript_hash(std::span<const chat::Message> messages);

}  // namespace hedge::session
