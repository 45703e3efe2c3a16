#include "privacy/base64.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace hedge::privacy {
namespace {

std::vector<std::string> decoded_base64(std::string_view text) {
  Base64Work work;
  std::vector<std::string> pieces;
  decode_base64(text, work, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

bool holds(std::string_view text, const std::string& piece) {
  const std::vector<std::string> pieces = decoded_base64(text);
  return std::any_of(pieces.begin(), pieces.end(),
                     [&](const std::string& p) { return p.find(piece) != std::string::npos; });
}

// Encoded by coreutils' base64.
TEST(Base64, FindsTextWhereverItBegins) {
  const std::string encoded = "bWFpbCBqYW5lQGV4YW1wbGUuY29tIHBsZWFzZQ==";
  for (const char* before : {"", "decode this: ", "data:text/plain;base64,", "x/", "ab/", "abc/", "path="}) {
    EXPECT_TRUE(holds(before + encoded, "jane@example.com")) << before;
    EXPECT_TRUE(holds(before + encoded + " and more", "jane@example.com")) << before;
  }
  const std::string lines =
      "QSBsb25nIGxldHRlciB0aGF0IG5lZWRzIG1vcmUgdGhhbiBvbmUgbGluZSBvZiBiYXNlNjQsIGFu\nZCB0aGF0IGVuZHMgd2l0aCBq"
      "YW5lQGV4YW1wbGUuY29tLgo=\n";
  EXPECT_TRUE(holds(lines, "one line of base64, and that ends with jane@example.com"));
}

TEST(Base64, LeavesOtherTextAlone) {
  EXPECT_TRUE(decoded_base64("How do I bake bread without yeast?").empty());
  EXPECT_TRUE(decoded_base64("").empty());
  EXPECT_TRUE(decoded_base64("====").empty());
}

}  // namespace
}  // namespace hedge::privacy
