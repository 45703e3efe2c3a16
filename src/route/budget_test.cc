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

TEST(Budget, WhatIsReportedBeyondTheBoundCountsAsFarAsThereIsRoom) {
  Budget budget({Amount(1000, 0), Amount(300, 0)}, [] { return kDayMs; });
  auto first = budget.reserve(100, 1);
  auto second = budget.reserve(100, 1);
  EXPECT_EQ(first->settle(150).tokens, 150) << "100 are held for the other, 200 are free";
  EXPECT_EQ(budget.beyond(1).tokens, 0);
  EXPECT_EQ(budget.surplus().tokens, 50);
  EXPECT_EQ(second->settle(5000).tokens, 150);
  EXPECT_EQ(budget.used(1).tokens, 300);
  EXPECT_EQ(budget.used().tokens, 300);
  EXPECT_EQ(budget.beyond(1).tokens, 4850);
  EXPECT_EQ(budget.beyond().tokens, 4850);
}

TEST(Budget, AnUpstreamThatReportsTooMuchIsTakenAtItsWord) {
  int64_t now = kDayMs;
  Budget budget({Amount(0, 0), Amount(1000, 0), Amount(0, 0)}, [&now] { return now; });
  budget.reserve(100, 1)->settle(400);
  EXPECT_TRUE(budget.why_not(300, 1).empty()) << "300 and 300 of 600";
  EXPECT_NE(budget.why_not(301, 1).find("601 tokens"), std::string::npos) << budget.why_not(301, 1);
  auto again = budget.reserve(100, 1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->amount().tokens, 400);
  again->settle(400);
  EXPECT_EQ(budget.surplus().tokens, 300) << "it was foreseen";
  EXPECT_FALSE(budget.reserve(1, 1)) << "200 are left, 301 would be held";
  EXPECT_EQ(budget.reserve(100, 2)->amount().tokens, 100) << "who has no limit needs no more";
  now += kDayMs;
  EXPECT_TRUE(budget.fits(1000, 1)) << "a new day is a new chance";
}

TEST(Budget, OfWhoHasNoLimitNothingIsLearned) {
  Budget budget({Amount(0, 0), Amount(100, 0)}, [] { return kDayMs; });
  EXPECT_EQ(budget.reserve(10)->settle(90).tokens, 90);
  EXPECT_EQ(budget.surplus().tokens, 0);
  EXPECT_EQ(budget.beyond().tokens, 0);
}

// Whatever is reported, no limit is ever passed, and the sum of what counts is what is used.
TEST(Budget, SixtyFourStreamsWithLyingUpstreamsDoNotOverspend) {
  const std::vector<Amount> limits = {Amount(500'000, 0), Amount(200'000, 900'000)};
  Budget budget(limits, [] { return kDayMs; });
  std::atomic<int64_t> counted = 0;
  std::atomic<int> over = 0;
  std::vector<std::thread> streams;
  for (unsigned id = 0; id < 64; ++id) {
    streams.emplace_back([&, id] {
      const size_t account = id % 2;
      for (unsigned i = 0; i < 50; ++i) {
        auto reservation = budget.reserve(Amount(500, 1000), account);
        if (!reservation) return;
        std::this_thread::yield();
        const int64_t factor = 1 + (id * 7 + i * 13) % 40;
        counted += reservation->settle(Amount(500 * factor, 1000 * factor)).tokens;
        for (const size_t a : {size_t{0}, size_t{1}}) {
          const Amount now = budget.used(a);
          if (now.tokens > limits[a].tokens) ++over;
          if (limits[a].nanos > 0 && now.nanos > limits[a].nanos) ++over;
        }
      }
    });
  }
  for (std::thread& stream : streams) stream.join();
  EXPECT_EQ(over, 0);
  EXPECT_EQ(budget.used().tokens, counted);
  EXPECT_GT(budget.surplus().tokens, 0);
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

TEST(Budget, TenantsHaveTheirOwnWithinTheDevices) {
  Budget budget({Amount(100, 1000), Amount(60, 0), Amount(0, 500)}, [] { return kDayMs; });
  EXPECT_FALSE(budget.reserve(61, 1)) << "the tenant's";
  auto first = budget.reserve(60, 1);
  ASSERT_TRUE(first);
  EXPECT_FALSE(budget.reserve(41, 2)) << "the device's";
  EXPECT_FALSE(budget.reserve(Amount(1, 501), 2)) << "the tenant's money";
  auto second = budget.reserve(Amount(40, 500), 2);
  ASSERT_TRUE(second);
  EXPECT_FALSE(budget.reserve(1));
  first->settle(Amount(10, 100));
  second->settle(Amount(5, 50));
  EXPECT_EQ(budget.used(1).tokens, 10);
  EXPECT_EQ(budget.used(2).nanos, 50);
  EXPECT_EQ(budget.used().tokens, 15);
  EXPECT_EQ(budget.used().nanos, 150);
  budget.seed(Amount(20, 10), 1);
  EXPECT_EQ(budget.used(1).tokens, 30);
  EXPECT_EQ(budget.used().tokens, 35);
  EXPECT_TRUE(budget.limited(0) && budget.limited(1) && budget.limited(2));
}

// 64 streams that reserve, wait and settle at random: neither a tenant nor the device is ever above its
// limit, at any time.
TEST(Budget, SixtyFourStreamsDoNotOverspend) {
  const std::vector<Amount> limits = {Amount(50'000, 400'000), Amount(20'000, 0), Amount(0, 100'000),
                                      Amount(0, 0)};
  Budget budget(limits, [] { return kDayMs; });
  std::atomic<int64_t> spent_tokens[4] = {}, spent_nanos[4] = {};
  std::atomic<int> refused = 0, over = 0;
  std::vector<std::thread> streams;
  for (unsigned id = 0; id < 64; ++id) {
    streams.emplace_back([&, id] {
      uint32_t random = id * 2654435761u + 1;  // Knuth's multiplicative hash as a seed
      const auto next = [&random](uint32_t below) {
        random = random * 1664525u + 1013904223u;
        return static_cast<int64_t>((random >> 8) % below);
      };
      for (int i = 0; i < 200; ++i) {
        const size_t account = 1 + static_cast<size_t>(next(3));
        const Amount bound(1 + next(2000), 1 + next(20000));
        auto reservation = budget.reserve(bound, account);
        if (!reservation) {
          ++refused;
          continue;
        }
        std::this_thread::yield();
        const Amount used(next(static_cast<uint32_t>(bound.tokens) + 1),
                          next(static_cast<uint32_t>(bound.nanos) + 1));
        for (const size_t a : {size_t{0}, account}) {
          spent_tokens[a] += used.tokens;
          spent_nanos[a] += used.nanos;
        }
        reservation->settle(used);
        for (const size_t a : {size_t{0}, account}) {
          const Amount now = budget.used(a);
          if (limits[a].tokens > 0 && now.tokens > limits[a].tokens) ++over;
          if (limits[a].nanos > 0 && now.nanos > limits[a].nanos) ++over;
        }
      }
    });
  }
  for (std::thread& stream : streams) stream.join();
  EXPECT_EQ(over, 0);
  EXPECT_GT(refused, 0) << "the limits were never reached, so nothing was tested";
  for (size_t a = 0; a < limits.size(); ++a) {
    EXPECT_EQ(budget.used(a).tokens, spent_tokens[a]);
    EXPECT_EQ(budget.used(a).nanos, spent_nanos[a]);
  }
}

}  // namespace
}  // namespace hedge::route
