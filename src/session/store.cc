#include "session/sql_store.h"

#include <optional>
#include <span>
#include <utility>

#include "base/clock.h"
#include "session/history.h"
#include "session/ids.h"
#include "session/postgres.h"
#include "session/sqlite.h"
#include "session/trace_json.h"

namespace hedge::session {
namespace {

Result<chat::Role> parse_role(std::string_view text) {
  for (const chat::Role role :
       {chat::Role::kSystem, chat::Role::kUser, chat::Role::kAssistant, chat::Role::kTool}) {
    if (text == chat::to_string(role)) return role;
  }
  return make_error(ErrorCode::kCorrupt, "stored turn: unknown role");
}

// A raw prompt as a turn. Token ids stand for themselves: only the model that they are of could turn them
// into text.
chat::Message message_of_raw(const chat::Request& request) {
  if (request.prompt_tokens.empty()) return {chat::Role::kUser, request.prompt, ""};
  std::string ids;
  for (const int32_t id : request.prompt_tokens) {
    if (!ids.empty()) ids += ' ';
    ids += std::to_string(id);
  }
  return {chat::Role::kUser, std::move(ids), "token_ids"};
}

std::vector<chat::Message> messages_of(const chat::Request& request) {
  if (request.raw) return {message_of_raw(request)};
  return request.messages;
}

std::span<const chat::Message> after_last_answer(std::span<const chat::Message> messages) {
  size_t begin = messages.size();
  while (begin > 0 && messages[begin - 1].role != chat::Role::kAssistant) --begin;
  return messages.subspan(begin);
}

// A session's id, or a tenant's key of one.
Status check_key(std::string_view key, std::string_view tenant) {
  const bool own = !tenant.empty() && key.starts_with(tenant) && key.substr(tenant.size()).starts_with('/');
  return check_session_id(own ? key.substr(tenant.size() + 1) : key);
}

Status check_ids(std::string_view key, std::string_view tenant, const chat::Trace& trace) {
  HEDGE_TRY(check_key(key, tenant));
  if (!trace.id.empty()) return {};
  return make_error(ErrorCode::kInvalidArgument, "expected a decision id, got none");
}

// A shorter message ("Yes.", "Go on") says nothing of the conversation it is from.
constexpr size_t kTellingBytesMin = 12;

}  // namespace

std::string_view public_id(std::string_view key) { return key.substr(key.rfind('/') + 1); }

Result<chat::Message> message_in(const Statement& row, int first) {
  chat::Message message;
  HEDGE_TRY_SET(message.role, parse_role(row.text(first)));
  message.name = row.text(first + 1);
  message.content = row.text(first + 2);
  HEDGE_TRY_SET(message.tool_calls, decode_tool_calls(row.text(first + 3)));
  message.tool_call_id = row.text(first + 4);
  return message;
}

Result<std::string> SqlStore::resolve(const chat::Request& request) {
  if (!request.routing.session.empty()) HEDGE_TRY(check_session_id(request.routing.session));
  const std::vector<std::string> histories =
      request.raw ? std::vector<std::string>() : answered_histories(request.messages);
  if (request.routing.session.empty() && histories.empty()) return make_session_id();
  return on(*reader_, [&](Connection& db) { return resolve_on(db, request, histories); });
}

Result<std::string> SqlStore::resolve_on(Connection& db, const chat::Request& request,
                                         const std::vector<std::string>& histories) {
  const std::string& named = request.routing.session;
  if (!named.empty() && !request.routing.tenant.empty()) return key_on(db, request.routing.tenant, named);
  if (!named.empty()) {
    HEDGE_TRY_SET(Statement find, db.prepare("SELECT tenant FROM sessions WHERE id = ?"));
    find.bind(1, named);
    HEDGE_TRY_SET(const bool found, find.step());
    if (!found || find.text(0).empty()) return named;
    return make_error(ErrorCode::kInvalidArgument,
                      "hedge.session: expected a session of this API key or a new one, got a tenant's",
                      "hedge.session");
  }
  HEDGE_TRY_SET(Statement find, db.prepare("SELECT sessions.id FROM histories "
                                           "JOIN sessions ON sessions.id = histories.session "
                                           "WHERE hash = ? AND tenant = ? "
                                           "ORDER BY private DESC, sessions.rowid DESC LIMIT 1"));
  find.bind_blob(1, histories.back()).bind(2, request.routing.tenant);
  HEDGE_TRY_SET(const bool found, find.step());
  if (found) return find.text(0);
  return make_session_id();
}

Result<std::string> SqlStore::key_of(const std::string& tenant, const std::string& id) {
  if (tenant.empty()) return id;
  return on(*reader_, [&](Connection& db) { return key_on(db, tenant, id); });
}

Result<std::string> SqlStore::key_on(Connection& db, const std::string& tenant, const std::string& id) {
  const std::string own = tenant + "/" + id;
  HEDGE_TRY_SET(Statement find, db.prepare("SELECT id, tenant FROM sessions WHERE id = ? OR id = ?"));
  find.bind(1, id).bind(2, own);
  bool taken = false;
  while (true) {
    HEDGE_TRY_SET(const bool row, find.step());
    if (!row) return taken ? own : id;
    if (find.text(0) == own) return own;
    taken = find.text(1) != tenant;
  }
}

Result<bool> SqlStore::is_private(const std::string& session) {
  return on(*reader_, [&](Connection& db) -> Result<bool> {
    HEDGE_TRY_SET(Statement find, db.prepare("SELECT private FROM sessions WHERE id = ?"));
    find.bind(1, session);
    HEDGE_TRY_SET(const bool found, find.step());
    return found && find.integer(0) != 0;
  });
}

Result<bool> SqlStore::continues_private(const chat::Request& request) {
  if (request.raw) return false;
  const std::vector<std::string> histories = answered_histories(request.messages);
  return on(*reader_, [&](Connection& db) { return continues_private_on(db, request, histories); });
}

Result<bool> SqlStore::continues_private_on(Connection& db, const chat::Request& request,
                                            const std::vector<std::string>& histories) {
  const std::string& tenant = request.routing.tenant;
  for (const std::string& hash : histories) {
    HEDGE_TRY_SET(Statement find,
                  db.prepare("SELECT 1 FROM histories JOIN sessions ON sessions.id = histories.session "
                             "WHERE hash = ?1 AND private = 1 AND (?2 = '' OR tenant = ?2) LIMIT 1"));
    find.bind_blob(1, hash).bind(2, tenant);
    HEDGE_TRY_SET(const bool found, find.step());
    if (found) return true;
  }
  for (const chat::Message& message : earlier_messages(request.messages)) {
    HEDGE_TRY_SET(const bool found, is_private_message(db, message, tenant));
    if (found) return true;
  }
  return false;
}

Result<bool> SqlStore::is_private_message(Connection& db, const chat::Message& message,
                                          const std::string& tenant) {
  if (message.role == chat::Role::kSystem) return false;  // many conversations share it
  const std::string_view content = trimmed(message.content);
  if (content.size() < kTellingBytesMin) return false;
  HEDGE_TRY_SET(Statement find,
                db.prepare("SELECT 1 FROM turns JOIN sessions ON sessions.id = turns.session WHERE " +
                           std::string(db.says_the_same()) +
                           " AND role = ?2 AND private = 1 AND (?3 = '' OR tenant = ?3) LIMIT 1"));
  find.bind(1, content).bind(2, chat::to_string(message.role)).bind(3, tenant);
  return find.step();
}

Status SqlStore::mark_private(const std::string& session, const std::string& tenant) {
  HEDGE_TRY(check_key(session, tenant));
  return on(*writer_, [&](Connection& db) -> Status {
    HEDGE_TRY_SET(Transaction transaction, Transaction::begin(db));
    HEDGE_TRY(add_session(db, session, tenant, /*is_private=*/true, unix_time_ms()));
    return transaction.commit();
  });
}

Result<std::string> SqlStore::writer_of(const std::string& session, const chat::Request& request,
                                        const chat::Message* message) {
  // The conversation up to the message, for a client that names another session or none.
  std::string hash;
  for (const chat::Message& one : request.messages) {
    if (message == nullptr) break;
    hash = extend_history(hash, one);
    if (&one == message) break;
  }
  return on(*reader_, [&](Connection& db) -> Result<std::string> {
    HEDGE_TRY_SET(std::string writer, writer_in(db, session, message));
    if (!writer.empty() || message == nullptr) return writer;
    std::string other;
    {
      HEDGE_TRY_SET(Statement find, db.prepare("SELECT sessions.id FROM histories "
                                               "JOIN sessions ON sessions.id = histories.session "
                                               "WHERE hash = ? AND tenant = ? "
                                               "ORDER BY sessions.rowid DESC LIMIT 1"));
      find.bind_blob(1, hash).bind(2, request.routing.tenant);
      HEDGE_TRY_SET(const bool found, find.step());
      if (!found) return writer;
      other = find.text(0);
    }
    return writer_in(db, other, message);
  });
}

Result<std::string> SqlStore::writer_in(Connection& db, const std::string& session,
                                        const chat::Message* message) {
  HEDGE_TRY_SET(Statement select, db.prepare("SELECT writer, " + std::string(kMessageColumns) +
                                             " FROM turns WHERE session = ? AND writer <> '' "
                                             "ORDER BY seq DESC"));
  select.bind(1, session);
  while (true) {
    HEDGE_TRY_SET(const bool row, select.step());
    if (!row) return std::string();
    HEDGE_TRY_SET(const chat::Message stored, message_in(select, 1));
    if (message == nullptr || same_message(stored, *message)) return select.text(0);
  }
}

Status SqlStore::append(const std::string& session, const chat::Request& request, const Answer& answer,
                        const chat::Trace& trace) {
  HEDGE_TRY(check_ids(session, request.routing.tenant, trace));
  Turn turn;
  turn.message = {chat::Role::kAssistant, request.assistant_prefix + answer.text, ""};
  turn.message.tool_calls = answer.tool_calls;
  chat::append_segment(turn.segments, std::string(kClientBackend), request.assistant_prefix.size());
  for (const chat::Segment& segment : trace.segments) {
    chat::append_segment(turn.segments, segment.backend, segment.bytes);
  }
  turn.writer = answer.writer;
  if (turn.writer.empty() && !trace.segments.empty()) turn.writer = trace.segments.back().backend;
  turn.decision_id = trace.id;
  turn.created_ms = unix_time_ms();
  return on(*writer_, [&](Connection& db) { return append_on(db, session, request, turn, trace); });
}

Status SqlStore::append_on(Connection& db, const std::string& session, const chat::Request& request,
                           const Turn& answer, const chat::Trace& trace) {
  const int64_t now_ms = answer.created_ms;
  const std::vector<chat::Message> messages = messages_of(request);
  HEDGE_TRY_SET(Transaction transaction, Transaction::begin(db));
  HEDGE_TRY_SET(const bool is_new, add_new_decision(db, session, request, trace, now_ms));
  if (!is_new) return {};

  HEDGE_TRY_SET(int64_t seq, turn_count(db, session));
  HEDGE_TRY_SET(const std::optional<size_t> known, known_messages(db, messages, session));
  const std::span<const chat::Message> all(messages);
  std::span<const chat::Message> fresh = known ? all.subspan(*known) : after_last_answer(all);
  if (request.choices > 1 && !known) {
    HEDGE_TRY_SET(const bool asked, was_just_asked(db, fresh, session));
    if (asked) fresh = {};
  }
  for (const chat::Message& message : fresh) {
    Turn turn;
    turn.message = message;
    turn.created_ms = now_ms;
    HEDGE_TRY(add_turn(db, session, seq++, turn));
  }
  HEDGE_TRY(add_turn(db, session, seq, answer));

  if (!request.raw) {
    std::string hash;
    for (const chat::Message& message : messages) hash = extend_history(hash, message);
    HEDGE_TRY(add_history(db, session, extend_history(hash, answer.message)));
  }
  return transaction.commit();
}

Status SqlStore::append_decision(const std::string& session, const chat::Request& request,
                                 const chat::Trace& trace) {
  HEDGE_TRY(check_ids(session, request.routing.tenant, trace));
  return on(*writer_, [&](Connection& db) -> Status {
    HEDGE_TRY_SET(Transaction transaction, Transaction::begin(db));
    HEDGE_TRY_SET(const bool is_new, add_new_decision(db, session, request, trace, unix_time_ms()));
    return is_new ? transaction.commit() : Status();
  });
}

Result<bool> SqlStore::add_new_decision(Connection& db, const std::string& session,
                                        const chat::Request& request, const chat::Trace& trace,
                                        int64_t now_ms) {
  HEDGE_TRY(add_session(db, session, request.routing.tenant, request.routing.private_session, now_ms));
  {
    HEDGE_TRY_SET(Statement find, db.prepare("SELECT session FROM decisions WHERE id = ?"));
    find.bind(1, trace.id);
    HEDGE_TRY_SET(const bool found, find.step());
    if (found && find.text(0) == session) return false;
    if (found) {
      return make_error(ErrorCode::kInvalidArgument, "decision " + trace.id + " belongs to another session");
    }
  }
  HEDGE_TRY(add_decision(db, session, trace, trace.created_ms > 0 ? trace.created_ms : now_ms));
  return true;
}

Status SqlStore::add_session(Connection& db, const std::string& session, const std::string& tenant,
                             bool is_private, int64_t now_ms) {
  // A mark once set stays.
  HEDGE_TRY_SET(Statement insert,
                db.prepare("INSERT INTO sessions (id, private, created_ms, tenant) VALUES (?, ?, ?, ?) "
                           "ON CONFLICT (id) DO UPDATE SET private = "
                           "CASE WHEN excluded.private = 1 THEN 1 ELSE sessions.private END"));
  insert.bind(1, session).bind(2, is_private ? 1 : 0).bind(3, now_ms).bind(4, tenant);
  return insert.run();
}

Result<int64_t> SqlStore::turn_count(Connection& db, const std::string& session) {
  HEDGE_TRY_SET(Statement count, db.prepare("SELECT coalesce(max(seq) + 1, 0) FROM turns WHERE session = ?"));
  count.bind(1, session);
  HEDGE_TRY_SET(const bool row, count.step());
  return row ? count.integer(0) : 0;
}

// How many of `messages` the durable turns are, when these are the beginning of them. Answers given here that
// follow each other are choices: the conversation went on from one of them. Reads at most one question's
// choices more than there are messages.
Result<std::optional<size_t>> SqlStore::known_messages(Connection& db,
                                                       std::span<const chat::Message> messages,
                                                       const std::string& session) {
  HEDGE_TRY_SET(Statement select, db.prepare("SELECT " + std::string(kMessageColumns) +
                                             ", decision FROM turns WHERE session = ? ORDER BY seq"));
  select.bind(1, session);
  size_t known = 0;
  bool in_choices = false;  // the turn before was an answer given here
  bool chosen = true;       // one of these is the message
  while (true) {
    HEDGE_TRY_SET(const bool row, select.step());
    const bool answer = row && !select.null(kMessageColumnCount);
    if (!(answer && in_choices)) {
      if (!chosen) return std::optional<size_t>();
      if (!row) return std::optional<size_t>(known);
      if (known == messages.size()) return std::optional<size_t>();
      ++known;
      chosen = false;
    }
    in_choices = answer;
    HEDGE_TRY_SET(const chat::Message stored, message_in(select, 0));
    chosen = chosen || same_message(messages[known - 1], stored);
    if (!chosen && !answer) return std::optional<size_t>();
  }
}

// Whether the session ends in `question` and answers given here to it.
Result<bool> SqlStore::was_just_asked(Connection& db, std::span<const chat::Message> question,
                                      const std::string& session) {
  HEDGE_TRY_SET(Statement select, db.prepare("SELECT " + std::string(kMessageColumns) +
                                             ", decision FROM turns WHERE session = ? ORDER BY seq DESC"));
  select.bind(1, session);
  bool answered = false;
  for (size_t left = question.size(); left > 0;) {
    HEDGE_TRY_SET(const bool row, select.step());
    if (!row) return false;
    if (left == question.size() && !select.null(kMessageColumnCount)) {
      answered = true;
      continue;
    }
    HEDGE_TRY_SET(const chat::Message stored, message_in(select, 0));
    if (!answered || !same_message(question[--left], stored)) return false;
  }
  return answered;
}

Status SqlStore::add_turn(Connection& db, const std::string& session, int64_t seq, const Turn& turn) {
  HEDGE_TRY_SET(Statement insert,
                db.prepare("INSERT INTO turns (session, seq, role, name, content, tool_calls, tool_call_id, "
                           "segments, writer, decision, created_ms) "
                           "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  const chat::Message& message = turn.message;
  insert.bind(1, session).bind(2, seq).bind(3, chat::to_string(message.role)).bind(4, message.name);
  insert.bind(5, message.content).bind(6, encode_tool_calls(message.tool_calls));
  insert.bind(7, message.tool_call_id).bind(8, encode_segments(turn.segments)).bind(9, turn.writer);
  turn.decision_id.empty() ? insert.bind_null(10) : insert.bind(10, turn.decision_id);
  insert.bind(11, turn.created_ms);
  return insert.run();
}

Status SqlStore::add_decision(Connection& db, const std::string& session, const chat::Trace& trace,
                              int64_t created_ms) {
  chat::Trace stored = trace;
  stored.session = session;
  HEDGE_TRY_SET(Statement insert, db.prepare("INSERT INTO decisions (id, session, route, trace, tenant, "
                                             "upstream_tokens, upstream_nanos, created_ms) "
                                             "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  insert.bind(1, trace.id).bind(2, session).bind(3, trace.route).bind(4, encode_trace(stored));
  insert.bind(5, trace.tenant).bind(6, trace.upstream_tokens).bind(7, trace.upstream_nanos);
  insert.bind(8, created_ms);
  return insert.run();
}

Status SqlStore::add_history(Connection& db, const std::string& session, const std::string& hash) {
  HEDGE_TRY_SET(Statement insert,
                db.prepare("INSERT INTO histories (hash, session) VALUES (?, ?) ON CONFLICT DO NOTHING"));
  insert.bind_blob(1, hash).bind(2, session);
  return insert.run();
}

Result<std::unique_ptr<Store>> Store::open(const std::string& where) {
  if (is_postgres(where)) {
    HEDGE_TRY_SET(std::unique_ptr<Connection> writer, open_postgres(where, /*migrates=*/true));
    HEDGE_TRY_SET(std::unique_ptr<Connection> reader, open_postgres(where, /*migrates=*/false));
    auto store = std::make_unique<SqlStore>(std::move(writer), std::move(reader));
    // A connection's first statements take many times as long as later ones; no conversation waits for them.
    const std::string nobody;
    (void)store->head(nobody).ok();
    (void)store->turns(nobody).ok();
    (void)store->load(nobody).ok();
    return std::unique_ptr<Store>(std::move(store));
  }
  constexpr std::string_view kSqlite = "sqlite:";
  const std::string path = where.starts_with(kSqlite) ? where.substr(kSqlite.size()) : where;
  HEDGE_TRY_SET(std::unique_ptr<Connection> writer, SqliteConnection::open_writer(path));
  HEDGE_TRY_SET(std::unique_ptr<Connection> reader, SqliteConnection::open_reader(path));
  return std::unique_ptr<Store>(new SqlStore(std::move(writer), std::move(reader)));
}

}  // namespace hedge::session
