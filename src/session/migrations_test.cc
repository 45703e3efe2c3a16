#include "session/migrations.h"

#include <fstream>

#include "session/test_util.h"

namespace hedge::session {
namespace {

std::unique_ptr<SqliteConnection> connect(const std::string& path) {
  auto connection = SqliteConnection::open(path, SqliteConnection::Mode::kReadWriteCreate);
  if (!connection.ok()) ADD_FAILURE() << connection.error().to_text();
  return std::move(connection).value();
}

int64_t integer(SqliteConnection& connection, const char* sql) {
  const Result<int64_t> value = connection.query_integer(sql);
  if (!value.ok()) ADD_FAILURE() << value.error().to_text();
  return value.ok() ? value.value() : -1;
}

TEST(Migrations, ADatabaseOfTheFirstVersionKeepsItsTurns) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.db");
  {
    const auto connection = connect(path);
    ASSERT_OK(migrate(*connection, migrations().first(1)));
    ASSERT_OK(connection->run_script(
        "INSERT INTO sessions VALUES ('s-old', 1, 5);"
        "INSERT INTO decisions VALUES ('hd-old', 's-old', 'local', '{\"id\":\"hd-old\"}', 7, 5);"
        "INSERT INTO turns VALUES ('s-old', 0, 'user', '', 'q', '[]', NULL, 5);"
        "INSERT INTO turns VALUES ('s-old', 1, 'assistant', '', 'a', "
        "'[{\"backend\":\"local\",\"bytes\":1}]', 'hd-old', 5)"));
  }
  const auto store = open_or_die(path);
  EXPECT_EQ(contents(*store, "s-old"), (std::vector<std::string>{"user:q", "assistant:a"}));
  EXPECT_TRUE(store->is_private("s-old").value());
  EXPECT_EQ(store->decision("hd-old").value().id, "hd-old");
  EXPECT_EQ(tokens_spent_since(*store, 5), 7);
  const auto connection = connect(path);
  EXPECT_EQ(integer(*connection, "PRAGMA user_version"), static_cast<int64_t>(migrations().size()));
}

TEST(Migrations, EachScriptRunsOnceInOrder) {
  const TemporaryFolder folder;
  const auto connection = connect(folder.file("a.db"));
  constexpr const char* kScripts[] = {"CREATE TABLE t (x)", "INSERT INTO t VALUES (1)",
                                      "UPDATE t SET x = x * 10"};
  ASSERT_OK(migrate(*connection, std::span(kScripts).first(2)));
  ASSERT_OK(migrate(*connection, std::span(kScripts).first(2)));
  EXPECT_EQ(integer(*connection, "SELECT sum(x) FROM t"), 1);
  ASSERT_OK(migrate(*connection, kScripts));
  ASSERT_OK(migrate(*connection, kScripts));
  EXPECT_EQ(integer(*connection, "SELECT sum(x) FROM t"), 10);
  EXPECT_EQ(integer(*connection, "PRAGMA user_version"), 3);
}

TEST(Migrations, AScriptThatFailsLeavesTheOldVersion) {
  const TemporaryFolder folder;
  const auto connection = connect(folder.file("a.db"));
  constexpr const char* kScripts[] = {"CREATE TABLE t (x)",
                                      "INSERT INTO t VALUES (1); INSERT INTO absent VALUES (2)"};
  ASSERT_OK(migrate(*connection, std::span(kScripts).first(1)));
  EXPECT_FALSE(migrate(*connection, kScripts).ok());
  EXPECT_EQ(integer(*connection, "SELECT count(*) FROM t"), 0);
  EXPECT_EQ(integer(*connection, "PRAGMA user_version"), 1);
}

TEST(Migrations, ANewerSchemaIsRefusedAndUntouched) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.db");
  { open_or_die(path); }
  ASSERT_OK(connect(path)->run_script("PRAGMA user_version = 99"));
  const auto store = Store::open(path);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(store.error().detail.find("99"), std::string::npos) << store.error().detail;
  EXPECT_NE(store.error().detail.find(path), std::string::npos) << store.error().detail;
  EXPECT_EQ(integer(*connect(path), "PRAGMA user_version"), 99);
}

TEST(Migrations, AnotherProgramsDatabaseIsRefusedAndUntouched) {
  const TemporaryFolder folder;
  for (const char* made_by : {"CREATE TABLE bookmarks (url)", "PRAGMA application_id = 7; CREATE TABLE t (x)",
                              "PRAGMA user_version = 1; CREATE TABLE t (x)"}) {
    const std::string path = folder.file("other.db");
    std::filesystem::remove(path);
    ASSERT_OK(connect(path)->run_script(made_by));
    const auto store = Store::open(path);
    ASSERT_FALSE(store.ok()) << made_by;
    EXPECT_EQ(store.error().code, ErrorCode::kUnsupported) << made_by;
    const auto connection = connect(path);
    EXPECT_EQ(integer(*connection, "SELECT count(*) FROM sqlite_schema"), 1) << made_by;
    EXPECT_EQ(connection->query_text("PRAGMA journal_mode").value(), "delete") << made_by;
  }
}

}  // namespace
}  // namespace hedge::session
