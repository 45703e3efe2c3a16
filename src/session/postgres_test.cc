// What only a server can do: go away, come back, fall silent, serve two programs.
#include "session/postgres.h"

#include <atomic>
#include <thread>

#include "base/clock.h"
#include "session/test_postgres.h"

namespace hedge::session {
namespace {

class Postgres : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!server_.ready()) GTEST_SKIP() << server_.why_not();
    server_.wipe();
    store_ = open_or_die(server_.address());
  }
  Status append(Store& store, int number) {
    const std::string name = std::to_string(number);
    return store.append("s", request_of({user("q" + name)}), "a" + name, trace_of("hd-" + name));
  }

  PostgresServer& server_ = PostgresServer::instance();
  std::unique_ptr<Store> store_;
};

TEST_F(Postgres, AnAddressThatLeadsNowhereSaysSo) {
  const TemporaryFolder folder;
  const auto nobody = Store::open("postgresql://hedge:secret@/postgres?host=" + folder.file(""));
  ASSERT_FALSE(nobody.ok());
  EXPECT_EQ(nobody.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(nobody.error().detail.find("secret"), std::string::npos) << nobody.error().detail;
  std::string other = server_.address();
  other.replace(other.find("/postgres?"), 10, "/nothing?");
  EXPECT_EQ(Store::open(other).error().code, ErrorCode::kNotFound);
}

TEST_F(Postgres, TextOfAnyBytesComesBack) {
  constexpr char kBytes[] = "a\0b\xff\xfe '\\x41' \xc3\xa9";
  const std::string bytes(kBytes, sizeof(kBytes) - 1);
  ASSERT_OK(store_->append("s", request_of({user(bytes)}), bytes, trace_of("hd-1")));
  EXPECT_EQ(store_->turns("s")->at(0).message.content, bytes);
  EXPECT_EQ(store_->turns("s")->at(1).message.content, bytes);
}

TEST_F(Postgres, ANewerSchemaIsRefused) {
  ASSERT_OK(server_.run("UPDATE hedge.version SET number = 99"));
  const auto store = Store::open(server_.address());
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kUnsupported);
}

TEST_F(Postgres, TwoProgramsGoOnWithOneSession) {
  const auto other = open_or_die(server_.address());
  ASSERT_OK(store_->append("s", request_of({user("q1")}), "a1", trace_of("hd-1", {{"local", 2}})));
  const std::vector<chat::Message> next = {user("q1"), assistant("a1"), user("q2")};
  EXPECT_EQ(other->resolve(request_of(next)).value(), "s");
  ASSERT_OK(other->append("s", request_of(next), "a2", trace_of("hd-2", {{"local", 2}})));
  EXPECT_EQ(contents(*store_, "s"),
            (std::vector<std::string>{"user:q1", "assistant:a1", "user:q2", "assistant:a2"}));
  ASSERT_OK(other->mark_private("s"));
  EXPECT_TRUE(store_->is_private("s").value());
}

TEST_F(Postgres, TurnsOfTwoProgramsAtOnceAreAllKept) {
  constexpr int kPrograms = 4, kTurns = 25;
  std::atomic<int> failures = 0;
  std::vector<std::thread> programs;
  for (int p = 0; p < kPrograms; ++p) {
    programs.emplace_back([&, p] {
      const auto store = open_or_die(server_.address());
      for (int i = 0; i < kTurns; ++i) failures += append(*store, p * kTurns + i).ok() ? 0 : 1;
    });
  }
  for (std::thread& program : programs) program.join();
  EXPECT_EQ(failures.load(), 0);
  const auto all = contents(*store_, "s");
  ASSERT_EQ(all.size(), 2u * kPrograms * kTurns);
  for (size_t i = 0; i < all.size(); i += 2) EXPECT_EQ(all[i].substr(6), all[i + 1].substr(11)) << i;
}

TEST_F(Postgres, ALostConnectionIsOpenedAgain) {
  ASSERT_OK(append(*store_, 0));
  for (int i = 1; i <= 10; ++i) {
    ASSERT_OK(
        server_.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND backend_type = 'client backend'"));
    ASSERT_OK(append(*store_, i));
    ASSERT_OK(store_->turns("s"));
  }
  EXPECT_EQ(contents(*store_, "s").size(), 22u);
}

TEST_F(Postgres, AServerThatComesBackIsWaitedFor) {
  ASSERT_OK(append(*store_, 0));
  server_.stop(SIGQUIT);
  Status appended;
  std::thread meanwhile([&] { appended = append(*store_, 1); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const bool started = server_.start();
  meanwhile.join();
  ASSERT_TRUE(started);
  ASSERT_OK(appended);
  EXPECT_EQ(contents(*store_, "s").size(), 4u);
}

TEST_F(Postgres, ASilentServerIsAnErrorInTime) {
  server_.signal(SIGSTOP);
  // Its children, which serve connections, go on: those are opened before; a new one hangs.
  const auto began = SteadyClock::now();
  const auto store = Store::open(server_.address());
  server_.signal(SIGCONT);
  EXPECT_FALSE(store.ok());
  EXPECT_LT(seconds_since(began), 9);
}

}  // namespace
}  // namespace hedge::session
