#include "base/json_strings.h"

#include <gtest/gtest.h>

namespace hedge {
namespace {

using Texts = std::vector<std::string>;

TEST(JsonStrings, GivesNamesAndValuesAsTheirReaderSeesThem) {
  EXPECT_EQ(json_strings(R"({"a":["b",1,{"c":"d\n\"e\"\\"}]})"), (Texts{"a", "b", "c", "d\n\"e\"\\"}));
  EXPECT_EQ(json_strings(R"(["jane\u0040example.com","\u00e9\uD83D\ude00"])"),
            (Texts{"jane@example.com", "\xc3\xa9\xf0\x9f\x98\x80"}));
  EXPECT_EQ(json_strings("12"), Texts());
  EXPECT_EQ(json_strings(""), Texts());
}

TEST(JsonStrings, TakesAnyBytes) {
  EXPECT_EQ(json_strings("\"a"), (Texts{"a"}));
  EXPECT_EQ(json_strings("\"a\\"), (Texts{"a\\"}));
  EXPECT_EQ(json_strings("\"\\u12\""), (Texts{"u12"}));
  EXPECT_EQ(json_strings("\"\\ud800x\""), (Texts{"\xef\xbf\xbdx"}));
  EXPECT_EQ(json_strings("\""), (Texts{""}));
}

}  // namespace
}  // namespace hedge
