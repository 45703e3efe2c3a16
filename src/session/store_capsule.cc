// The store's sessions as wholes: listed, removed, taken out and taken in.
#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "session/history.h"
#include "session/ids.h"
#include "session/sql_store.h"
#include "session/trace_json.h"

namespace hedge::session {
namespace {

// What upstreams were paid for a session, here and before it came here.
constexpr char kHeads[] =
    "SELECT id, tenant, private, created_ms, (SELECT count(*) FROM turns WHERE session = sessions.id), "
    "carried_tokens + coalesce((SELECT CAST(sum(upstream_tokens) AS BIGINT) FROM decisions "
    "WHERE session = sessions.id), 0), "
    "carried_nanos + coalesce((SELECT CAST(sum(upstream_nanos) AS BIGINT) FROM decisions "
    "WHERE session = sessions.id), 0) FROM sessions ";

Error unknown_session() { return make_error(ErrorCode::kNotFound, "there is no session of this id"); }

// The trace of an answer that was given elsewhere.
chat::Trace trace_of_adopted(const Turn& turn, const Session& session, const std::string& key) {
  chat::Trace trace;
  trace.id = turn.decision_id;
  trace.session = key;
  const bool local = turn.writer == "local";
  const bool mixed =
      std::any_of(turn.segments.begin(), turn.segments.end(), [&](const chat::Segment& segment) {
        return segment.backend != kClientBackend && (segment.backend == "local") != local;
      });
  trace.route = mixed ? "mixed" : local ? "local" : "upstream";
  trace.reasons = {std::string(kReasonAdopted)};
  trace.segments = turn.segments;
  trace.tenant = session.head.tenant;
  trace.created_ms = turn.created_ms;
  trace.facts = {{"model", session.model, 0, true}, {"tags", session.tags, 0, true}};
  return trace;
}

// The hash of the conversation up to and with each turn. Answers given here that follow each other are
// choices: each stands after the question, and the conversation goes on from the last of them.
std::vector<std::string> histories_of(const std::vector<Turn>& turns) {
  std::vector<std::string> hashes;
  std::string before;  // the last question
  for (size_t i = 0; i < turns.size(); ++i) {
    const bool choice = i > 0 && !turns[i].decision_id.empty() && !turns[i - 1].decision_id.empty();
    if (!choice) before = hashes.empty() ? std::string() : hashes.back();
    hashes.push_back(extend_history(before, turns[i].message));
  }
  return hashes;
}

}  // namespace

Result<std::vector<SessionHead>> SqlStore::heads_on(Connection&, Statement select) {
  std::vector<SessionHead> heads;
  while (true) {
    HEDGE_TRY_SET(const bool row, select.step());
    if (!row) return heads;
    SessionHead head;
    head.id = select.text(0);
    head.tenant = select.text(1);
    head.is_private = select.integer(2) != 0;
    head.created_ms = select.integer(3);
    head.turns = select.integer(4);
    head.used = {select.integer(5), select.integer(6)};
    heads.push_back(std::move(head));
  }
}

Result<SessionHead> SqlStore::head(const std::string& session) {
  return on(*reader_, [&](Connection& db) -> Result<SessionHead> {
    HEDGE_TRY_SET(Statement select, db.prepare(std::string(kHeads) + "WHERE id = ?"));
    select.bind(1, session);
    HEDGE_TRY_SET(const std::vector<SessionHead> heads, heads_on(db, std::move(select)));
    if (heads.empty()) return unknown_session();
    return heads.front();
  });
}

Result<Session> SqlStore::load(const std::string& id) {
  // On the writer, in a transaction that holds the session, so that head and turns are of one moment.
  return on(*writer_, [&](Connection& db) -> Result<Session> {
    HEDGE_TRY_SET(Transaction transaction, Transaction::begin(db));
    {
      HEDGE_TRY_SET(Statement hold, db.prepare("UPDATE sessions SET private = private WHERE id = ?"));
      hold.bind(1, id);
      HEDGE_TRY(hold.run());
    }
    Session session;
    {
      HEDGE_TRY_SET(Statement select, db.prepare(std::string(kHeads) + "WHERE id = ?"));
      select.bind(1, id);
      HEDGE_TRY_SET(std::vector<SessionHead> heads, heads_on(db, std::move(select)));
      if (heads.empty()) return unknown_session();
      session.head = std::move(heads.front());
    }
    HEDGE_TRY_SET(session.turns, turns_on(db, id));
    HEDGE_TRY_SET(Statement last, db.prepare("SELECT trace FROM decisions WHERE session = ? "
                                             "ORDER BY created_ms DESC, rowid DESC LIMIT 1"));
    last.bind(1, id);
    HEDGE_TRY_SET(const bool row, last.step());
    if (const auto trace = row ? decode_trace(last.text(0)) : Result<chat::Trace>(chat::Trace{});
        trace.ok()) {
      for (const chat::Fact& fact : trace->facts) {
        if (fact.name == "model") session.model = fact.text;
        if (fact.name == "tags") session.tags = fact.text;
      }
    }
    return session;  // nothing has changed: the transaction is rolled back
  });
}

Result<std::vector<SessionHead>> SqlStore::list(const std::optional<std::string>& tenant) {
  static_assert(kListedSessionsMax == 1000);
  return on(*reader_, [&](Connection& db) -> Result<std::vector<SessionHead>> {
    const std::string order = "ORDER BY created_ms DESC, rowid DESC LIMIT 1000";
    HEDGE_TRY_SET(Statement select,
                  db.prepare(std::string(kHeads) + (tenant ? "WHERE tenant = ? " : "") + order));
    if (tenant) select.bind(1, *tenant);
    return heads_on(db, std::move(select));
  });
}

Status SqlStore::remove(const std::string& session) {
  return on(*writer_, [&](Connection& db) -> Status {
    HEDGE_TRY_SET(Transaction transaction, Transaction::begin(db));
    {
      HEDGE_TRY_SET(Statement find, db.prepare("SELECT 1 FROM sessions WHERE id = ?"));
      find.bind(1, session);
      HEDGE_TRY_SET(const bool found, find.step());
      if (!found) return unknown_session();
    }
    // Turns refer to decisions, so they go first; histories go with the session.
    for (const char* sql : {"DELETE FROM turns WHERE session = ?", "DELETE FROM decisions WHERE session = ?",
                            "DELETE FROM sessions WHERE id = ?"}) {
      HEDGE_TRY_SET(Statement remove, db.prepare(sql));
      remove.bind(1, session);
      HEDGE_TRY(remove.run());
    }
    return transaction.commit();
  });
}

Result<bool> SqlStore::adopt(const Session& session) {
  HEDGE_TRY(check_session_id(session.head.id));
  return on(*writer_, [&](Connection& db) { return adopt_on(db, session); });
}

Result<bool> SqlStore::has_decision(Connection& db, const std::string& id) {
  HEDGE_TRY_SET(Statement find, db.prepare("SELECT 1 FROM decisions WHERE id = ?"));
  find.bind(1, id);
  return find.step();
}

Result<bool> SqlStore::adopt_on(Connection& db, const Session& session) {
  const std::string& tenant = session.head.tenant;
  HEDGE_TRY_SET(Transaction transaction, Transaction::begin(db));
  std::string id = session.head.id;
  if (!tenant.empty()) {
    HEDGE_TRY_SET(id, key_on(db, tenant, session.head.id));
  }
  HEDGE_TRY(add_session(db, id, session.head.tenant, session.head.is_private,
                        session.head.created_ms > 0 ? session.head.created_ms : unix_time_ms()));
  SessionHead ours;
  {
    HEDGE_TRY_SET(Statement select, db.prepare(std::string(kHeads) + "WHERE id = ?"));
    select.bind(1, id);
    HEDGE_TRY_SET(std::vector<SessionHead> heads, heads_on(db, std::move(select)));
    if (heads.empty()) return unknown_session();
    ours = std::move(heads.front());
  }
  if (ours.tenant != tenant)
    return make_error(ErrorCode::kInvalidArgument, "session " + id + " is here already, a tenant's", "id");
  HEDGE_TRY_SET(const std::vector<Turn> known, turns_on(db, id));
  const size_t both = std::min(known.size(), session.turns.size());
  for (size_t i = 0; i < both; ++i) {
    if (known[i].message == session.turns[i].message) continue;
    return make_error(ErrorCode::kInvalidArgument,
                      "session " + session.head.id + " has gone on here in another way: turn " +
                          std::to_string(i) + " differs; delete one of the two, or import under another id");
  }
  const std::vector<std::string> histories = histories_of(session.turns);
  for (size_t i = both; i < session.turns.size(); ++i) {
    Turn turn = session.turns[i];
    if (!turn.decision_id.empty()) {
      // Another session has it, a copy under another id or somebody else's: this one's gets an id of its own.
      HEDGE_TRY_SET(const bool taken, has_decision(db, turn.decision_id));
      if (taken) {
        HEDGE_TRY_SET(turn.decision_id, make_decision_id());
      }
      HEDGE_TRY(add_decision(db, id, trace_of_adopted(turn, session, id), turn.created_ms));
      HEDGE_TRY(add_history(db, id, histories[i]));
    }
    HEDGE_TRY(add_turn(db, id, static_cast<int64_t>(i), turn));
  }
  // What the other side counted includes what was spent here.
  {
    HEDGE_TRY_SET(Statement carry, db.prepare("UPDATE sessions SET carried_tokens = carried_tokens + ?1, "
                                              "carried_nanos = carried_nanos + ?2 WHERE id = ?3"));
    carry.bind(1, std::max<int64_t>(0, session.head.used.tokens - ours.used.tokens));
    carry.bind(2, std::max<int64_t>(0, session.head.used.nanos - ours.used.nanos));
    carry.bind(3, id);
    HEDGE_TRY(carry.run());
  }
  HEDGE_TRY(transaction.commit());
  return session.turns.size() > known.size() || ours.is_private != session.head.is_private ||
         (known.empty() && session.turns.empty());
}

}  // namespace hedge::session
