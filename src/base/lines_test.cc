#include "base/lines.h"

#include <gtest/gtest.h>

#include <string>

namespace hedge {
namespace {

std::string numbered(std::string_view text) {
  std::string out;
  const Status read = each_line(text, [&](std::string_view line, size_t number) -> Status {
    out += std::to_string(number) + "=" + std::string(line) + ";";
    return {};
  });
  EXPECT_TRUE(read.ok());
  return out;
}

TEST(Lines, AreNumberedWithoutTheirEnds) {
  EXPECT_EQ(numbered(""), "");
  EXPECT_EQ(numbered("\n"), "1=;");
  EXPECT_EQ(numbered("a"), "1=a;");
  EXPECT_EQ(numbered("a\n\nb\r\nc"), "1=a;2=;3=b;4=c;");
  EXPECT_EQ(numbered("a\rb\n"), "1=a\rb;");
}

TEST(Lines, TheFirstErrorEndsIt) {
  int seen = 0;
  const Status read = each_line("a\nb\nc\n", [&](std::string_view, size_t number) -> Status {
    ++seen;
    if (number == 2) return make_error(ErrorCode::kCorrupt, "two");
    return {};
  });
  EXPECT_EQ(seen, 2);
  EXPECT_EQ(read.error().detail, "two");
}

TEST(Lines, Blank) {
  EXPECT_TRUE(is_blank(""));
  EXPECT_TRUE(is_blank(" \t\r"));
  EXPECT_FALSE(is_blank(" x"));
}

}  // namespace
}  // namespace hedge
