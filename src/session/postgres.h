// PostgreSQL behind sql.h, by libpq, which is loaded when the first such store is opened. Private to this
// folder.
//
// Every wait has a deadline: a server that is silent for kReconnectMs is as good as gone, and its connection
// is given up. Durability is the server's: a commit is acknowledged when its log is synced, unless its
// settings say otherwise (synchronous_commit is set here, so they cannot).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "session/sql.h"

namespace hedge::session {

// Whether it is the address of a PostgreSQL database.
bool is_postgres(std::string_view where);

// kUnavailable: no server, no libpq; kPermission: not let in; kNotFound: no such database. With `migrates`
// the schema "hedge" is made or brought to the newest version, which one program at a time does.
Result<std::unique_ptr<Connection>> open_postgres(const std::string& where, bool migrates);

}  // namespace hedge::session
