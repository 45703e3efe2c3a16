// What survives a process that is killed. A child appends in a loop and reports each turn that was
// acknowledged; it is killed at random points, and every reported turn must be there afterwards.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <random>

#include "session/test_util.h"

namespace hedge::session {
namespace {

constexpr int kKills = 30;

// Several pages, so that a transaction is more than one write.
std::string answer_of(uint32_t number) {
  return std::to_string(number) + ":" + std::string(6000 + number % 5000, 'a');
}

[[noreturn]] void append_until_killed(const std::string& path, uint32_t number, int out) {
  auto store = Store::open(path);
  if (!store.ok()) _exit(1);
  for (;; ++number) {
    const std::string answer = answer_of(number);
    const chat::Trace trace = trace_of("hd-" + std::to_string(number), {{"local", answer.size()}});
    if (!store.value()->append("s", request_of({user(std::to_string(number))}), answer, trace).ok()) _exit(2);
    if (write(out, &number, sizeof(number)) != static_cast<ssize_t>(sizeof(number))) _exit(3);
  }
}

TEST(Crash, NoAcknowledgedTurnIsLostByAKill) {
  const TemporaryFolder folder;
  const std::string path = folder.file("sessions.db");
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  uint32_t next = 0;
  for (int kill_count = 0; kill_count < kKills; ++kill_count) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) append_until_killed(path, next, ends[1]);
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

    const auto store = open_or_die(path);
    const auto turns = store->turns("s");
    if (!turns.ok()) {
      ASSERT_EQ(next + acknowledged, 0u) << turns.error().to_text();
      continue;
    }
    // A turn that was durable but not yet reported may be there too, and never half of one.
    ASSERT_EQ(turns.value().size() % 2, 0u);
    const auto durable = static_cast<uint32_t>(turns.value().size() / 2);
    ASSERT_GE(durable, next + acknowledged);
    ASSERT_LE(durable, next + acknowledged + 1);
    for (size_t i = next; i < durable; ++i) {
      ASSERT_EQ(turns.value()[2 * i].message.content, std::to_string(i));
      ASSERT_EQ(turns.value()[2 * i + 1].message.content, answer_of(static_cast<uint32_t>(i)));
      ASSERT_TRUE(store->decision("hd-" + std::to_string(i)).ok());
    }
    next = durable;
  }
  EXPECT_GT(next, 0u);
}

}  // namespace
}  // namespace hedge::session
