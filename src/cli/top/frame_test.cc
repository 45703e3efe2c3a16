#include "cli/top/frame.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cli/numbers.h"

namespace hedge::cli {
namespace {

server::StatusReport busy() {
  server::StatusReport s;
  s.version = "9.9";
  s.model = "some-model";
  s.uptime_s = 3723;
  s.context_tokens = 4096;
  s.slots = 4;
  s.http = {12, 3, 64, 1234, 5, 2, 1};
  s.engine.queued = 2;
  s.engine.prompt_tokens = 1000;
  s.engine.cached_tokens = 600;
  s.engine.completion_tokens = 500;
  s.engine.kv_bytes_max = 256'000'000;
  s.engine.kv_bytes_used = 34'000'000;
  s.running = {{120, 64, 120, 33, 21.5, 2.4}, {2000, 0, 500, 0, 0, 0.9}};
  s.router.local = 70;
  s.router.upstream = 20;
  s.router.mixed = 10;
  s.router.kept_private = 7;
  s.recent.window_s = 600;
  s.recent.local = 5;
  s.recent.reasons = {{"gate.personal_data", 12}, {"confidence.first", 3}};
  s.recent.first_text_p50_ms = 120;
  s.recent.first_text_p95_ms = 1300;
  s.upstream =
      server::UpstreamStatus{"cloud", "org/big", false, "breaker_open", 20, 3, 1, 900, 800, 210, 420};
  s.budgets = {{"", 95'000, 100'000, 0.0123, 0.5}, {"office", 10, 0, 0, 0}};
  s.device = {512'000'000, true, true, 42.0, 63.0};
  return s;
}

std::vector<std::string> draw(const server::StatusReport& s, FrameStyle style,
                              std::string_view trouble = {}) {
  Watch watch;
  watch.add(s, 1);
  return frame_of(watch, "http://127.0.0.1:8080", trouble, style);
}

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

std::string without_ansi(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\x1b') {
      at = text.find('m', at);
    } else {
      out += text[at];
    }
  }
  return out;
}

TEST(Frame, ShowsWhatTheServerSays) {
  const std::string text = joined(draw(busy(), {100, 40}));
  for (const char* said : {"hedge 9.9",
                           "some-model",
                           "up 1 h 02 min",
                           "3 of 64 answers running",
                           "2 waiting",
                           "2 failed",
                           "21.5 here",
                           "70 % here",
                           "20 % upstream",
                           "10 % both",
                           "of 100",
                           "kept private 7",
                           "first text 120 ms (p95 1.3 s)",
                           "2 of 4 slots",
                           "writes",
                           "reads",
                           "2,000",
                           "not available: breaker_open",
                           "3 failed",
                           "breaker opened 1 time;",
                           "95,000 of 100,000 tokens",
                           "0.0123 of 0.500",
                           "95 %",
                           "office",
                           "no limit",
                           "gate.personal_data",
                           "confidence.first",
                           "512.0 MB",
                           "KV 34.0 MB of 256.0 MB",
                           "prompts 60 % cached",
                           "63 C",
                           "battery 42 %",
                           "on battery",
                           "online"})
    EXPECT_NE(text.find(said), std::string::npos) << said << "\n" << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Frame, FitsEverySizeOfTerminal) {
  server::StatusReport many = busy();
  many.model = std::string(300, 'm');
  many.running.resize(64, many.running[0]);
  for (int i = 0; i < 100; ++i) many.recent.reasons.push_back({"reason." + std::to_string(i), 1});
  for (int i = 0; i < 50; ++i) many.budgets.push_back({"tenant" + std::to_string(i), 1, 2, 0, 0});
  server::StatusReport wide = busy();
  wide.model = "模型模型模型模型模型";
  for (const server::StatusReport& report : {busy(), many, wide, server::StatusReport()}) {
    for (const int columns : {1, 2, 7, 20, 39, 40, 60, 79, 80, 81, 200, 500}) {
      for (const int rows : {1, 2, 5, 10, 23, 24, 60}) {
        for (const bool colour : {false, true}) {
          FrameStyle style{columns, rows, colour, colour, true};
          const auto lines = draw(report, style, "not current: gone");
          ASSERT_LE(lines.size(), static_cast<size_t>(rows));
          for (const std::string& line : lines) ASSERT_LE(columns_of(without_ansi(line)), columns) << line;
          if (rows >= 2 && columns >= 7) {
            EXPECT_NE(lines.back().find("q quits"), std::string::npos);
          }
        }
      }
    }
  }
}

TEST(Frame, EveryPartStandsInEightyByTwentyFour) {
  server::StatusReport s = busy();
  s.running.resize(4, s.running[0]);
  const std::string text = joined(draw(s, {80, 24, false, false, true}));
  for (const char* said : {"requests", "tokens/s", "answers", "10 min", "memory", "device", "RUNNING HERE",
                           "UPSTREAM", "today", "WHY", "gate.personal_data", "q quits"})
    EXPECT_NE(text.find(said), std::string::npos) << said << "\n" << text;
}

TEST(Frame, ColoursAndTroubleAreForTerminals) {
  FrameStyle style;
  style.colour = true;
  const std::string text = joined(draw(busy(), style, "not current: gone\x1b[2J"));
  EXPECT_NE(text.find("\x1b[31m"), std::string::npos);
  EXPECT_NE(text.find("not current: gone\\x1b[2J"),
            std::string::npos);  // what comes from outside drives nothing
}

TEST(Frame, NamesFromOutsideDriveNoTerminal) {
  server::StatusReport s = busy();
  s.model = "a\x1b]0;x\a";
  s.recent.reasons = {{"\x1b[2J", 1}};
  s.upstream->name = "\n\n";
  s.budgets[1].tenant = "\x1b[1m";
  const std::string text = joined(draw(s, {100, 40}));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\a'), std::string::npos);
}

TEST(WatchTest, SpeedsAreDifferencesAndBeginAnewWithAnotherServer) {
  server::StatusReport s = busy();
  Watch watch;
  watch.add(s, 10);
  EXPECT_EQ(watch.local_tps(), 21.5);  // what the running answers say
  s.uptime_s += 2;
  s.engine.completion_tokens += 50;
  s.upstream->completion_tokens += 10;
  watch.add(s, 12);
  EXPECT_EQ(watch.local_tps(), 25);
  EXPECT_EQ(watch.upstream_tps(), 5);
  ASSERT_EQ(watch.speeds().size(), 1U);
  EXPECT_EQ(watch.speeds()[0], 30);
  s.uptime_s = 1;
  s.engine.completion_tokens = 0;
  s.running.clear();
  watch.add(s, 14);
  EXPECT_EQ(watch.local_tps(), 0);
  EXPECT_TRUE(watch.speeds().empty());
  for (int i = 0; i < 1000; ++i) {
    s.uptime_s += 1;
    watch.add(s, 15 + i);
  }
  EXPECT_EQ(watch.speeds().size(), Watch::kSamplesMax);
}

TEST(Numbers, AreReadable) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(-1234567), "-1,234,567");
  EXPECT_EQ(percent(0), "0 %");
  EXPECT_EQ(percent(0.004), "0.4 %");
  EXPECT_EQ(percent(0.125), "12 %");
  EXPECT_EQ(percent(1), "100 %");
  EXPECT_EQ(milliseconds(0.25), "0.2 ms");
  EXPECT_EQ(milliseconds(340), "340 ms");
  EXPECT_EQ(milliseconds(2100), "2.1 s");
  EXPECT_EQ(milliseconds(65000), "1 min 05 s");
  EXPECT_EQ(span_of(59), "59 s");
  EXPECT_EQ(span_of(3723), "1 h 02 min");
  EXPECT_EQ(span_of(90000), "1 d 1 h");
  EXPECT_EQ(money(0), "0");
  EXPECT_EQ(money(0.0123), "0.0123");
  EXPECT_EQ(money(0.5), "0.500");
  EXPECT_EQ(money(12.345), "12.35");
}

}  // namespace
}  // namespace hedge::cli
