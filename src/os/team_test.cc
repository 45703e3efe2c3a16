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
            for (size_t i = worker.take(); i < 100; i = worker.take()) s.first += i;
            worker.barrier();
            s.seen_after_barrier[worker.index()] = s.first.load();
            for (size_t i = worker.take(); i < 50; i = worker.take()) s.second += i;
            worker.barrier();
            for (size_t i = worker.take(); i < 10; i = worker.take()) s.second += 1000;
          },
          &sums);
      ASSERT_EQ(sums.first.load(), 4950u);
      for (int i = 0; i < threads; ++i) ASSERT_EQ(sums.seen_after_barrier[i], 4950u);
      ASSERT_EQ(sums.second.load(), 1225u + 10000u);
    }
  }
}

}  // namespace
}  // namespace hedge::os
