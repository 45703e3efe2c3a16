#include "route/budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace hedge::route {
namespace {

constexpr int64_t kDayMs = 86'400'000;

TEST(Budget, ReservesBeforeAndSettlesAfter) {
  Budget budget(100, [] { return kDayMs * 20000; });
  std::optional<Budget::Reservation> first = budget.reserve(60);
  ASSERT_TRUE(first);
  EXPECT_FALSE(budget.reserve(41));
  EXPECT_TRUE(budget.fits(40));
  EXPECT_EQ(budget.used_today(), 0);
  first->settle(10);
  first->settle(50);  // the second is none
  EXPECT_EQ(budget.used_today(), 10);
  EXPECT_TRUE(budget.fits(90));
  EXPECT_FALSE(budget.fits(91));
}

TEST(Budget, DroppedUnsettledCountsInFull) {
  Budget budget(100, [] { return kDayMs; });
  { const auto reservation = budget.reserve(30); }
  EXPECT_EQ(budget.used_today(), 30);
}

TEST(Budget, ANewDayBeginsAtMidnightUtcAndAClockSetBackGivesNothing) {
  int64_t now = 20 * kDayMs + kDayMs - 1;
  Budget budget(100, [&now] { return now; });
  budget.seed(90);
  EXPECT_FALSE(budget.fits(11));
  auto running = budget.reserve(10);
  ++now;
  EXPECT_EQ(budget.used_today(), 0);
  EXPECT_FALSE(budget.fits(91));  // what runs over midnight may be billed today
  running->settle(5);
  EXPECT_EQ(budget.used_today(), 5);
  now -= kDayMs;
  EXPECT_EQ(budget.used_today(), 5);
}

TEST(Budget, WithoutALimitItOnlyCounts) {
  Budget budget(0, [] { return int64_t{0}; });
  budget.reserve(1'000'000)->settle(999'999);
  EXPECT_TRUE(budget.fits(INT64_MAX));
  EXPECT_EQ(budget.used_today(), 999'999);
  EXPECT_FALSE(budget.limited());
}

TEST(Budget, HugeNumbersDoNotOverflow) {
  Budget budget(INT64_MAX, [] { return int64_t{0}; });
  budget.seed(INT64_MAX - 5);
  EXPECT_TRUE(budget.fits(5));
  EXPECT_FALSE(budget.fits(6));
  auto most = budget.reserve(5);
  EXPECT_FALSE(budget.fits(1));
}

TEST(Budget, SixtyFourThreadsDoNotOverspend) {
  constexpr int64_t kLimit = 10'000;
  Budget budget(kLimit, [] { return int64_t{0}; });
  std::atomic<int64_t> spent = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 64; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        auto reservation = budget.reserve(100);
        if (!reservation) continue;
        const int64_t used = 50 + (t + i) % 51;
        spent += used;
        reservation->settle(used);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(spent, kLimit);
  EXPECT_GT(spent, kLimit - 100);
  EXPECT_EQ(budget.used_today(), spent);
}

TEST(PromptTokensMax, IsNoLessThanABytePerToken) {
  chat::Request request;
  request.messages = {{chat::Role::kUser, std::string(1000, 'x'), "name"}};
  request.assistant_prefix = "12345";
  EXPECT_GE(prompt_tokens_max(request), 1009);
}

}  // namespace
}  // namespace hedge::route
