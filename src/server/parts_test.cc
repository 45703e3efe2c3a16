// The parts of the server that need no socket: guards, paths, heads, outbox, pools, histograms.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "server/guard.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/outbox.h"
#include "server/runner_pool.h"
#include "server/slots.h"
#include "server/test_fakes.h"

namespace hedge::server {
namespace {

TEST(Guard, LoopbackHosts) {
  for (const char* host : {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "127.255.0.9:8080",
                           "[::1]", "[::1]:8080"}) {
    EXPECT_TRUE(is_loopback_host(host)) << host;
  }
  for (const char* host : {"", "evil.example", "evil.example:8080", "localhost.evil.example",
                           "127.0.0.1.evil.example", "127.0.0", "127.0.0.1.2", "127.0.0.x", "128.0.0.1",
                           "[::2]", "[::1", "localhost:80x", "localhost:80:80", "a@localhost", "127.1"}) {
    EXPECT_FALSE(is_loopback_host(host)) << host;
  }
}

TEST(Guard, Origins) {
  EXPECT_FALSE(is_foreign_origin("", "localhost:8080"));
  EXPECT_FALSE(is_foreign_origin("http://localhost:8080", "localhost:8080"));
  EXPECT_TRUE(is_foreign_origin("http://localhost:9", "localhost:8080"));
  EXPECT_TRUE(is_foreign_origin("https://evil.example", "localhost:8080"));
  EXPECT_TRUE(is_foreign_origin("null", "localhost:8080"));
}

TEST(Guard, Keys) {
  EXPECT_TRUE(equal_constant_time("abc", "abc"));
  for (const char* other : {"", "ab", "abd", "abcabc", "xbc"})
    EXPECT_FALSE(equal_constant_time(other, "abc")) << other;
  EXPECT_FALSE(equal_constant_time("abc", ""));
  HttpRequest request;
  EXPECT_FALSE(has_key(request, "k"));
  request.authorization = "bearer k";
  EXPECT_TRUE(has_key(request, "k"));
  request.authorization = "Basic k";
  EXPECT_FALSE(has_key(request, "k"));
  request.authorization = "Bearer ";
  EXPECT_FALSE(has_key(request, "k"));
  request.api_key = "k";
  EXPECT_TRUE(has_key(request, "k"));
}

TEST(HttpText, Paths) {
  EXPECT_EQ(target_path("/a/b?c=/d"), "/a/b");
  EXPECT_EQ(target_path("http://host:1/a?x"), "/a");
  EXPECT_EQ(target_path("http://host"), "/");
  EXPECT_EQ(target_path("*"), "*");
  EXPECT_EQ(decode_path("/v1/models/a%2Fb%20c").value(), "/v1/models/a/b c");
  for (const char* bad : {"/%", "/%2", "/%zz", "/%0a", "/%00", "/a\x01"})
    EXPECT_FALSE(decode_path(bad).ok()) << bad;
}

TEST(HttpText, Head) {
  Reply reply;
  reply.status = 429;
  reply.headers.emplace_back("Retry-After", "2");
  const std::string head =
      head_text(reply, {.http11 = true, .keep_alive = false, .chunked = false, .content_length = 5});
  EXPECT_TRUE(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
  EXPECT_NE(head.find("\r\nContent-Length: 5\r\n"), std::string::npos);
  EXPECT_NE(head.find("\r\nConnection: close\r\n"), std::string::npos);
  EXPECT_NE(head.find("\r\nRetry-After: 2\r\n"), std::string::npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
}

TEST(Outbox, CarriesAndWakesOnce) {
  int wakes = 0;
  Outbox outbox([&] { ++wakes; });
  EXPECT_FALSE(outbox.take().head.has_value());
  outbox.begin_stream(Reply{}, ": ping\n\n");
  EXPECT_TRUE(outbox.write("a"));
  EXPECT_TRUE(outbox.write("b"));
  EXPECT_EQ(wakes, 1);
  Outbox::Taken taken = outbox.take();
  EXPECT_TRUE(taken.head && !taken.whole && !taken.finished);
  EXPECT_EQ(taken.bytes, "ab");
  outbox.finish();
  EXPECT_EQ(wakes, 2);
  EXPECT_TRUE(outbox.take().finished);
}

TEST(Outbox, FullBlocksUntilTakenOrAbandoned) {
  Outbox outbox([] {});
  const std::string block(kOutboxBytesMax, 'x');
  ASSERT_TRUE(outbox.write(block));
  std::atomic<int> written = 0;
  bool last = true;
  std::thread writer([&] {
    if (outbox.write(block)) ++written;
    last = outbox.write(block);
  });
  EXPECT_EQ(outbox.take().bytes.size(), kOutboxBytesMax);
  while (written == 0) std::this_thread::yield();
  outbox.abandon();
  writer.join();
  EXPECT_FALSE(last);
  EXPECT_TRUE(outbox.abandoned());
}

TEST(Outbox, AbandonCancelsStreamsAlsoLateOnes) {
  Outbox outbox([] {});
  auto early = std::make_shared<StreamScript>();
  auto gone = std::make_shared<StreamScript>();
  auto late = std::make_shared<StreamScript>();
  FakeStream early_stream(early);
  FakeStream gone_stream(gone);
  FakeStream late_stream(late);
  outbox.streams().add(&early_stream);
  outbox.streams().add(&gone_stream);
  outbox.streams().remove(&gone_stream);
  outbox.abandon();
  outbox.streams().add(&late_stream);
  EXPECT_TRUE(early->cancelled());
  EXPECT_FALSE(gone->cancelled());
  EXPECT_TRUE(late->cancelled());
}

TEST(RunnerPool, AllOrNone) {
  RunnerPool pool(2, 2);
  Channel<int> gate(8);
  std::atomic<int> ran = 0;
  const auto job = [&] {
    std::optional<int> item;
    (void)gate.pop(item, deadline_after(kTestLimit));
    ++ran;
  };
  EXPECT_TRUE(pool.submit(job));
  EXPECT_FALSE(pool.submit(std::vector<RunnerPool::Job>{job, job}));
  EXPECT_TRUE(pool.submit(job));
  EXPECT_FALSE(pool.submit(job));
  gate.close();
  pool.join();
  EXPECT_EQ(ran, 2);
  EXPECT_FALSE(pool.submit(job));
}

TEST(RunnerPool, FewThreadsRunManyJobs) {
  std::atomic<int> ran = 0;
  RunnerPool pool(2, 1000);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(pool.submit([&] { ++ran; }));
  pool.join();
  EXPECT_EQ(ran, 1000);
}

TEST(Slots, HoldsGiveBackOnce) {
  Slots slots(2);
  ASSERT_TRUE(slots.try_take(2));
  EXPECT_FALSE(slots.try_take(1));
  SlotHold a(slots);
  SlotHold b(std::move(a));
  a.release();
  EXPECT_EQ(slots.taken(), 2);
  b.release();
  b.release();
  EXPECT_EQ(slots.taken(), 1);
  EXPECT_FALSE(slots.try_take(2));
}

TEST(Metrics, HistogramIsCumulative) {
  Histogram histogram;
  for (const double seconds : {0.001, 0.005, 0.2, 1000.0}) histogram.observe(seconds);
  std::string out;
  histogram.write(out, "h");
  EXPECT_NE(out.find("h_bucket{le=\"0.005\"} 2\n"), std::string::npos) << out;
  EXPECT_NE(out.find("h_bucket{le=\"0.25\"} 3\n"), std::string::npos);
  EXPECT_NE(out.find("h_bucket{le=\"120\"} 3\n"), std::string::npos);
  EXPECT_NE(out.find("h_bucket{le=\"+Inf\"} 4\n"), std::string::npos);
  EXPECT_NE(out.find("h_sum 1000.206\n"), std::string::npos);
  EXPECT_NE(out.find("h_count 4\n"), std::string::npos);
}

TEST(Guard, TenantsAreKnownByTheirKeys) {
  Options options;
  HttpRequest request;
  EXPECT_EQ(tenant_of(request, options), "") << "nobody has a key";
  options.tenants = {{"office", "office-key"}, {"guest", "guest-key"}};
  EXPECT_EQ(tenant_of(request, options), std::nullopt);
  request.authorization = "Bearer guest-key";
  EXPECT_EQ(tenant_of(request, options), "guest");
  request.authorization = "Bearer guest-key-and-more";
  EXPECT_EQ(tenant_of(request, options), std::nullopt);
  options.api_key = "own-key";
  request.authorization = "";
  request.api_key = "own-key";
  EXPECT_EQ(tenant_of(request, options), "");
  request.api_key = "";
  EXPECT_EQ(tenant_of(request, options), std::nullopt);
}

}  // namespace
}  // namespace hedge::server
