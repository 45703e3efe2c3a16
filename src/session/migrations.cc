#include "session/migrations.h"

#include <string>

namespace hedge::session {
namespace {

// histories: the hash of each conversation up to one of its answers, to find the session of a client that
// sends no id. decisions stand before turns, which refer to them; a session's rows go with it.
constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE sessions (
  id TEXT PRIMARY KEY,
  private INTEGER NOT NULL DEFAULT 0 CHECK (private IN (0, 1)),
  created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE decisions (
  id TEXT PRIMARY KEY,
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  route TEXT NOT NULL,
  trace TEXT NOT NULL,
  upstream_tokens INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX decisions_by_time ON decisions (created_ms, upstream_tokens);
CREATE INDEX decisions_by_session ON decisions (session);
CREATE TABLE turns (
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
  name TEXT NOT NULL,
  content TEXT NOT NULL,
  segments TEXT NOT NULL,
  decision TEXT REFERENCES decisions (id),
  created_ms INTEGER NOT NULL,
  PRIMARY KEY (session, seq)
) STRICT;
CREATE INDEX turns_by_decision ON turns (decision);
CREATE TABLE histories (
  hash BLOB NOT NULL,
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  PRIMARY KEY (hash, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX histories_by_session ON histories (session);
)sql",
    // To know the messages of a private session when a client sends them back in another conversation.
    "CREATE INDEX turns_by_head ON turns (substr(trim(content, char(9, 10, 13, 32)), 1, 64))",
    // Tool calls, who wrote an answer's end, whose key a session came with, and what spending is summed by.
    R"sql(
ALTER TABLE turns ADD COLUMN tool_calls TEXT NOT NULL DEFAULT '';
ALTER TABLE turns ADD COLUMN tool_call_id TEXT NOT NULL DEFAULT '';
ALTER TABLE turns ADD COLUMN writer TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN carried_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN carried_nanos INTEGER NOT NULL DEFAULT 0;
ALTER TABLE decisions ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE decisions ADD COLUMN upstream_nanos INTEGER NOT NULL DEFAULT 0;
UPDATE decisions SET tenant = coalesce(json_extract(trace, '$.tenant'), ''),
  upstream_nanos = coalesce(CAST(json_extract(trace, '$.upstream_nanos') AS INTEGER), 0)
  WHERE json_valid(trace);
UPDATE sessions SET tenant = coalesce((SELECT tenant FROM decisions WHERE decisions.session = sessions.id
  ORDER BY created_ms LIMIT 1), '');
)sql",
};

// PostgreSQL's beginning is SQLite's third version. Contents are bytes: PostgreSQL's text holds no zero.
constexpr const char* kPostgresMigrations[] = {
    R"sql(
CREATE TABLE sessions (
  id TEXT PRIMARY KEY,
  private BIGINT NOT NULL DEFAULT 0 CHECK (private IN (0, 1)),
  created_ms BIGINT NOT NULL,
  tenant TEXT NOT NULL DEFAULT '',
  carried_tokens BIGINT NOT NULL DEFAULT 0,
  carried_nanos BIGINT NOT NULL DEFAULT 0,
  rowid BIGINT GENERATED ALWAYS AS IDENTITY
);
CREATE TABLE decisions (
  id TEXT PRIMARY KEY,
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  route TEXT NOT NULL,
  trace TEXT NOT NULL,
  upstream_tokens BIGINT NOT NULL,
  created_ms BIGINT NOT NULL,
  tenant TEXT NOT NULL DEFAULT '',
  upstream_nanos BIGINT NOT NULL DEFAULT 0,
  rowid BIGINT GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX decisions_by_time ON decisions (created_ms, rowid);
CREATE INDEX decisions_by_session ON decisions (session);
CREATE TABLE turns (
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  seq BIGINT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
  name BYTEA NOT NULL,
  content BYTEA NOT NULL,
  segments TEXT NOT NULL,
  decision TEXT REFERENCES decisions (id),
  created_ms BIGINT NOT NULL,
  tool_calls TEXT NOT NULL DEFAULT '',
  tool_call_id BYTEA NOT NULL DEFAULT '',
  writer TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (session, seq)
);
CREATE INDEX turns_by_decision ON turns (decision);
CREATE INDEX turns_by_head ON turns (substr(btrim(content, '\x090a0d20'::bytea), 1, 64));
CREATE TABLE histories (
  hash BYTEA NOT NULL,
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  PRIMARY KEY (hash, session)
);
CREATE INDEX histories_by_session ON histories (session);
)sql",
};

}  // namespace

std::span<const char* const> migrations() { return kMigrations; }
std::span<const char* const> postgres_migrations() { return kPostgresMigrations; }

Status check_ours(SqliteConnection& connection, std::span<const char* const> scripts) {
  const auto newest = static_cast<int64_t>(scripts.size());
  // One statement, so one snapshot: another process may be creating the schema right now.
  HEDGE_TRY_SET(Statement facts, connection.prepare("SELECT (SELECT user_version FROM pragma_user_version), "
                                                    "(SELECT application_id FROM pragma_application_id), "
                                                    "(SELECT count(*) FROM sqlite_schema)"));
  HEDGE_TRY_SET(const bool row, facts.step());
  HEDGE_CHECK(row);
  const int64_t version = facts.integer(0), owner = facts.integer(1), tables = facts.integer(2);
  const bool empty = owner == 0 && version == 0 && tables == 0;
  if (owner != kApplicationId && !empty) {
    return make_error(ErrorCode::kUnsupported, "database " + connection.path() +
                                                   " belongs to another program: expected application id " +
                                                   std::to_string(kApplicationId) +
                                                   " or an empty file, got " + std::to_string(owner));
  }
  if (version < 0 || version > newest) {
    return make_error(ErrorCode::kUnsupported,
                      "database " + connection.path() + " has schema version " + std::to_string(version) +
                          ", this program knows versions up to " + std::to_string(newest));
  }
  return {};
}

Status migrate(SqliteConnection& connection, std::span<const char* const> scripts) {
  const auto newest = static_cast<int64_t>(scripts.size());
  HEDGE_TRY(check_ours(connection, scripts));
  HEDGE_TRY_SET(const int64_t found, connection.query_integer("PRAGMA user_version"));
  if (found == newest && newest > 0) return {};
  // Checked again under the write lock: another process may be doing the same.
  HEDGE_TRY_SET(Transaction transaction, Transaction::begin(connection));
  HEDGE_TRY(check_ours(connection, scripts));
  HEDGE_TRY_SET(int64_t version, connection.query_integer("PRAGMA user_version"));
  for (; version < newest; ++version) {
    HEDGE_TRY(connection.run_script(scripts[static_cast<size_t>(version)]));
  }
  HEDGE_TRY(connection.run_script("PRAGMA application_id = " + std::to_string(kApplicationId) +
                                  "; PRAGMA user_version = " + std::to_string(version)));
  return transaction.commit();
}

}  // namespace hedge::session
