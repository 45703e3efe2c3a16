#include "session/sqlite.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "session/migrations.h"
#include "session/store.h"

namespace hedge::session {
namespace {

ErrorCode code_of(int rc) {
  switch (rc & 0xff) {  // the low byte of an extended code is the primary one
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return ErrorCode::kCorrupt;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return ErrorCode::kPermission;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kUnavailable;
    case SQLITE_FULL:
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
      return ErrorCode::kIo;
    default:
      return ErrorCode::kInternal;
  }
}

// What it means to the person who has to act on it. SQLite's own messages may quote values, so only its fixed
// text for the code is used.
std::string meaning_of(int rc) {
  switch (rc & 0xff) {
    case SQLITE_NOTADB:
      return "is not a database (expected an SQLite file)";
    case SQLITE_CORRUPT:
      return "is damaged: " + std::string(sqlite3_errstr(rc));
    case SQLITE_READONLY:
      return "is read-only, and turns have to be written";
    case SQLITE_FULL:
      return "cannot grow: the disk is full";
    case SQLITE_BUSY:
      return "is locked by another process for more than " + std::to_string(kBusyTimeoutMs) + " ms";
    default:
      return std::string("failed: ") + sqlite3_errstr(rc) + " (SQLite code " + std::to_string(rc) + ")";
  }
}

Error error_of(int rc, std::string_view path) {
  return make_error(code_of(rc), "database " + std::string(path) + " " + meaning_of(rc));
}

// Creates the file for its owner alone (SQLite gives -wal and -shm the same mode), and makes its name
// durable: SQLite syncs the folder for its journals, but the file itself it expects to be there.
Status create_private_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (fd < 0) {
    if (errno == EEXIST) return {};
    const ErrorCode code =
        errno == EACCES || errno == EROFS || errno == EPERM ? ErrorCode::kPermission : ErrorCode::kIo;
    return make_error(code,
                      "database " + path + " cannot be created: " + std::generic_category().message(errno));
  }
  ::close(fd);
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const int folder_fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_fd >= 0) {
    ::fsync(folder_fd);  // Some file systems cannot sync a folder; the file is usable all the same.
    ::close(folder_fd);
  }
  return {};
}

class SqliteCursor final : public Statement::Cursor {
 public:
  SqliteCursor(sqlite3_stmt* statement, std::string_view path) : statement_(statement), path_(path) {}
  SqliteCursor(const SqliteCursor&) = delete;
  SqliteCursor& operator=(const SqliteCursor&) = delete;
  ~SqliteCursor() override {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

  void bind(int index, int64_t value) override { note_bind(sqlite3_bind_int64(statement_, index, value)); }
  void bind(int index, std::string_view bytes, bool is_text) override {
    // A null pointer would bind NULL instead of the empty text.
    const char* data = bytes.data() ? bytes.data() : "";
    note_bind(is_text
                  ? sqlite3_bind_text64(statement_, index, data, bytes.size(), SQLITE_TRANSIENT, SQLITE_UTF8)
                  : sqlite3_bind_blob64(statement_, index, data, bytes.size(), SQLITE_TRANSIENT));
  }
  void bind_null(int index) override { note_bind(sqlite3_bind_null(statement_, index)); }

  Result<bool> step() override {
    if (bind_rc_ != SQLITE_OK) return error_of(bind_rc_, path_);
    const int rc = sqlite3_step(statement_);
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    return error_of(sqlite3_extended_errcode(sqlite3_db_handle(statement_)), path_);
  }
  int64_t integer(int column) const override { return sqlite3_column_int64(statement_, column); }
  std::string text(int column) const override {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return data ? std::string(data, static_cast<size_t>(sqlite3_column_bytes(statement_, column)))
                : std::string();
  }
  bool null(int column) const override { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  void note_bind(int rc) {
    if (bind_rc_ == SQLITE_OK) bind_rc_ = rc;
  }

  sqlite3_stmt* statement_;
  std::string_view path_;  // of the connection, which outlives its statements
  int bind_rc_ = SQLITE_OK;
};

// The change to WAL needs the file for itself, and SQLite does not wait for that with its busy handler: two
// processes that open a new database at once would refuse each other. So it is asked again for as long as any
// other lock is waited for.
Result<std::string> set_wal(SqliteConnection& connection) {
  const Deadline deadline = deadline_after(Milliseconds(kBusyTimeoutMs));
  while (true) {
    Result<std::string> mode = connection.query_text("PRAGMA journal_mode = WAL");
    const bool busy = !mode.ok() && mode.error().code == ErrorCode::kUnavailable;
    if (!busy || SteadyClock::now() >= deadline) return mode;
    std::this_thread::sleep_for(Milliseconds(2));
  }
}

// The settings live with the connection, not in the file (but for WAL).
Status configure(SqliteConnection& connection) {
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

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open(const std::string& path, Mode mode) {
  // "" and ":memory:" are temporary databases to SQLite, and "file:" may be a URI: none of them keeps a turn.
  if (path.empty() || path.front() == ':' || path.find('\0') != std::string::npos) {
    return make_error(ErrorCode::kInvalidArgument,
                      "database: expected the path of a file, got \"" + path + "\"");
  }
  if (mode == Mode::kReadWriteCreate) HEDGE_TRY(create_private_file(path));
  sqlite3* handle = nullptr;
  // NOMUTEX: our own mutex already lets one thread at a time onto a handle.
  const int rc = sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) {
    Error error = error_of(rc, path);
    sqlite3_close(handle);
    return error;
  }
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  return std::unique_ptr<SqliteConnection>(new SqliteConnection(handle, path));
}

SqliteConnection::~SqliteConnection() {
  statements_.clear();
  sqlite3_close(handle_);
}

Result<Statement> SqliteConnection::prepare(std::string_view sql) {
  auto found = statements_.find(sql);
  if (found == statements_.end()) {
    sqlite3_stmt* statement = nullptr;
    const int rc = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (rc != SQLITE_OK) return error_of(rc, path_);
    found = statements_.try_emplace(std::string(sql), statement).first;
  }
  return Statement(std::make_unique<SqliteCursor>(found->second.get(), path_));
}

Status SqliteConnection::run_script(const std::string& sql) {
  const int rc = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return error_of(rc, path_);
  return {};
}

bool SqliteConnection::read_only() const { return sqlite3_db_readonly(handle_, "main") == 1; }

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open_writer(const std::string& path) {
  HEDGE_TRY_SET(std::unique_ptr<SqliteConnection> writer, open(path, Mode::kReadWriteCreate));
  const auto lock = writer->lock();
  // The first read fails when the file is no database; nothing is changed before it is known to be ours.
  HEDGE_TRY(check_ours(*writer, migrations()));
  if (writer->read_only()) {
    return make_error(ErrorCode::kPermission,
                      "database " + path + " is read-only, and turns have to be written");
  }
  HEDGE_TRY(configure(*writer));
  HEDGE_TRY(migrate(*writer, migrations()));
  return writer;
}

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open_reader(const std::string& path) {
  HEDGE_TRY_SET(std::unique_ptr<SqliteConnection> reader, open(path, Mode::kReadWrite));
  const auto lock = reader->lock();
  HEDGE_TRY(configure(*reader));
  return reader;
}

}  // namespace hedge::session
