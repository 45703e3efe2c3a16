#include "session/history.h"

#include <gtest/gtest.h>

namespace hedge::session {
namespace {

using chat::Message;
using chat::Role;

std::string hex(const std::string& bytes) {
  std::string out;
  for (const unsigned char byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

// Made with Python's hashlib over struct.pack("<Q", len(field)) + field of previous, role, name and stripped
// content.
TEST(History, HashIsTheOneOfAnotherImplementation) {
  const std::string first = extend_history("", Message{Role::kUser, "Hi\n", ""});
  EXPECT_EQ(hex(first), "0656fa5d3723c873328d357563ad0e09b633be41a0e927ea17e1ffa7256232d7");
  EXPECT_EQ(hex(extend_history(first, Message{Role::kAssistant, "Grüß Gott", ""})),
            "69f9e3611f4061cc4fccb6b6d29aac0ed30c014861d2ae3020b6ab91cc9538fe");
}

TEST(History, EveryFieldAndTheirBordersCount) {
  const Message base{Role::kUser, "ab", "c"};
  const std::string hash = extend_history("", base);
  EXPECT_NE(hash, extend_history("", Message{Role::kSystem, "ab", "c"}));
  EXPECT_NE(hash, extend_history("", Message{Role::kUser, "abc", ""}));
  EXPECT_NE(hash, extend_history("", Message{Role::kUser, "a", "bc"}));
  EXPECT_NE(hash, extend_history(hash, base));
}

TEST(History, WhiteSpaceAtTheEndsDoesNotCount) {
  EXPECT_TRUE(same_message({Role::kUser, " a b\n", ""}, {Role::kUser, "a b", ""}));
  EXPECT_FALSE(same_message({Role::kUser, "a  b", ""}, {Role::kUser, "a b", ""}));
  EXPECT_TRUE(same_message({Role::kUser, " \n", ""}, {Role::kUser, "", ""}));
  EXPECT_EQ(extend_history("", {Role::kUser, "\ta b ", ""}), extend_history("", {Role::kUser, "a b", ""}));
}

TEST(History, OneHashPerAnswer) {
  const std::vector<Message> messages = {{Role::kSystem, "s", ""},    {Role::kUser, "u", ""},
                                         {Role::kAssistant, "a", ""}, {Role::kUser, "v", ""},
                                         {Role::kTool, "t", ""},      {Role::kAssistant, "b", ""},
                                         {Role::kUser, "w", ""}};
  const std::vector<std::string> hashes = answered_histories(messages);
  ASSERT_EQ(hashes.size(), 2u);
  std::string expected;
  for (size_t i = 0; i < 6; ++i) {
    expected = extend_history(expected, messages[i]);
    if (i == 2) {
      EXPECT_EQ(hashes[0], expected);
    }
  }
  EXPECT_EQ(hashes[1], expected);
  EXPECT_TRUE(answered_histories(std::span(messages).first(2)).empty());
}

}  // namespace
}  // namespace hedge::session
