// The few calls that the store needs of a database, SQLite's or PostgreSQL's, with errors as values. Private
// to this folder.
//
// A Connection is one handle; everything on it happens under its mutex, which the caller holds by lock().
// Statements are prepared once and kept; a Statement is a borrowed one, reset when it goes out of scope.
// Parameters are written ?, or ?1, ?2 where one stands twice.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hedge::session {

class Statement {
 public:
  class Cursor {
   public:
    virtual ~Cursor() = default;
    virtual void bind(int index, int64_t value) = 0;
    virtual void bind(int index, std::string_view bytes, bool is_text) = 0;
    virtual void bind_null(int index) = 0;
    virtual Result<bool> step() = 0;
    virtual int64_t integer(int column) const = 0;
    virtual std::string text(int column) const = 0;
    virtual bool null(int column) const = 0;
  };
  explicit Statement(std::unique_ptr<Cursor> cursor) : cursor_(std::move(cursor)) {}

  // Parameters are numbered from 1. Text and blobs are copied.
  Statement& bind(int index, int64_t value) { return cursor_->bind(index, value), *this; }
  Statement& bind(int index, std::string_view text) { return cursor_->bind(index, text, true), *this; }
  Statement& bind_blob(int index, std::string_view bytes) {
    return cursor_->bind(index, bytes, false), *this;
  }
  Statement& bind_null(int index) { return cursor_->bind_null(index), *this; }

  // True: a row is there. False: the end.
  Result<bool> step() { return cursor_->step(); }
  // For statements without rows.
  Status run() {
    HEDGE_TRY_SET(const bool row, step());
    HEDGE_CHECK(!row);
    return {};
  }

  // Of the row that step() gave; columns are numbered from 0.
  int64_t integer(int column) const { return cursor_->integer(column); }
  std::string text(int column) const { return cursor_->text(column); }
  bool null(int column) const { return cursor_->null(column); }

 private:
  std::unique_ptr<Cursor> cursor_;
};

class Connection {
 public:
  virtual ~Connection() = default;

  std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }

  // REQUIRES: the lock is held for all that follows.
  virtual Result<Statement> prepare(std::string_view sql) = 0;
  virtual Status run_script(const std::string& sql) = 0;  // several statements, not kept
  // Begins a transaction that is going to write.
  virtual Status begin() = 0;
  // The condition that a turn's content without white space at its ends is parameter 1; an index serves it.
  virtual std::string_view says_the_same() const = 0;
  // After an error: whether the same transaction, run anew, may go through. Waits, opens the connection again
  // where it is gone, and tells false when `attempt` (from 0) was the last.
  virtual bool try_again(const Error& error, int attempt) = 0;

  Status run(std::string_view sql) {  // one statement, prepared and kept
    HEDGE_TRY_SET(Statement statement, prepare(sql));
    return statement.run();
  }
  Result<int64_t> query_integer(std::string_view sql) {
    HEDGE_TRY_SET(Statement statement, prepare(sql));
    HEDGE_TRY_SET(const bool row, statement.step());
    return row ? statement.integer(0) : 0;
  }
  Result<std::string> query_text(std::string_view sql) {
    HEDGE_TRY_SET(Statement statement, prepare(sql));
    HEDGE_TRY_SET(const bool row, statement.step());
    return row ? statement.text(0) : std::string();
  }

 private:
  std::mutex mutex_;
};

// Begins now, ROLLBACK at the end of the scope unless commit() went through. REQUIRES: the lock is held
// longer.
class Transaction {
 public:
  static Result<Transaction> begin(Connection& connection) {
    HEDGE_TRY(connection.begin());
    return Transaction(connection);
  }
  Transaction(Transaction&& other) noexcept : connection_(other.connection_) { other.connection_ = nullptr; }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction() {
    // Fails only where the database has rolled back by itself already.
    if (connection_ != nullptr) (void)connection_->run("ROLLBACK").ok();
  }

  // When it returns ok the changes are durable.
  Status commit() {
    HEDGE_TRY(connection_->run("COMMIT"));
    connection_ = nullptr;
    return {};
  }

 private:
  explicit Transaction(Connection& connection) : connection_(&connection) {}
  Connection* connection_;
};

}  // namespace hedge::session
