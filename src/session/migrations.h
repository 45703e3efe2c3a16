// The schema and its history. Private to this folder.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "session/sqlite.h"

namespace hedge::session {

inline constexpr int64_t kApplicationId =
    0x48454447;  // "HEDG" in the file's header: tells our databases from others

// Script number i (from 0) takes a database of version i to i + 1. A script that has been released is never
// edited.
std::span<const char* const> migrations();

// Brings the database to the newest of `scripts`, each in one transaction together with its version number,
// so that a crash in between leaves one version or the next. kUnsupported when the database is newer, or
// another program's. REQUIRES: the connection's lock is held.
Status migrate(Connection& connection, std::span<const char* const> scripts);

}  // namespace hedge::session
