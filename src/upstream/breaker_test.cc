#include "upstream/breaker.h"

#include <gtest/gtest.h>

namespace hedge::upstream {
namespace {

using State = Breaker::State;
const Deadline kStart = Deadline(Milliseconds(1'000'000));
Deadline at(int ms) { return kStart + Milliseconds(ms); }

TEST(Breaker, OpensAfterFailuresInARowOnly) {
  Breaker breaker(3, Milliseconds(100));
  EXPECT_FALSE(breaker.request_failed(at(0)));
  EXPECT_FALSE(breaker.request_failed(at(1)));
  breaker.request_succeeded();
  EXPECT_FALSE(breaker.request_failed(at(2)));
  EXPECT_FALSE(breaker.request_failed(at(3)));
  EXPECT_TRUE(breaker.allows_requests());
  EXPECT_EQ(breaker.probe_at(), kNoDeadline);
  EXPECT_TRUE(breaker.request_failed(at(4)));
  EXPECT_FALSE(breaker.allows_requests());
  EXPECT_EQ(breaker.probe_at(), at(104));
  EXPECT_EQ(breaker.retry_after(at(14)), Milliseconds(90));
}

TEST(Breaker, OnlyTheProbeCloses) {
  Breaker breaker(1, Milliseconds(100));
  EXPECT_TRUE(breaker.request_failed(at(0)));
  breaker.request_succeeded();  // began before the breaker opened
  EXPECT_EQ(breaker.state(), State::kOpen);
  EXPECT_FALSE(breaker.request_failed(at(50)));  // so did this one: it neither counts nor defers the probe
  EXPECT_EQ(breaker.probe_at(), at(100));
  breaker.probe_started();
  EXPECT_EQ(breaker.state(), State::kProbing);
  EXPECT_FALSE(breaker.allows_requests());
  EXPECT_EQ(breaker.probe_at(), kNoDeadline);
  breaker.probe_failed(at(130));
  EXPECT_EQ(breaker.probe_at(), at(230));
  breaker.probe_started();
  breaker.probe_succeeded();
  EXPECT_TRUE(breaker.allows_requests());
  EXPECT_TRUE(breaker.request_failed(at(300)));  // counting began anew, and the limit is one
}

TEST(Breaker, RetryAfterIsNeverZero) {
  Breaker breaker(1, Milliseconds(10));
  EXPECT_TRUE(breaker.request_failed(at(0)));
  EXPECT_EQ(breaker.retry_after(at(500)), Milliseconds(1));
  breaker.probe_started();
  EXPECT_EQ(breaker.retry_after(at(0)), Milliseconds(1));
}

}  // namespace
}  // namespace hedge::upstream
