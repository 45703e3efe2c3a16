// What survives a process that is killed. A child appends in a loop and reports each turn that was
// acknowledged; it is killed at random points, and every reported turn must be there afterwards.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "base/clock.h"
#include "session/test_postgres.h"

namespace hedge::session {
namespace {

// HEDGE_SESSION_KILLS sets how many.
int kills() {
  const char* count = std::getenv("HEDGE_SESSION_KILLS");
  return count == nullptr ? 30 : std::atoi(count);
}

// Several pages, so that a transaction is more than one write.
std::string answer_of(uint32_t number) {
  return std::to_string(number) + ":" + std::string(6000 + number % 5000, 'a');
}

[[noreturn]] void append_until_killed(const std::string& path, const std::string& session, uint32_t number,
                                      int out) {
  auto store = Store::open(path);
  if (!store.ok()) _exit(1);
  for (;; ++number) {
    const std::string answer = answer_of(number);
    const chat::Trace trace = trace_of("hd-" + std::to_string(number), {{"local", answer.size()}});
    if (!store.value()->append(session, request_of({user(std::to_string(number))}), answer, trace).ok())
      _exit(2);
    if (write(out, &number, sizeof(number)) != static_cast<ssize_t>(sizeof(number))) _exit(3);
  }
}

class Crash : public StoreTestBase {};
INSTANTIATE_TEST_SUITE_P(Both, Crash, ::testing::Values(Kind::kSqlite, Kind::kPostgres), kind_name);

TEST_P(Crash, NoAcknowledgedTurnIsLostByAKill) {
  const std::string path = where_;
  store_.reset();
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  uint32_t next = 0;   // turn to be written
  uint32_t first = 0;  // of the session
  std::string session;
  std::vector<double> resumed_ms;  // the database opened and the session read
  for (int kill_count = 0; kill_count < kills(); ++kill_count) {
    if (kill_count % 10 == 0) {
      session = "s" + std::to_string(kill_count / 10);
      first = next;
    }
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) append_until_killed(path, session, next, ends[1]);
    close(ends[1]);
    uint32_t acknowledged = 0;
    uint32_t number = 0;
    const uint32_t wanted = random() % 12;
    while (acknowledged < wanted && read(ends[0], &number, sizeof(number)) == sizeof(number)) ++acknowledged;
    usleep(random() % 2000);  // to fall into any part of the next append
    kill(child, SIGKILL);
    while (read(ends[0], &number, sizeof(number)) == sizeof(number)) ++acknowledged;
    close(ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, status " << status;

    const auto began = SteadyClock::now();
    const auto store = open_or_die(path);
    const auto turns = store->turns(session);
    resumed_ms.push_back(seconds_since(began) * 1000);
    if (!turns.ok()) {
      ASSERT_EQ(next + acknowledged, first) << turns.error().to_text();
      continue;
    }
    // A turn that was durable but not yet reported may be there too, and never half of one.
    ASSERT_EQ(turns.value().size() % 2, 0u);
    const auto durable = first + static_cast<uint32_t>(turns.value().size() / 2);
    ASSERT_GE(durable, next + acknowledged);
    ASSERT_LE(durable, next + acknowledged + 1);
    for (size_t i = next; i < durable; ++i) {
      ASSERT_EQ(turns.value()[2 * (i - first)].message.content, std::to_string(i));
      ASSERT_EQ(turns.value()[2 * (i - first) + 1].message.content, answer_of(static_cast<uint32_t>(i)));
      ASSERT_TRUE(store->decision("hd-" + std::to_string(i)).ok());
    }
    next = durable;
  }
  EXPECT_GT(next, 0u);
  std::sort(resumed_ms.begin(), resumed_ms.end());
  std::printf("%zu kills, %u turns acknowledged, none lost; resumed in %.1f ms (median), %.1f ms (99 %%)\n",
              resumed_ms.size(), next, resumed_ms[resumed_ms.size() / 2],
              resumed_ms[resumed_ms.size() * 99 / 100]);
}

}  // namespace
}  // namespace hedge::session
