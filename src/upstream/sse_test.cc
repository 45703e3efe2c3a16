#include "upstream/sse.h"

#include <gtest/gtest.h>

namespace hedge::upstream {
namespace {

std::vector<std::string> parse(const std::vector<std::string>& pieces, bool at_end = false) {
  SseParser parser;
  std::vector<SseEvent> events;
  for (const std::string& piece : pieces) EXPECT_TRUE(parser.push(piece, events).ok());
  SseEvent last;
  if (at_end && parser.finish(last)) events.push_back(last);
  std::vector<std::string> out;
  for (const SseEvent& event : events) out.push_back(event.name + "|" + event.data);
  return out;
}

using Events = std::vector<std::string>;

// The examples of the standard's section 9.2.6.
TEST(Sse, ExamplesOfTheStandard) {
  EXPECT_EQ(parse({"data: YHOO\ndata: +2\ndata: 10\n\n"}), (Events{"|YHOO\n+2\n10"}));
  EXPECT_EQ(
      parse({": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"}),
      (Events{"|first event", "|second event", "| third event"}));
  EXPECT_EQ(parse({"data\n\ndata\ndata\n\ndata:"}), (Events{"|", "|\n"}));
  EXPECT_EQ(parse({"data:test\n\ndata: test\n\n"}), (Events{"|test", "|test"}));
}

TEST(Sse, LineEndsOfAllKindsInAnyPieces) {
  EXPECT_EQ(parse({"data: a\r\n\r\ndata: b\r\rdata: c\n\n"}), (Events{"|a", "|b", "|c"}));
  EXPECT_EQ(parse({"data: a\r", "\n\r", "\ndata: b\r", "\r", "\n", "\n"}), (Events{"|a", "|b"}));
  EXPECT_EQ(parse({"\xef\xbb", "\xbf", "data: a\n\n"}), (Events{"|a"}));
}

TEST(Sse, NamesBelongToOneEvent) {
  EXPECT_EQ(parse({"event: error\ndata: x\n\ndata: y\n\n"}), (Events{"error|x", "|y"}));
  EXPECT_EQ(parse({"event: ping\n\ndata: y\n\n"}), (Events{"|y"}));  // an event without data is none
}

TEST(Sse, TheUnfinishedEventIsTheCallersChoice) {
  EXPECT_EQ(parse({"data: a\n\ndata: b"}), (Events{"|a"}));
  EXPECT_EQ(parse({"data: a\n\ndata: b"}, true), (Events{"|a", "|b"}));
  EXPECT_EQ(parse({"data: a\n\n"}, true), (Events{"|a"}));
}

TEST(Sse, LimitsAreErrors) {
  std::vector<SseEvent> events;
  SseParser long_line;
  ASSERT_TRUE(long_line.push("data: " + std::string(kSseEventBytesMax - 100, 'x'), events).ok());
  const Status status = long_line.push(std::string(200, 'x'), events);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);

  SseParser many_lines;
  Status last;
  for (int i = 0; i < 2000 && last.ok(); ++i)
    last = many_lines.push("data: " + std::string(1024, 'x') + "\n", events);
  ASSERT_FALSE(last.ok());
  EXPECT_EQ(last.error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(events.empty());
}

}  // namespace
}  // namespace hedge::upstream
