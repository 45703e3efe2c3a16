#include "route/word_end.h"

#include <gtest/gtest.h>

namespace hedge::route {
namespace {

TEST(WordEnd, CutsBeforeSpaceAndAfterLineBreaksAndInScriptsWithoutSpaces) {
  struct Case {
    const char* before;
    const char* next;
    int cut;  // -1: none
  };
  const Case cases[] = {
      {"The capital", " of", 0},
      {"The capital of Ja", "pan is", 3},
      {"The capital of Ja", "pan", -1},
      {"", "Hello", 0},
      {"line\n", "next", 0},
      {"line", "\nnext", 0},
      {"don", "'t know", 2},
      {"3", ".14", -1},
      {"example", ".com", -1},
      {"end", ". Then", 1},
      {"said \"", "yes\"", -1},
      {"(a)", ").", 0},
      {"snake", "_case", -1},
      {"caf", "é au", 2},
      {"日本", "語です", 0},
      {"tool", "として", 0},
      {"東京", "2020", 0},
      {"안녕", "하세요", 0},
      {"ภาษ", "าไทย", 0},
      {"กำ", "\u0e49", -1},  // a tone mark belongs to the letter before
      {"e", "\u0301t", -1},  // combining accent
      {"👩", "\u200d🔬", -1},  // one emoji of three parts
      {"👍", "🏽", -1},
      {"👍", "👍", 0},
      {"🇫", "🇷", -1},         // half a flag
      {"word ", "next", -1},  // the space begins the next token
      {"word", "\u00a0next", 0},
      {"x", "\xff", -1},
  };
  for (const Case& c : cases) {
    const std::optional<size_t> cut = word_end_in(c.before, c.next);
    EXPECT_EQ(cut ? static_cast<int>(*cut) : -1, c.cut) << c.before << "|" << c.next;
  }
}

TEST(WordEnd, WhatMayBeHalfAWordIsHealed) {
  for (const char* text : {"The capital of Ja", "caf\u00e9", "e\u0301", "1", "word ", "snake_"}) {
    EXPECT_TRUE(may_end_inside_word(text)) << text;
  }
  for (const char* text : {"", "Done.", "line\n", "日本", "said \""})
    EXPECT_FALSE(may_end_inside_word(text)) << text;
}

}  // namespace
}  // namespace hedge::route
