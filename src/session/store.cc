// Two connections: one writes, one reads, so that a question about a session does not wait for another's
// sync.
//
// Durability: WAL with synchronous=FULL syncs the log at every commit, before the commit returns. WAL's usual
// NORMAL syncs only at checkpoints: there a kill loses nothing, but a loss of power may take back the last
// commits, among them turns that clients have been told of. One sync per answer is small beside the answer.
#include "session/store.h"

#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "session/history.h"
#include "session/ids.h"
#include "session/migrations.h"
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

// A shorter message ("Yes.", "Go on") says nothing of the conversation it is from.
constexpr size_t kTellingBytesMin = 12;

class SqliteStore : public Store {
 public:
  SqliteStore(std::unique_ptr<Connection> writer, std::unique_ptr<Connection> reader)
      : writer_(std::move(writer)), reader_(std::move(reader)) {}

  Result<std::string> resolve(const chat::Request& request) override;
  Result<bool> is_private(const std::string& session) override;
  Result<bool> continues_private(const chat::Request& request) override;
  Status mark_private(const std::string& session) override;
  Status append(const std::string& session, const chat::Request& request, const std::string& answer,
                const chat::Trace& trace) override;
  Result<std::vector<Turn>> turns(const std::string& session) override;
  Result<chat::Trace> decision(const std::string& id) override;
  Result<std::vector<Spent>> upstream_spent_since(int64_t unix_ms) override;
  Result<int64_t> for_each_decision(int64_t since_unix_ms,
                                    const std::function<bool(const chat::Trace&)>& each) override;

 private:
  Result<bool> is_private_message(const chat::Message& message);

  // REQUIRES for all: the writer's lock is held, in a transaction.
  Status add_session(const std::string& session, bool is_private, int64_t now_ms);
  Result<int64_t> turn_count(const std::string& session);
  Result<std::optional<size_t>> known_messages(std::span<const chat::Message> messages,
                                               const std::string& session);
  Result<bool> was_just_asked(std::span<const chat::Message> question, const std::string& session);
  Status add_turn(const std::string& session, int64_t seq, const Turn& turn);
  Status add_decision(const std::string& session, const chat::Trace& trace, int64_t created_ms);
  Status add_history(const std::string& session, const std::string& hash);

  const std::unique_ptr<Connection> writer_;
  const std::unique_ptr<Connection> reader_;
};

Result<std::string> SqliteStore::resolve(const chat::Request& request) {
  if (!request.routing.session.empty()) {
    HEDGE_TRY(check_session_id(request.routing.session));
    return request.routing.session;
  }
  const std::vector<std::string> histories =
      request.raw ? std::vector<std::string>() : answered_histories(request.messages);
  if (histories.empty()) return make_session_id();
  const auto lock = reader_->lock();
  HEDGE_TRY_SET(Statement find,
                reader_->prepare("SELECT sessions.id FROM histories "
                                 "JOIN sessions ON sessions.id = histories.session WHERE hash = ? "
                                 "ORDER BY private DESC, sessions.rowid DESC LIMIT 1"));
  find.bind_blob(1, histories.back());
  HEDGE_TRY_SET(const bool found, find.step());
  if (found) return find.text(0);
  return make_session_id();
}

Result<bool> SqliteStore::is_private(const std::string& session) {
  const auto lock = reader_->lock();
  HEDGE_TRY_SET(Statement find, reader_->prepare("SELECT private FROM sessions WHERE id = ?"));
  find.bind(1, session);
  HEDGE_TRY_SET(const bool found, find.step());
  return found && find.integer(0) != 0;
}

Result<bool> SqliteStore::continues_private(const chat::Request& request) {
  if (request.raw) return false;
  const std::vector<std::string> histories = answered_histories(request.messages);
  const auto lock = reader_->lock();
  for (const std::string& hash : histories) {
    HEDGE_TRY_SET(Statement find,
                  reader_->prepare("SELECT 1 FROM histories JOIN sessions ON sessions.id = histories.session "
                                   "WHERE hash = ? AND private = 1 LIMIT 1"));
    find.bind_blob(1, hash);
    HEDGE_TRY_SET(const bool found, find.step());
    if (found) return true;
  }
  for (const chat::Message& message : earlier_messages(request.messages)) {
    HEDGE_TRY_SET(const bool found, is_private_message(message));
    if (found) return true;
  }
  return false;
}

// REQUIRES the reader's lock.
Result<bool> SqliteStore::is_private_message(const chat::Message& message) {
  if (message.role == chat::Role::kSystem) return false;  // many conversations share it
  const std::string_view content = trimmed(message.content);
  if (content.size() < kTellingBytesMin) return false;
  // The first condition is the expression of the index turns_by_head.
  HEDGE_TRY_SET(
      Statement find,
      reader_->prepare("SELECT 1 FROM turns JOIN sessions ON sessions.id = turns.session "
                       "WHERE substr(trim(content, char(9, 10, 13, 32)), 1, 64) = substr(?1, 1, 64) "
                       "AND trim(content, char(9, 10, 13, 32)) = ?1 AND role = ?2 AND private = 1 "
                       "LIMIT 1"));
  find.bind(1, content).bind(2, chat::to_string(message.role));
  return find.step();
}

Status SqliteStore::mark_private(const std::string& session) {
  HEDGE_TRY(check_session_id(session));
  const auto lock = writer_->lock();
  HEDGE_TRY_SET(Transaction transaction, Transaction::begin(*writer_));
  HEDGE_TRY(add_session(session, /*is_private=*/true, unix_time_ms()));
  return transaction.commit();
}

Status SqliteStore::append(const std::string& session, const chat::Request& request,
                           const std::string& answer, const chat::Trace& trace) {
  HEDGE_TRY(check_session_id(session));
  if (trace.id.empty()) return make_error(ErrorCode::kInvalidArgument, "expected a decision id, got none");
  const int64_t now_ms = unix_time_ms();
  const std::vector<chat::Message> messages = messages_of(request);

  Turn answer_turn;
  answer_turn.message = {chat::Role::kAssistant, request.assistant_prefix + answer, ""};
  chat::append_segment(answer_turn.segments, std::string(kClientBackend), request.assistant_prefix.size());
  for (const chat::Segment& segment : trace.segments) {
    chat::append_segment(answer_turn.segments, segment.backend, segment.bytes);
  }
  answer_turn.decision_id = trace.id;
  answer_turn.created_ms = now_ms;

  const auto lock = writer_->lock();
  HEDGE_TRY_SET(Transaction transaction, Transaction::begin(*writer_));
  {
    HEDGE_TRY_SET(Statement find, writer_->prepare("SELECT session FROM decisions WHERE id = ?"));
    find.bind(1, trace.id);
    HEDGE_TRY_SET(const bool found, find.step());
    if (found && find.text(0) == session) return {};
    if (found) {
      return make_error(ErrorCode::kInvalidArgument, "decision " + trace.id + " belongs to another session");
    }
  }
  HEDGE_TRY(add_session(session, request.routing.private_session, now_ms));
  HEDGE_TRY(add_decision(session, trace, trace.created_ms > 0 ? trace.created_ms : now_ms));

  HEDGE_TRY_SET(int64_t seq, turn_count(session));
  HEDGE_TRY_SET(const std::optional<size_t> known, known_messages(messages, session));
  const std::span<const chat::Message> all(messages);
  std::span<const chat::Message> fresh = known ? all.subspan(*known) : after_last_answer(all);
  if (request.choices > 1 && !known) {
    HEDGE_TRY_SET(const bool asked, was_just_asked(fresh, session));
    if (asked) fresh = {};
  }
  for (const chat::Message& message : fresh) {
    Turn turn;
    turn.message = message;
    turn.created_ms = now_ms;
    HEDGE_TRY(add_turn(session, seq++, turn));
  }
  HEDGE_TRY(add_turn(session, seq, answer_turn));

  if (!request.raw) {
    std::string hash;
    for (const chat::Message& message : messages) hash = extend_history(hash, message);
    HEDGE_TRY(add_history(session, extend_history(hash, answer_turn.message)));
  }
  return transaction.commit();
}

Status SqliteStore::add_session(const std::string& session, bool is_private, int64_t now_ms) {
  // A mark once set stays.
  HEDGE_TRY_SET(Statement insert,
                writer_->prepare("INSERT INTO sessions (id, private, created_ms) VALUES (?, ?, ?) "
                                 "ON CONFLICT (id) DO UPDATE SET private = max(private, excluded.private)"));
  insert.bind(1, session).bind(2, is_private ? 1 : 0).bind(3, now_ms);
  return insert.run();
}

Result<int64_t> SqliteStore::turn_count(const std::string& session) {
  HEDGE_TRY_SET(Statement count,
                writer_->prepare("SELECT coalesce(max(seq) + 1, 0) FROM turns WHERE session = ?"));
  count.bind(1, session);
  HEDGE_TRY_SET(const bool row, count.step());
  return row ? count.integer(0) : 0;
}

// How many of `messages` the durable turns are, when these are the beginning of them. Answers given here that
// follow each other are choices: the conversation went on from one of them. Reads at most one question's
// choices more than there are messages.
Result<std::optional<size_t>> SqliteStore::known_messages(std::span<const chat::Message> messages,
                                                          const std::string& session) {
  HEDGE_TRY_SET(
      Statement select,
      writer_->prepare("SELECT role, name, content, decision FROM turns WHERE session = ? ORDER BY seq"));
  select.bind(1, session);
  size_t known = 0;
  bool in_choices = false;  // the turn before was an answer given here
  bool chosen = true;       // one of these is the message
  while (true) {
    HEDGE_TRY_SET(const bool row, select.step());
    const bool answer = row && !select.null(3);
    if (!(answer && in_choices)) {
      if (!chosen) return std::optional<size_t>();
      if (!row) return std::optional<size_t>(known);
      if (known == messages.size()) return std::optional<size_t>();
      ++known;
      chosen = false;
    }
    in_choices = answer;
    HEDGE_TRY_SET(const chat::Role role, parse_role(select.text(0)));
    chosen = chosen || same_message(messages[known - 1], chat::Message{role, select.text(2), select.text(1)});
    if (!chosen && !answer) return std::optional<size_t>();
  }
}

// Whether the session ends in `question` and answers given here to it.
Result<bool> SqliteStore::was_just_asked(std::span<const chat::Message> question,
                                         const std::string& session) {
  HEDGE_TRY_SET(Statement select,
                writer_->prepare(
                    "SELECT role, name, content, decision FROM turns WHERE session = ? ORDER BY seq DESC"));
  select.bind(1, session);
  bool answered = false;
  for (size_t left = question.size(); left > 0;) {
    HEDGE_TRY_SET(const bool row, select.step());
    if (!row) return false;
    if (left == question.size() && !select.null(3)) {
      answered = true;
      continue;
    }
    HEDGE_TRY_SET(const chat::Role role, parse_role(select.text(0)));
    if (!answered || !same_message(question[--left], chat::Message{role, select.text(2), select.text(1)}))
      return false;
  }
  return answered;
}

Status SqliteStore::add_turn(const std::string& session, int64_t seq, const Turn& turn) {
  HEDGE_TRY_SET(Statement insert,
                writer_->prepare(
                    "INSERT INTO turns (session, seq, role, name, content, segments, decision, created_ms) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  insert.bind(1, session).bind(2, seq).bind(3, chat::to_string(turn.message.role)).bind(4, turn.message.name);
  insert.bind(5, turn.message.content).bind(6, encode_segments(turn.segments));
  turn.decision_id.empty() ? insert.bind_null(7) : insert.bind(7, turn.decision_id);
  insert.bind(8, turn.created_ms);
  return insert.run();
}

Status SqliteStore::add_decision(const std::string& session, const chat::Trace& trace, int64_t created_ms) {
  chat::Trace stored = trace;
  stored.session = session;
  HEDGE_TRY_SET(
      Statement insert,
      writer_->prepare("INSERT INTO decisions (id, session, route, trace, upstream_tokens, created_ms) "
                       "VALUES (?, ?, ?, ?, ?, ?)"));
  insert.bind(1, trace.id).bind(2, session).bind(3, trace.route).bind(4, encode_trace(stored));
  insert.bind(5, trace.upstream_tokens).bind(6, created_ms);
  return insert.run();
}

Status SqliteStore::add_history(const std::string& session, const std::string& hash) {
  HEDGE_TRY_SET(Statement insert,
                writer_->prepare("INSERT OR IGNORE INTO histories (hash, session) VALUES (?, ?)"));
  insert.bind_blob(1, hash).bind(2, session);
  return insert.run();
}

Result<std::vector<Turn>> SqliteStore::turns(const std::string& session) {
  const auto lock = reader_->lock();
  // One statement, so that it is one snapshot: a session without turns gives one row of nulls.
  HEDGE_TRY_SET(Statement select,
                reader_->prepare("SELECT seq, role, name, content, segments, decision, turns.created_ms "
                                 "FROM sessions LEFT JOIN turns ON turns.session = sessions.id "
                                 "WHERE sessions.id = ? ORDER BY seq"));
  select.bind(1, session);
  HEDGE_TRY_SET(bool row, select.step());
  if (!row) return make_error(ErrorCode::kNotFound, "there is no session of this id");
  std::vector<Turn> turns;
  while (row && !select.null(0)) {
    Turn turn;
    HEDGE_TRY_SET(turn.message.role, parse_role(select.text(1)));
    turn.message.name = select.text(2);
    turn.message.content = select.text(3);
    HEDGE_TRY_SET(turn.segments, decode_segments(select.text(4)));
    turn.decision_id = select.text(5);
    turn.created_ms = select.integer(6);
    turns.push_back(std::move(turn));
    HEDGE_TRY_SET(row, select.step());
  }
  return turns;
}

Result<chat::Trace> SqliteStore::decision(const std::string& id) {
  const auto lock = reader_->lock();
  HEDGE_TRY_SET(Statement select, reader_->prepare("SELECT trace FROM decisions WHERE id = ?"));
  select.bind(1, id);
  HEDGE_TRY_SET(const bool row, select.step());
  if (!row) return make_error(ErrorCode::kNotFound, "there is no decision of this id");
  return decode_trace(select.text(0));
}

Result<std::vector<Spent>> SqliteStore::upstream_spent_since(int64_t unix_ms) {
  const auto lock = reader_->lock();
  HEDGE_TRY_SET(
      Statement sum,
      reader_->prepare("SELECT coalesce(json_extract(facts, '$.tenant'), ''), sum(upstream_tokens), "
                       "coalesce(sum(json_extract(facts, '$.upstream_nanos')), 0) FROM "
                       "(SELECT upstream_tokens, iif(json_valid(trace), trace, '{}') AS facts "
                       "FROM decisions WHERE created_ms >= ?) GROUP BY 1"));
  sum.bind(1, unix_ms);
  std::vector<Spent> spent;
  while (true) {
    HEDGE_TRY_SET(const bool row, sum.step());
    if (!row) return spent;
    spent.push_back({sum.text(0), sum.integer(1), sum.integer(2)});
  }
}

Result<int64_t> SqliteStore::for_each_decision(int64_t since_unix_ms,
                                               const std::function<bool(const chat::Trace&)>& each) {
  const auto lock = reader_->lock();
  HEDGE_TRY_SET(
      Statement select,
      reader_->prepare("SELECT trace FROM decisions WHERE created_ms >= ? ORDER BY created_ms, rowid"));
  select.bind(1, since_unix_ms);
  int64_t passed_over = 0;
  while (true) {
    HEDGE_TRY_SET(const bool row, select.step());
    if (!row) return passed_over;
    const Result<chat::Trace> trace = decode_trace(select.text(0));
    if (!trace.ok()) {
      ++passed_over;
    } else if (!each(*trace)) {
      return passed_over;
    }
  }
}

// The change to WAL needs the file for itself, and SQLite does not wait for that with its busy handler: two
// processes that open a new database at once would refuse each other. So it is asked again for as long as any
// other lock is waited for.
Result<std::string> set_wal(Connection& connection) {
  const Deadline deadline = deadline_after(Milliseconds(kBusyTimeoutMs));
  while (true) {
    Result<std::string> mode = connection.query_text("PRAGMA journal_mode = WAL");
    const bool busy = !mode.ok() && mode.error().code == ErrorCode::kUnavailable;
    if (!busy || SteadyClock::now() >= deadline) return mode;
    std::this_thread::sleep_for(Milliseconds(2));
  }
}

// The settings live with the connection, not in the file (but for WAL).
Status configure(Connection& connection) {
  HEDGE_TRY_SET(const std::string mode, set_wal(connection));
  if (mode != "wal") {
    return make_error(ErrorCode::kUnsupported, "database " + connection.path() +
                                                   ": expected journal mode wal, got " + mode +
                                                   " (a file system without shared memory cannot hold it)");
  }
  HEDGE_TRY(connection.run_script(
      "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF"));
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const std::string& path) {
  HEDGE_TRY_SET(std::unique_ptr<Connection> writer,
                Connection::open(path, Connection::Mode::kReadWriteCreate));
  {
    const auto lock = writer->lock();
    // The first read fails when the file is no database; nothing is changed before it is known to be ours.
    HEDGE_TRY(check_ours(*writer, migrations()));
    if (writer->read_only()) {
      return make_error(ErrorCode::kPermission,
                        "database " + path + " is read-only, and turns have to be written");
    }
    HEDGE_TRY(configure(*writer));
    HEDGE_TRY(migrate(*writer, migrations()));
  }
  HEDGE_TRY_SET(std::unique_ptr<Connection> reader, Connection::open(path, Connection::Mode::kReadWrite));
  {
    const auto lock = reader->lock();
    HEDGE_TRY(configure(*reader));
  }
  return std::unique_ptr<Store>(new SqliteStore(std::move(writer), std::move(reader)));
}

}  // namespace hedge::session
