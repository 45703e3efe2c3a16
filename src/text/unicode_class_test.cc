#include "text/unicode_class.h"

#include <gtest/gtest.h>

#include <string>

namespace hedge::text {
namespace {

TEST(UnicodeClass, PublishedCategories) {
  // Values of UnicodeData.txt 15.1.
  EXPECT_EQ(class_byte('a'), 'a');
  EXPECT_EQ(class_byte(0x85), kSpace);
  EXPECT_EQ(class_byte(0xa0), kSpace);
  EXPECT_EQ(class_byte(0x3000), kSpace);
  EXPECT_EQ(class_byte(0x180e), kOther) << "Cf since Unicode 6.3";
  EXPECT_EQ(class_byte(0xbd), kNumber);
  EXPECT_EQ(class_byte(0x0663), kNumber);
  EXPECT_EQ(class_byte(0x2167), kNumber);
  EXPECT_EQ(class_byte(0xe9), kLetter);
  EXPECT_EQ(class_byte(0x4e2d), kLetter);
  EXPECT_EQ(class_byte(0x2ebf0), kLetter) << "new in 15.1";
  EXPECT_EQ(class_byte(0x897), kOther) << "new in 16";
  EXPECT_EQ(class_byte(0x0301), kMark);
  EXPECT_EQ(class_byte(0x2026), kPunctuation);
  EXPECT_EQ(class_byte(0x20ac), kSymbol);
  EXPECT_EQ(class_byte(0x1f999), kSymbol);
  EXPECT_EQ(class_byte(0xe000), kOther);
  EXPECT_EQ(class_byte(0x10ffff), kOther);
}

TEST(UnicodeClass, TextIsKeptWhenItIsWhole) {
  const std::string text = "a\u00e9\u4e2d \U0001f999\u2003!";
  ClassText out;
  classify(text, out);
  EXPECT_EQ(out.utf8.data(), text.data());
  EXPECT_EQ(out.strict_utf8.data(), text.data());
  EXPECT_EQ(out.classes, "a\xd2\xd2 \xd5\x0b!");
  EXPECT_FALSE(out.ascii());

  ClassText ascii;
  classify("only ASCII, 18 long", ascii);
  EXPECT_TRUE(ascii.ascii());
  ClassText empty;
  classify("", empty);
  EXPECT_EQ(empty.classes, "");
}

TEST(UnicodeClass, BrokenBytesBecomeReplacementCharacters) {
  const auto expect = [](std::string_view text, std::string_view utf8, std::string_view classes) {
    ClassText out;
    classify(text, out);
    EXPECT_EQ(out.utf8, utf8);
    EXPECT_EQ(out.classes, classes);
    EXPECT_EQ(out.strict_utf8.size(), out.utf8.size());
  };
  expect("x\xff", "x\ufffd", "x\xd5");
  expect("\xe4\xb8", "\ufffd\ufffd", "\xd5\xd5");
  expect("\x80z", "\ufffdz", "\xd5z");
  expect("\xc1\x81", "A", "A");                                                // overlong
  expect("\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd", "\xd5\xd5\xd5\xd5");  // beyond U+10FFFF
  expect("\xed\xa0\x80", "\xed\xa0\x80", "\xd0");  // a surrogate stays, as in llama.cpp
  ClassText out;
  classify("a\xed\xa0\x80\xed\xbf\xbf", out);
  EXPECT_EQ(out.strict_utf8, "a\ufffd\ufffd");
}

}  // namespace
}  // namespace hedge::text
