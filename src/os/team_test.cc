#include "os/team.h"

#include <gtest/gtest.h>

namespace hedge::os {
namespace {

struct Sums {
  std::atomic<uint64_t> first{0};
  uint64_t seen_after_barrier[8] = {};
  std::atomic<uint64_t> second{0};
};

TEST(Team, EveryChunkIsTakenOnceAndBarriersSeparatePhases) {
  for (int threads : {1, 2, 5}) {
    Team team(threads);
    for (int repeat = 0; repeat < 200; ++repeat) {
      Sums sums;
      team.run(
          [](void* context, Worker& worker) {
            Sums& s = *static_cast<Sums*>(context);
            for (size_t i = worker.take(100); i < 100; i = worker.take(100)) s.first += i;
            worker.barrier();
            s.seen_after_barrier[worker.index()] = s.first.load();
            for (size_t i = worker.take(50); i < 50; i = worker.take(50)) s.second += i;
            worker.barrier();
            for (size_t i = worker.take(10); i < 10; i = worker.take(10)) s.second += 1000;
          },
          &sums);
      ASSERT_EQ(sums.first.load(), 4950u);
      for (int i = 0; i < threads; ++i) ASSERT_EQ(sums.seen_after_barrier[i], 4950u);
      ASSERT_EQ(sums.second.load(), 1225u + 10000u);
    }
  }
}

// A worker that goes to sleep at the moment of the last arrival must still be woken. Sleeping is provoked by
// more threads than cores; a lost wake-up hangs the test until its time limit.
TEST(Team, NoWakeUpIsLostWhenThreadsSleep) {
  Team team(6);
  std::atomic<uint64_t> total{0};
  for (int repeat = 0; repeat < 20; ++repeat) {
    team.run(
        [](void* context, Worker& worker) {
          for (int phase = 0; phase < 100; ++phase) {
            while (worker.take(12) < 12) static_cast<std::atomic<uint64_t>*>(context)->fetch_add(1);
            worker.barrier();
          }
        },
        &total);
  }
  EXPECT_EQ(total.load(), 20u * 100u * 12u);
}

}  // namespace
}  // namespace hedge::os
