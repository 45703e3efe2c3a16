#include "chat/stop_filter.h"

#include <gtest/gtest.h>

#include "chat/trace.h"

namespace hedge::chat {
namespace {

TEST(StopFilter, CutsBeforeAStopStringSplitOverPieces) {
  StopFilter filter({"\nUser:", "END"});
  EXPECT_EQ(filter.push("Hello\nUs"), "Hello");
  EXPECT_EQ(filter.held_bytes(), 3u);
  EXPECT_EQ(filter.push("er: next"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
}

TEST(StopFilter, ReleasesWhatTurnsOutHarmless) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("the E"), "the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("X"), "ENX");
  EXPECT_EQ(filter.push("E"), "");
  EXPECT_EQ(filter.flush(), "E");
}

TEST(StopFilter, FirstOfSeveralWins) {
  StopFilter filter({"bc", "b"});
  EXPECT_EQ(filter.push("abc"), "a");
  EXPECT_TRUE(filter.stopped());
}

TEST(Segments, NeighboursOfOneBackendAreMerged) {
  std::vector<Segment> segments;
  append_segment(segments, "local", 3);
  append_segment(segments, "local", 0);
  append_segment(segments, "local", 2);
  append_segment(segments, "up", 0);
  append_segment(segments, "up", 4);
  EXPECT_EQ(segments, (std::vector<Segment>{{"local", 5}, {"up", 4}}));
}

}  // namespace
}  // namespace hedge::chat
