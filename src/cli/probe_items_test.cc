#include "cli/probe_items.h"

#include <gtest/gtest.h>

#include <string>

namespace hedge::cli {
namespace {

std::string error_of(std::string_view text, bool need_accept = true) {
  const auto items = parse_probe_items(text, "q.jsonl", need_accept);
  return items.ok() ? "fine" : items.error().detail;
}

TEST(ProbeItems, ReadsConversationsAndCompletions) {
  const auto items = parse_probe_items(
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "accept": "a", "cell": "x", "group": "g"}

{"text": "The sky is", "accept": "blue", "cell": "y", "group": "g"}
{"text": "Grass is", "accept": "green", "cell": "x"}
)",
      "q.jsonl", true);
  ASSERT_TRUE(items.ok()) << items.error().to_text();
  ASSERT_EQ(items->size(), 3u);
  EXPECT_FALSE((*items)[0].raw);
  ASSERT_EQ((*items)[0].messages.size(), 2u);
  EXPECT_EQ((*items)[0].messages[0].role, chat::Role::kSystem);
  EXPECT_EQ((*items)[0].messages[1].content, "q");
  EXPECT_TRUE((*items)[1].raw);
  EXPECT_EQ((*items)[1].text, "The sky is");
  EXPECT_EQ((*items)[0].cell, (*items)[2].cell);
  EXPECT_NE((*items)[0].cell, (*items)[1].cell);
  EXPECT_EQ((*items)[0].group, (*items)[1].group);
  EXPECT_NE((*items)[0].group, (*items)[2].group);
  EXPECT_EQ(error_of(R"({"text": "a"})", false), "fine");
}

TEST(ProbeItems, ErrorsNameTheLine) {
  EXPECT_EQ(error_of(""), "q.jsonl: expected a JSON object a line, got no line");
  EXPECT_EQ(error_of("\n{\"text\": \"a\", \"accept\": \"b\"}\nnope"), "q.jsonl:3: expected a JSON object");
  EXPECT_EQ(error_of("{}"), "q.jsonl:1: expected either \"messages\" or \"text\"");
  EXPECT_EQ(error_of(R"({"text": "a"})").find("q.jsonl:1: expected \"accept\""), 0u);
  EXPECT_EQ(error_of(R"({"text": 5, "accept": "a"})").find("q.jsonl:1: \"text\""), 0u);
  EXPECT_EQ(error_of(R"({"messages": [], "accept": "a"})").find("q.jsonl:1: \"messages\""), 0u);
  EXPECT_EQ(error_of(R"({"messages": [{"role": "tool", "content": ""}], "accept": "a"})").find("q.jsonl:1: "),
            0u);
  EXPECT_EQ(error_of(R"({"text": "a", "accept": "b", "cell": 7})"), "q.jsonl:1: \"cell\": expected a text");
}

TEST(ProbeItems, AnswersAreJudgedByPerlsExpressions) {
  auto items = parse_probe_items(R"({"text": "a", "accept": "(?i)\\A(?!.*no).*yes"}
{"text": "b", "accept": "(?<![a-z])cat"})",
                                 "q.jsonl", true);
  ASSERT_TRUE(items.ok());
  const auto judged = judge_probe_answers(*items, {"YES", "concat"});
  ASSERT_TRUE(judged.ok()) << judged.error().to_text();
  EXPECT_EQ(*judged, (std::vector<bool>{true, false}));
  (*items)[1].accept = "(";
  const auto broken = judge_probe_answers(*items, {"YES", "concat"});
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().detail.find("item 2: \"accept\""), 0u) << broken.error().detail;
  // An expression that would search for ever is stopped.
  (*items)[1].accept = "(a+)+$";
  EXPECT_FALSE(judge_probe_answers(*items, {"YES", std::string(40, 'a') + "b"}).ok());
}

TEST(ProbeItems, ACompletionEndsWithItsFirstWholeWord) {
  bool whole = true;
  EXPECT_EQ(first_word(" cat", whole), " cat");
  EXPECT_FALSE(whole);
  EXPECT_EQ(first_word(" cat sat", whole), " cat");
  EXPECT_TRUE(whole);
  EXPECT_EQ(first_word("\n cat\n", whole), "\n cat");
  EXPECT_TRUE(whole);
  EXPECT_EQ(first_word(" \n", whole), " \n");
  EXPECT_FALSE(whole);
}

}  // namespace
}  // namespace hedge::cli
