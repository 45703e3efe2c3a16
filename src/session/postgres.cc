#include "session/postgres.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "os/library.h"
#include "session/migrations.h"
#include "session/store.h"

namespace hedge::session {
namespace {

// libpq's functions under their names without the prefix.
struct LibPq {
#define HEDGE_PQ_FUNCTION(name) decltype(&::PQ##name) name = nullptr;
#include "session/libpq_list.inc"
#undef HEDGE_PQ_FUNCTION
};
LibPq pq;

Status load() {
  HEDGE_TRY_SET(const os::Library library, os::Library::open("libpq.so.5"));
#define HEDGE_PQ_FUNCTION(name) HEDGE_TRY(library.find("PQ" #name, pq.name));
#include "session/libpq_list.inc"
#undef HEDGE_PQ_FUNCTION
  return {};
}

Status load_libpq() {
  static const Status loaded = load();
  return loaded;
}

struct ClearResult {
  void operator()(PGresult* result) const { pq.clear(result); }
};
using Rows = std::unique_ptr<PGresult, ClearResult>;

// libpq's words about a connection name the server and the reason, never the password; one line of them.
std::string first_line(const char* text) {
  std::string line(text == nullptr ? "" : text);
  line = line.substr(0, line.find('\n'));
  return line.empty() ? "no reason was given" : line;
}

// By SQLSTATE. The server's own words may quote values, so they are not repeated.
Error error_of(const char* sqlstate) {
  const std::string state = sqlstate == nullptr ? "" : sqlstate;
  const std::string kind = state.substr(0, 2);
  const auto error = [&](ErrorCode code, const char* meaning) {
    return make_error(code, std::string("database of sessions: ") + meaning + " (SQLSTATE " + state + ")");
  };
  if (kind == "08" || kind == "57") return error(ErrorCode::kUnavailable, "the server is stopping or gone");
  if (kind == "40") return error(ErrorCode::kUnavailable, "the transaction met another one");
  if (kind == "55") return error(ErrorCode::kUnavailable, "a lock was not to be had");
  if (kind == "53") return error(ErrorCode::kIo, "the server has no disk, memory or connections left");
  if (kind == "28" || state == "42501") return error(ErrorCode::kPermission, "the server does not permit it");
  if (kind == "25")
    return error(ErrorCode::kPermission, "the server is read-only, and turns have to be written");
  if (kind == "3D") return error(ErrorCode::kNotFound, "there is no database of this name");
  if (kind == "58" || kind == "XX") return error(ErrorCode::kCorrupt, "the server reports damage");
  return error(ErrorCode::kInternal, "the server refused a statement");
}

// "?", "?1" as PostgreSQL writes them.
std::string numbered(std::string_view sql) {
  std::string out;
  int next = 1;
  for (size_t i = 0; i < sql.size(); ++i) {
    if (sql[i] != '?') {
      out += sql[i];
      continue;
    }
    out += '$';
    const bool has_number = i + 1 < sql.size() && sql[i + 1] >= '0' && sql[i + 1] <= '9';
    if (!has_number) out += std::to_string(next++);
  }
  return out;
}

class PostgresConnection final : public Connection {
 public:
  explicit PostgresConnection(std::string where) : where_(std::move(where)) {}
  ~PostgresConnection() override { close(); }
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  Status open();
  Status migrate();

  Result<Statement> prepare(std::string_view sql) override;
  Status run_script(const std::string& sql) override;
  Status begin() override { return run("BEGIN"); }
  std::string_view says_the_same() const override {
    // The first condition is the expression of the index turns_by_head.
    return "substr(btrim(content, '\\x090a0d20'::bytea), 1, 64) = substr(?1::bytea, 1, 64) "
           "AND btrim(content, '\\x090a0d20'::bytea) = ?1::bytea";
  }
  bool try_again(const Error& error, int attempt) override;

  // One statement's result, or an error; a connection that is silent too long is closed.
  Result<Rows> finish_query(bool sent);
  Result<Rows> execute(const std::string& name, const std::vector<const char*>& values,
                       const std::vector<int>& lengths);

 private:
  void close() {
    statements_.clear();
    if (handle_ != nullptr) pq.finish(handle_);
    handle_ = nullptr;
  }
  Error gone() {
    const std::string reason = handle_ == nullptr ? "not connected" : first_line(pq.errorMessage(handle_));
    close();
    return make_error(ErrorCode::kUnavailable, "database of sessions: the connection is lost: " + reason);
  }
  bool wait(bool to_write, Deadline deadline);

  const std::string where_;
  PGconn* handle_ = nullptr;
  std::map<std::string, std::string, std::less<>> statements_;  // sql to its name on the server
  Deadline give_up_at_ = kNoDeadline;                           // of the attempts that are under way
};

class PostgresCursor final : public Statement::Cursor {
 public:
  PostgresCursor(PostgresConnection& connection, std::string name)
      : connection_(connection), name_(std::move(name)) {}

  void bind(int index, int64_t value) override {
    std::string bytes;  // big-endian, as the wire has it
    for (int shift = 56; shift >= 0; shift -= 8)
      bytes += static_cast<char>(static_cast<uint64_t>(value) >> shift & 0xff);
    set(index, std::move(bytes), false);
  }
  void bind(int index, std::string_view bytes, bool) override { set(index, std::string(bytes), false); }
  void bind_null(int index) override { set(index, {}, true); }

  Result<bool> step() override {
    if (rows_ == nullptr) {
      std::vector<const char*> values;
      std::vector<int> lengths;
      for (const Value& value : values_) {
        values.push_back(value.null ? nullptr : value.bytes.c_str());
        lengths.push_back(static_cast<int>(value.bytes.size()));
      }
      HEDGE_TRY_SET(rows_, connection_.execute(name_, values, lengths));
    } else {
      ++row_;
    }
    return row_ < pq.ntuples(rows_.get());
  }
  int64_t integer(int column) const override {
    uint64_t value = 0;
    const auto* bytes = reinterpret_cast<const unsigned char*>(pq.getvalue(rows_.get(), row_, column));
    const int length = pq.getlength(rows_.get(), row_, column);
    for (int i = 0; i < length && i < 8; ++i) value = value << 8 | bytes[i];
    return length == 4 ? static_cast<int32_t>(value) : static_cast<int64_t>(value);
  }
  std::string text(int column) const override {
    return std::string(pq.getvalue(rows_.get(), row_, column),
                       static_cast<size_t>(pq.getlength(rows_.get(), row_, column)));
  }
  bool null(int column) const override { return pq.getisnull(rows_.get(), row_, column) == 1; }

 private:
  struct Value {
    std::string bytes;
    bool null = true;
  };
  void set(int index, std::string bytes, bool null) {
    if (values_.size() < static_cast<size_t>(index)) values_.resize(static_cast<size_t>(index));
    values_[static_cast<size_t>(index) - 1] = {std::move(bytes), null};
  }

  PostgresConnection& connection_;
  const std::string name_;
  std::vector<Value> values_;
  Rows rows_;
  int row_ = 0;
};

Status PostgresConnection::open() {
  close();
  // One attempt takes a few seconds at most; a server that dies without a word is noticed by keep-alives.
  const char* keys[] = {"dbname",
                        "connect_timeout",
                        "application_name",
                        "client_encoding",
                        "tcp_user_timeout",
                        "keepalives_idle",
                        nullptr};
  const char* values[] = {where_.c_str(), "3", "hedge", "UTF8", "10000", "5", nullptr};
  handle_ = pq.connectdbParams(keys, values, /*expand_dbname=*/1);
  if (handle_ == nullptr) return make_error(ErrorCode::kInternal, "database of sessions: out of memory");
  if (pq.status(handle_) != CONNECTION_OK) {
    const std::string reason = first_line(pq.errorMessage(handle_));
    close();
    const bool refused = reason.find("authentication") != std::string::npos ||
                         reason.find("pg_hba") != std::string::npos ||
                         reason.find("no password") != std::string::npos;
    const bool absent =
        reason.find("database \"") != std::string::npos && reason.find("does not exist") != std::string::npos;
    return make_error(refused  ? ErrorCode::kPermission
                      : absent ? ErrorCode::kNotFound
                               : ErrorCode::kUnavailable,
                      "database of sessions: cannot connect: " + reason);
  }
  pq.setnonblocking(handle_, 1);
  pq.setNoticeProcessor(
      handle_, [](void*, const char*) {}, nullptr);
  return run_script(
      "SET synchronous_commit = on; SET search_path TO hedge; SET bytea_output = hex; "
      "SET idle_in_transaction_session_timeout = 60000; SET lock_timeout = 8000; SET statement_timeout = "
      "9000");
}

bool PostgresConnection::wait(bool to_write, Deadline deadline) {
  const auto left = std::chrono::duration_cast<Milliseconds>(deadline - SteadyClock::now()).count();
  if (left <= 0) return false;
  pollfd fd{pq.socket(handle_), static_cast<short>(to_write ? POLLIN | POLLOUT : POLLIN), 0};
  const int ready = poll(&fd, 1, static_cast<int>(std::min<int64_t>(left, kReconnectMs)));
  return ready != 0;  // an interrupted wait is asked again
}

Result<Rows> PostgresConnection::finish_query(bool sent) {
  if (!sent) return gone();
  const Deadline deadline = deadline_after(Milliseconds(kReconnectMs));
  for (int left = 1; left != 0;) {
    left = pq.flush(handle_);
    if (left < 0) return gone();
    if (left > 0 && (!wait(true, deadline) || pq.consumeInput(handle_) == 0)) return gone();
  }
  Rows last;
  while (true) {
    while (pq.isBusy(handle_) != 0) {
      if (!wait(false, deadline) || pq.consumeInput(handle_) == 0) return gone();
    }
    Rows next(pq.getResult(handle_));
    if (next == nullptr) break;
    const ExecStatusType status = pq.resultStatus(next.get());
    if (last == nullptr || (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)) last = std::move(next);
    if (pq.status(handle_) != CONNECTION_OK) return gone();
  }
  if (last == nullptr) return gone();
  const ExecStatusType status = pq.resultStatus(last.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return last;
  if (pq.status(handle_) != CONNECTION_OK) return gone();
  return error_of(pq.resultErrorField(last.get(), PG_DIAG_SQLSTATE));
}

Result<Rows> PostgresConnection::execute(const std::string& name, const std::vector<const char*>& values,
                                         const std::vector<int>& lengths) {
  if (handle_ == nullptr) return gone();
  const std::vector<int> formats(values.size(), 1);  // binary, in and out
  const bool sent = pq.sendQueryPrepared(handle_, name.c_str(), static_cast<int>(values.size()),
                                         values.data(), lengths.data(), formats.data(), 1) == 1;
  return finish_query(sent);
}

Result<Statement> PostgresConnection::prepare(std::string_view sql) {
  if (handle_ == nullptr) return gone();
  auto found = statements_.find(sql);
  if (found == statements_.end()) {
    const std::string name = "h" + std::to_string(statements_.size());
    const bool sent = pq.sendPrepare(handle_, name.c_str(), numbered(sql).c_str(), 0, nullptr) == 1;
    HEDGE_TRY(finish_query(sent));
    found = statements_.emplace(std::string(sql), name).first;
  }
  return Statement(std::make_unique<PostgresCursor>(*this, found->second));
}

Status PostgresConnection::run_script(const std::string& sql) {
  if (handle_ == nullptr) return gone();
  HEDGE_TRY(finish_query(pq.sendQuery(handle_, sql.c_str()) == 1));
  return {};
}

// Only a lost connection and two transactions that met are worth another try; the whole transaction is run
// anew.
bool PostgresConnection::try_again(const Error& error, int attempt) {
  if (error.code != ErrorCode::kUnavailable) return false;
  if (attempt == 0) give_up_at_ = deadline_after(Milliseconds(kReconnectMs));
  while (SteadyClock::now() < give_up_at_) {
    const bool lost = handle_ == nullptr || pq.status(handle_) != CONNECTION_OK;
    if (!lost && attempt == 0) {  // an administrator's command, a deadlock
      close();
      return open().ok() || SteadyClock::now() < give_up_at_;
    }
    const Status connected = open();
    if (connected.ok()) return true;
    if (connected.error().code != ErrorCode::kUnavailable) return false;
    const int64_t backoff_ms = std::min<int64_t>(1000, 50LL << std::min(attempt, 5));
    std::this_thread::sleep_for(Milliseconds(backoff_ms));
    ++attempt;
  }
  return false;
}

Status PostgresConnection::migrate() {
  const auto scripts = postgres_migrations();
  const auto newest = static_cast<int64_t>(scripts.size());
  HEDGE_TRY_SET(Transaction transaction, Transaction::begin(*this));
  // One program at a time; the lock goes with the transaction.
  HEDGE_TRY(run_script("SELECT pg_advisory_xact_lock(" + std::to_string(kApplicationId) + ")"));
  HEDGE_TRY(
      run_script("CREATE SCHEMA IF NOT EXISTS hedge; "
                 "CREATE TABLE IF NOT EXISTS hedge.version (number BIGINT NOT NULL)"));
  HEDGE_TRY_SET(const int64_t found, query_integer("SELECT coalesce(max(number), 0) FROM hedge.version"));
  if (found > newest) {
    return make_error(ErrorCode::kUnsupported,
                      "database of sessions has schema version " + std::to_string(found) +
                          ", this program knows versions up to " + std::to_string(newest));
  }
  for (int64_t version = found; version < newest; ++version)
    HEDGE_TRY(run_script(scripts[static_cast<size_t>(version)]));
  if (found < newest) {
    HEDGE_TRY(run_script("DELETE FROM hedge.version; INSERT INTO hedge.version VALUES (" +
                         std::to_string(newest) + ")"));
  }
  return transaction.commit();
}

}  // namespace

bool is_postgres(std::string_view where) {
  return where.starts_with("postgresql://") || where.starts_with("postgres://");
}

Result<std::unique_ptr<Connection>> open_postgres(const std::string& where, bool migrates) {
  HEDGE_TRY(load_libpq());
  auto connection = std::make_unique<PostgresConnection>(where);
  const auto lock = connection->lock();
  HEDGE_TRY(connection->open());
  if (migrates) HEDGE_TRY(connection->migrate());
  return std::unique_ptr<Connection>(std::move(connection));
}

}  // namespace hedge::session
