// SQLite behind sql.h. Private to this folder.
#pragma once

#include <sqlite3.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "session/sql.h"

namespace hedge::session {

class SqliteConnection final : public Connection {
 public:
  enum class Mode { kReadWriteCreate, kReadWrite };
  static Result<std::unique_ptr<SqliteConnection>> open(const std::string& path, Mode mode);
  // Two for one store, the first migrated: one writes, one reads, so that a question about a session does not
  // wait for another's sync.
  //
  // Durability: WAL with synchronous=FULL syncs the log at every commit, before the commit returns. WAL's
  // usual NORMAL syncs only at checkpoints: there a kill loses nothing, but a loss of power may take back the
  // last commits, among them turns that clients have been told of. One sync per answer is small beside the
  // answer.
  static Result<std::unique_ptr<SqliteConnection>> open_writer(const std::string& path);
  static Result<std::unique_ptr<SqliteConnection>> open_reader(const std::string& path);
  ~SqliteConnection() override;
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  const std::string& path() const { return path_; }
  // REQUIRES: the lock is held for all that follows.
  Result<Statement> prepare(std::string_view sql) override;
  Status run_script(const std::string& sql) override;
  Status begin() override { return run("BEGIN IMMEDIATE"); }
  std::string_view says_the_same() const override {
    // The first condition is the expression of the index turns_by_head.
    return "substr(trim(content, char(9, 10, 13, 32)), 1, 64) = substr(?1, 1, 64) "
           "AND trim(content, char(9, 10, 13, 32)) = ?1";
  }
  bool try_again(const Error&, int) override { return false; }
  bool read_only() const;

 private:
  SqliteConnection(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  sqlite3* handle_;
  const std::string path_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>, std::less<>> statements_;
};

}  // namespace hedge::session
