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

// "n:" a name, "s:" a string, "1:" a number, "l:" a literal; "!" where no piece follows.
Texts pieces(std::string_view json) {
  Texts out;
  size_t at = 0;
  while (const auto piece = next_json_piece(json, at)) {
    constexpr std::string_view kKinds = "ns1l";
    out.push_back(std::string(1, kKinds[static_cast<size_t>(piece->kind)]) + ":" +
                  std::string(json.substr(piece->begin, piece->end - piece->begin)));
  }
  if (at < json.size()) out.push_back("!");
  return out;
}

TEST(JsonStrings, PiecesAreNamesStringsNumbersAndLiterals) {
  EXPECT_EQ(pieces(R"( {"a" : "b\"c", "d":[1,-2.5e3,true,null,{"":"x"}]} )"),
            (Texts{"n:a", R"(s:b\"c)", "n:d", "1:1", "1:-2.5e3", "l:true", "l:null", "n:", "s:x"}));
  EXPECT_EQ(pieces("{\"a"), (Texts{"!"}));
  EXPECT_EQ(pieces("{\"a\\\""), (Texts{"!"}));
  EXPECT_EQ(pieces("[1 apple]"), (Texts{"1:1", "!"}));
}

TEST(JsonStrings, KnowsATextOfJson) {
  for (const char* json : {"{}", " [1, 2]\n", R"({"a":{"b":null}})"}) EXPECT_TRUE(is_json_text(json)) << json;
  for (const char* text :
       {"", " ", "12", "\"a\"", "[1] See there", "{x}", "[a]", R"({"a":"b})", "see {\"a\":1}"})
    EXPECT_FALSE(is_json_text(text)) << text;
}

TEST(JsonStrings, EscapesAndBack) {
  std::string written, read;
  const std::string text = "a\"b\\c\n\r\t\x01/\xc3\xa9";
  append_json_escaped(written, text);
  EXPECT_EQ(written, R"(a\"b\\c\n\r\t\u0001/)"
                     "\xc3\xa9");
  append_json_unescaped(read, written);
  EXPECT_EQ(read, text);
}

}  // namespace
}  // namespace hedge
