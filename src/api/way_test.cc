#include "api/way.h"

#include <gtest/gtest.h>

namespace hedge::api {
namespace {

TEST(Way, BeginsAtThisNode) {
  const auto way = read_way("", "", "fog", 4);
  ASSERT_TRUE(way.ok());
  EXPECT_EQ(way->path, "fog");
  EXPECT_EQ(way->hops_left, 4);
}

TEST(Way, GoesOnFromWhatTheHeadersSay) {
  const auto way = read_way("device, gate.way-1", "2", "fog", 4);
  ASSERT_TRUE(way.ok());
  EXPECT_EQ(way->path, "device,gate.way-1,fog");
  EXPECT_EQ(way->hops_left, 2);
}

TEST(Way, BothLimitsHold) {
  EXPECT_EQ(read_way("a,b,c", "", "n", 4)->hops_left, 1)
      << "a sender that says nothing is not trusted with more";
  EXPECT_EQ(read_way("a,b,c", "9", "n", 4)->hops_left, 1);
  EXPECT_EQ(read_way("a", "0", "n", 4)->hops_left, 0);
  EXPECT_EQ(read_way("a,b,c,d,e", "", "n", 4)->hops_left, 0);
  EXPECT_EQ(read_way("", "3", "n", 0)->hops_left, 0);
}

TEST(Way, WrongHeadersAreNamed) {
  for (const char* path : {"a,,b", "a b", "caf\xc3\xa9", "a\nb", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"}) {
    const auto way = read_way(path, "", "n", 4);
    ASSERT_FALSE(way.ok()) << path;
    EXPECT_EQ(way.error().field, "x-hedge-path");
    EXPECT_EQ(way.error().detail.find("caf"), std::string::npos);
  }
  EXPECT_FALSE(read_way(std::string(65, 'x'), "", "n", 4).ok());
  EXPECT_TRUE(read_way(std::string(64, 'x'), "", "n", 4).ok());
  for (const char* hops : {"-1", "17", "1x", "x", "1e1", "99999999999999999999"}) {
    const auto way = read_way("", hops, "n", 4);
    ASSERT_FALSE(way.ok()) << hops;
    EXPECT_EQ(way.error().field, "x-hedge-hops");
  }
}

TEST(Way, ACircleIsSeen) {
  EXPECT_TRUE(has_passed("device,fog", "fog"));
  EXPECT_TRUE(has_passed("fog, device", "fog"));
  EXPECT_FALSE(has_passed("fog1,device", "fog"));
  EXPECT_FALSE(has_passed("", "fog"));
  EXPECT_EQ(loop_error("fog").status, 508);
}

}  // namespace
}  // namespace hedge::api
