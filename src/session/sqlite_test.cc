#include "session/sqlite.h"

#include <sys/stat.h>

#include <fstream>

#include "session/test_util.h"

namespace hedge::session {
namespace {

std::unique_ptr<SqliteConnection> connect(const std::string& path) {
  auto connection = SqliteConnection::open(path, SqliteConnection::Mode::kReadWriteCreate);
  if (!connection.ok()) ADD_FAILURE() << connection.error().to_text();
  return std::move(connection).value();
}

ErrorCode code_of_open(const std::string& path) {
  const auto store = Store::open(path);
  if (store.ok()) ADD_FAILURE() << "opened " << path;
  return store.ok() ? ErrorCode::kInternal : store.error().code;
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

TEST(Sqlite, TextWithZeroBytesAndNothingComesBack) {
  const TemporaryFolder folder;
  const auto connection = connect(folder.file("a.db"));
  ASSERT_OK(connection->run_script("CREATE TABLE t (id INTEGER, x TEXT)"));
  const std::vector<std::string> texts = {"", std::string("a\0b", 3), "\xff\xfe", std::string(100'000, 'x')};
  for (size_t i = 0; i < texts.size(); ++i) {
    auto insert = connection->prepare("INSERT INTO t VALUES (?, ?)");
    ASSERT_OK(insert);
    insert.value().bind(1, static_cast<int64_t>(i)).bind(2, texts[i]);
    ASSERT_OK(insert.value().run());
  }
  auto select = connection->prepare("SELECT x FROM t ORDER BY id");
  ASSERT_OK(select);
  for (const std::string& text : texts) {
    ASSERT_TRUE(select.value().step().value());
    EXPECT_FALSE(select.value().null(0));
    EXPECT_EQ(select.value().text(0), text);
  }
  EXPECT_FALSE(select.value().step().value());
}

TEST(Sqlite, AFullDiskIsAnErrorThatLeavesWhatWasThere) {
  const TemporaryFolder folder;
  const auto connection = connect(folder.file("a.db"));
  ASSERT_OK(connection->run_script(
      "CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('first'); PRAGMA max_page_count = 4"));
  {
    auto transaction = Transaction::begin(*connection);
    ASSERT_OK(transaction);
    auto insert = connection->prepare("INSERT INTO t VALUES (?)");
    ASSERT_OK(insert);
    insert.value().bind(1, std::string(1 << 20, 'x'));
    const Status full = insert.value().run();
    ASSERT_FALSE(full.ok());
    EXPECT_EQ(full.error().code, ErrorCode::kIo);
    EXPECT_NE(full.error().detail.find("disk is full"), std::string::npos) << full.error().detail;
  }
  EXPECT_EQ(connection->query_integer("SELECT count(*) FROM t").value(), 1);
  auto transaction = Transaction::begin(*connection);
  ASSERT_OK(transaction);
  ASSERT_OK(connection->run("INSERT INTO t VALUES ('second')"));
  ASSERT_OK(transaction.value().commit());
  EXPECT_EQ(connection->query_integer("SELECT count(*) FROM t").value(), 2);
}

TEST(Sqlite, ATransactionThatIsNotCommittedIsUndone) {
  const TemporaryFolder folder;
  const auto connection = connect(folder.file("a.db"));
  ASSERT_OK(connection->run_script("CREATE TABLE t (x)"));
  {
    auto transaction = Transaction::begin(*connection);
    ASSERT_OK(transaction);
    ASSERT_OK(connection->run("INSERT INTO t VALUES (1)"));
  }
  EXPECT_EQ(connection->query_integer("SELECT count(*) FROM t").value(), 0);
}

TEST(StoreOpen, RefusesWhatIsNoFileOrNoDatabase) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of_open(""), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of_open(":memory:"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of_open(folder.file("absent/a.db")), ErrorCode::kIo);
  std::filesystem::create_directory(folder.file("folder.db"));
  EXPECT_EQ(code_of_open(folder.file("folder.db")), ErrorCode::kIo);

  write_file(
      folder.file("text.db"),
      "This is not a database, and longer than the hundred bytes of a header: " + std::string(200, '.'));
  const auto store = Store::open(folder.file("text.db"));
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(store.error().detail.find("not a database"), std::string::npos) << store.error().detail;
}

TEST(StoreOpen, AnEmptyFileBecomesADatabase) {
  const TemporaryFolder folder;
  write_file(folder.file("a.db"), "");
  const auto store = open_or_die(folder.file("a.db"));
  ASSERT_OK(store->mark_private("s"));
}

TEST(StoreOpen, AReadOnlyDatabaseIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.db");
  { open_or_die(path); }
  // A write version above 2 in byte 18 of the header makes a database read-only to every user, root too
  // (sqlite.org/fileformat2.html, 1.3.3).
  std::string bytes = read_file(path);
  ASSERT_GT(bytes.size(), 100u);
  bytes[18] = 3;
  write_file(path, bytes);
  EXPECT_EQ(code_of_open(path), ErrorCode::kPermission);
}

TEST(StoreOpen, DamageIsReportedWhereItIsRead) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.db");
  {
    const auto store = open_or_die(path);
    for (int i = 0; i < 50; ++i) {
      ASSERT_OK(store->append("s", request_of({user(std::string(500, 'q') + std::to_string(i))}),
                              std::string(500, 'a'), trace_of("hd-" + std::to_string(i), {{"local", 500}})));
    }
  }
  const std::string whole = read_file(path);
  ASSERT_GT(whole.size(), 40'000u);
  // The schema's page.
  std::string bytes = whole;
  for (size_t i = 100; i < 4096; ++i) bytes[i] = '\x5a';
  write_file(path, bytes);
  EXPECT_EQ(code_of_open(path), ErrorCode::kCorrupt);
  // All pages but the schema's: it may open, but gives no answer out of rubbish.
  bytes = whole;
  for (size_t i = 4096; i < bytes.size(); ++i) bytes[i] = '\x5a';
  write_file(path, bytes);
  const auto damaged = Store::open(path);
  if (damaged.ok()) {
    const auto turns = damaged.value()->turns("s");
    ASSERT_FALSE(turns.ok());
    EXPECT_EQ(turns.error().code, ErrorCode::kCorrupt) << turns.error().to_text();
    const Status appended = damaged.value()->append("s", request_of({user("q")}), "a", trace_of("hd-new"));
    ASSERT_FALSE(appended.ok());
    EXPECT_EQ(appended.error().code, ErrorCode::kCorrupt) << appended.error().to_text();
  } else {
    EXPECT_EQ(damaged.error().code, ErrorCode::kCorrupt);
  }
  // A truncated file.
  write_file(path, whole.substr(0, whole.size() / 3));
  const auto truncated = Store::open(path);
  if (truncated.ok()) {
    const auto turns = truncated.value()->turns("s");
    ASSERT_FALSE(turns.ok());
    EXPECT_EQ(turns.error().code, ErrorCode::kCorrupt) << turns.error().to_text();
  } else {
    EXPECT_EQ(truncated.error().code, ErrorCode::kCorrupt);
  }
}

TEST(StoreOpen, OnlyTheOwnerMayRead) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a.db");
  const auto store = open_or_die(path);
  ASSERT_OK(store->mark_private("s"));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat info {};
    ASSERT_EQ(stat((path + suffix).c_str(), &info), 0) << suffix;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << suffix;
  }
}

}  // namespace
}  // namespace hedge::session
