// A PostgreSQL server of the tests' own, from the system's package: on a socket in a temporary folder,
// without a port. It ends with the test, however that ends. Absent, or no user to run it as: ready() tells,
// and tests skip.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "session/postgres.h"
#include "session/test_util.h"

namespace hedge::session {

class PostgresServer {
 public:
  static PostgresServer& instance() {
    static PostgresServer server;
    return server;
  }
  ~PostgresServer() {
    if (owner_ == getpid()) stop(SIGQUIT);
  }

  bool ready() const { return !address_.empty(); }
  const std::string& why_not() const { return why_not_; }
  const std::string& address() const { return address_; }

  // No tables: the next store begins anew.
  void wipe() { (void)run("DROP SCHEMA IF EXISTS hedge CASCADE").ok(); }
  Status run(const std::string& sql) {
    HEDGE_TRY_SET(const std::unique_ptr<Connection> connection, open_postgres(address_, false));
    const auto lock = connection->lock();
    return connection->run_script(sql);
  }
  void signal(int number) const { kill(pid_, number); }
  void stop(int number) {
    if (pid_ <= 0) return;
    kill(pid_, number);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // False: it did not come up. It ends with the thread that calls this.
  bool start() {
    pid_ = spawn({binaries_ + "/postgres", "-D", data_, "-k", folder_.file(""), "-c",
                  "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"});
    for (int i = 0; i < 300; ++i) {
      if (waitpid(pid_, nullptr, WNOHANG) == pid_) return false;
      if (open_postgres(address_of(), false).ok()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

 private:
  PostgresServer() {
    for (const auto& entry : std::filesystem::directory_iterator(
             "/usr/lib/postgresql", std::filesystem::directory_options::skip_permission_denied, ignored_)) {
      if (std::filesystem::exists(entry.path() / "bin/initdb")) binaries_ = entry.path() / "bin";
    }
    if (binaries_.empty()) {
      why_not_ = "no PostgreSQL server is installed (Debian's package postgresql)";
      return;
    }
    if (geteuid() == 0) {  // initdb refuses root
      user_ = getpwnam("postgres");
      if (user_ == nullptr) user_ = getpwnam("nobody");
      if (user_ == nullptr || chown(folder_.file("").c_str(), user_->pw_uid, user_->pw_gid) != 0) {
        why_not_ = "PostgreSQL does not run as root, and there is no user to run it as";
        return;
      }
    }
    data_ = folder_.file("data");
    int status = -1;
    const pid_t made = spawn({binaries_ + "/initdb", "-D", data_, "-A", "trust", "-U", "hedge", "--no-sync",
                              "-E", "UTF8", "--locale=C"});
    waitpid(made, &status, 0);
    if (status != 0 || !start()) {
      why_not_ = "the PostgreSQL server did not start";
      return;
    }
    address_ = address_of();
  }

  std::string address_of() const { return "postgresql://hedge@/postgres?host=" + folder_.file(""); }

  pid_t spawn(const std::vector<std::string>& arguments) const {
    const pid_t child = fork();
    if (child != 0) return child;
    if (user_ != nullptr &&
        (setgroups(0, nullptr) != 0 || setgid(user_->pw_gid) != 0 || setuid(user_->pw_uid) != 0))
      _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    const int nowhere = open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) dup2(nowhere, fd);
    if (chdir("/") != 0) _exit(126);
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }

  std::error_code ignored_;
  const TemporaryFolder folder_;
  const pid_t owner_ = getpid();
  std::string binaries_, data_, address_, why_not_;
  const passwd* user_ = nullptr;
  pid_t pid_ = -1;
};

enum class Kind { kSqlite, kPostgres };
inline std::string kind_name(const ::testing::TestParamInfo<Kind>& info) {
  return info.param == Kind::kSqlite ? "Sqlite" : "Postgres";
}

// Tests that every store has to pass, over both.
class StoreTestBase : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    where_ = folder_.file("sessions.db");
    if (GetParam() == Kind::kPostgres) {
      if (!PostgresServer::instance().ready()) GTEST_SKIP() << PostgresServer::instance().why_not();
      PostgresServer::instance().wipe();
      where_ = PostgresServer::instance().address();
    }
    store_ = open_or_die(where_);
  }

  const TemporaryFolder folder_;
  std::string where_;
  std::unique_ptr<Store> store_;
};

}  // namespace hedge::session
