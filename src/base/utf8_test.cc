#include "base/utf8.h"

#include <gtest/gtest.h>

namespace hedge {
namespace {

TEST(Utf8, CompletePrefixHoldsBackOnlyAnUnfinishedTail) {
  EXPECT_EQ(utf8_complete_prefix(""), 0u);
  EXPECT_EQ(utf8_complete_prefix("abc"), 3u);
  EXPECT_EQ(utf8_complete_prefix("a\xc3"), 1u);
  EXPECT_EQ(utf8_complete_prefix("a\xc3\xa9"), 3u);
  EXPECT_EQ(utf8_complete_prefix("\xf0\x9f\x98"), 0u);
  EXPECT_EQ(utf8_complete_prefix("\xf0\x9f\x98\x80"), 4u);
  EXPECT_EQ(utf8_complete_prefix("a\x80"), 2u);     // A stray continuation cannot grow.
  EXPECT_EQ(utf8_complete_prefix("\xe0\x80"), 2u);  // Overlong start is broken already.
  EXPECT_EQ(utf8_complete_prefix("\x80\x80\x80\x80"), 4u);
}

TEST(Utf8, SanitizeReplacesBrokenPieces) {
  EXPECT_EQ(utf8_sanitize("a\xff"
                          "b"),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(utf8_sanitize("\xf0\x9f\x98"), "\xef\xbf\xbd");
  EXPECT_TRUE(utf8_valid(utf8_sanitize("\xc0\xaf\xed\xa0\x80\xf5")));
  EXPECT_EQ(utf8_sanitize("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

TEST(Utf8, NextAndAppendAreInverse) {
  for (char32_t c : {U'a', U'\u00e9', U'\u20ac', U'\U0001f600', U'\U0010ffff'}) {
    std::string bytes;
    utf8_append(bytes, c);
    size_t position = 0;
    EXPECT_EQ(utf8_next(bytes, position), c);
    EXPECT_EQ(position, bytes.size());
  }
}

}  // namespace
}  // namespace hedge
