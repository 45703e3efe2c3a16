// The store's questions that change nothing: turns, decisions, what was spent.
#include <utility>

#include "session/sql_store.h"
#include "session/trace_json.h"

namespace hedge::session {

Result<std::vector<Turn>> SqlStore::turns(const std::string& session) {
  return on(*reader_, [&](Connection& db) { return turns_on(db, session); });
}

Result<std::vector<Turn>> SqlStore::turns_on(Connection& db, const std::string& session) {
  // One statement, so that it is one snapshot: a session without turns gives one row of nulls.
  HEDGE_TRY_SET(Statement select, db.prepare("SELECT seq, segments, decision, turns.created_ms, writer, " +
                                             std::string(kMessageColumns) +
                                             " FROM sessions LEFT JOIN turns ON turns.session = sessions.id "
                                             "WHERE sessions.id = ? ORDER BY seq"));
  select.bind(1, session);
  HEDGE_TRY_SET(bool row, select.step());
  if (!row) return make_error(ErrorCode::kNotFound, "there is no session of this id");
  std::vector<Turn> turns;
  while (row && !select.null(0)) {
    Turn turn;
    HEDGE_TRY_SET(turn.segments, decode_segments(select.text(1)));
    turn.decision_id = select.text(2);
    turn.created_ms = select.integer(3);
    turn.writer = select.text(4);
    HEDGE_TRY_SET(turn.message, message_in(select, 5));
    turns.push_back(std::move(turn));
    HEDGE_TRY_SET(row, select.step());
  }
  return turns;
}

Result<chat::Trace> SqlStore::decision(const std::string& id) {
  return on(*reader_, [&](Connection& db) -> Result<chat::Trace> {
    HEDGE_TRY_SET(Statement select, db.prepare("SELECT trace FROM decisions WHERE id = ?"));
    select.bind(1, id);
    HEDGE_TRY_SET(const bool row, select.step());
    if (!row) return make_error(ErrorCode::kNotFound, "there is no decision of this id");
    return decode_trace(select.text(0));
  });
}

Result<std::vector<Spent>> SqlStore::upstream_spent_since(int64_t unix_ms) {
  return on(*reader_, [&](Connection& db) -> Result<std::vector<Spent>> {
    HEDGE_TRY_SET(Statement sum, db.prepare("SELECT tenant, CAST(sum(upstream_tokens) AS BIGINT), "
                                            "CAST(sum(upstream_nanos) AS BIGINT) FROM decisions "
                                            "WHERE created_ms >= ? GROUP BY tenant ORDER BY tenant"));
    sum.bind(1, unix_ms);
    std::vector<Spent> spent;
    while (true) {
      HEDGE_TRY_SET(const bool row, sum.step());
      if (!row) return spent;
      spent.push_back({sum.text(0), sum.integer(1), sum.integer(2)});
    }
  });
}

// Page by page, so that nobody waits for the whole of a long log and no more than a page is held.
Result<int64_t> SqlStore::for_each_decision(int64_t since_unix_ms,
                                            const std::function<bool(const chat::Trace&)>& each) {
  struct Page {
    std::vector<std::string> traces;
    int64_t created_ms = 0, row = 0;  // of the last
  };
  int64_t passed_over = 0;
  Page page{{}, since_unix_ms, -1};
  while (true) {
    auto next = on(*reader_, [&](Connection& db) -> Result<Page> {
      HEDGE_TRY_SET(Statement select,
                    db.prepare("SELECT trace, created_ms, rowid FROM decisions WHERE created_ms > ?1 OR "
                               "(created_ms = ?1 AND rowid > ?2) ORDER BY created_ms, rowid LIMIT 256"));
      select.bind(1, page.created_ms).bind(2, page.row);
      Page out;
      while (true) {
        HEDGE_TRY_SET(const bool row, select.step());
        if (!row) return out;
        out.traces.push_back(select.text(0));
        out.created_ms = select.integer(1);
        out.row = select.integer(2);
      }
    });
    if (!next.ok()) return next.error();
    page = std::move(next).value();
    if (page.traces.empty()) return passed_over;
    for (const std::string& text : page.traces) {
      const Result<chat::Trace> trace = decode_trace(text);
      if (!trace.ok()) {
        ++passed_over;
      } else if (!each(*trace)) {
        return passed_over;
      }
    }
  }
}

}  // namespace hedge::session
