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
// The same for PostgreSQL, whose version stands in a table of its own (postgres.cc).
std::span<const char* const> postgres_migrations();

// Reads only: kUnsupported when the database is newer than all of `scripts`, or another program's.
// REQUIRES for both: the connection's lock is held.
Status check_ours(SqliteConnection& connection, std::span<const char* const> scripts);

// Brings the database to the newest of `scripts`, all in one transaction together with its version number, so
// that a crash leaves the old version or the new one. kUnsupported as above.
Status migrate(SqliteConnection& connection, std::span<const char* const> scripts);

}  // namespace hedge::session
