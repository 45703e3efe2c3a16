// The few SQLite calls that the store needs, with errors as values. Private to this folder.
//
// A Connection is one database handle; everything on it happens under its mutex, which the caller holds by
// lock(). Statements are prepared once and kept; a Statement is a borrowed one, reset when it goes out of
// scope.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hedge::session {

class Statement {
 public:
  Statement(sqlite3_stmt* statement, std::string_view path) : statement_(statement), path_(path) {}
  Statement(Statement&& other) noexcept;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Parameters are numbered from 1. Text and blobs are copied.
  Statement& bind(int index, int64_t value);
  Statement& bind(int index, std::string_view text);
  Statement& bind_blob(int index, std::string_view bytes);
  Statement& bind_null(int index);

  // True: a row is there. False: the end.
  Result<bool> step();
  // For statements without rows.
  Status run();

  // Of the row that step() gave; columns are numbered from 0.
  int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string text(int column) const;
  bool null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  void note_bind(int rc);

  sqlite3_stmt* statement_ = nullptr;
  std::string_view path_;  // of the connection, which outlives its statements
  int bind_rc_ = SQLITE_OK;
};

class Connection {
 public:
  enum class Mode { kReadWriteCreate, kReadWrite };
  static Result<std::unique_ptr<Connection>> open(const std::string& path, Mode mode);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const std::string& path() const { return path_; }
  std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  // REQUIRES: the lock is held for all that follows. `sql` is a constant of the program: it keys the
  // statement cache.
  Result<Statement> prepare(std::string_view sql);
  Status run(std::string_view sql);           // one statement, prepared and kept
  Status run_script(const std::string& sql);  // several statements, not kept
  Result<int64_t> query_integer(std::string_view sql);
  Result<std::string> query_text(std::string_view sql);
  bool read_only() const;

 private:
  Connection(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  sqlite3* handle_;
  const std::string path_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>, std::less<>> statements_;
};

// BEGIN IMMEDIATE now, ROLLBACK at the end of the scope unless commit() went through. REQUIRES: the lock is
// held longer.
class Transaction {
 public:
  static Result<Transaction> begin(Connection& connection);
  Transaction(Transaction&& other) noexcept : connection_(other.connection_) { other.connection_ = nullptr; }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // When it returns ok the changes are durable.
  Status commit();

 private:
  explicit Transaction(Connection& connection) : connection_(&connection) {}
  Connection* connection_;
};

}  // namespace hedge::session
