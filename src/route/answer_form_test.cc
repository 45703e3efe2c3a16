#include "route/answer_form.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace hedge::route {
namespace {

// The number of tokens after which a loop is told, 0 for never.
int told_after(const std::vector<int32_t>& ids) {
  LoopWatch watch;
  for (size_t i = 0; i < ids.size(); ++i)
    if (watch.push(ids[i])) return static_cast<int>(i + 1);
  return 0;
}

std::vector<int32_t> repeated(int period, int tokens) {
  std::vector<int32_t> ids;
  for (int i = 0; i < tokens; ++i) ids.push_back(100 + i % period);
  return ids;
}

TEST(LoopWatch, TellsLoopsOfAnyPeriodOnce) {
  for (const int period : {1, 2, 3, 7, 16, 64}) {
    const int expected = std::max(LoopWatch::kTokensMin, LoopWatch::kCopiesMin * period);
    EXPECT_EQ(told_after(repeated(period, 400)), expected) << period;
    std::vector<int32_t> ids = {1, 2, 3, 4, 5};
    const std::vector<int32_t> loop = repeated(period, 400);
    ids.insert(ids.end(), loop.begin(), loop.end());
    EXPECT_EQ(told_after(ids), expected + 5) << period;
    LoopWatch watch;
    int told = 0;
    for (const int32_t id : loop) told += watch.push(id) ? 1 : 0;
    EXPECT_EQ(told, 1) << period;
  }
}

TEST(LoopWatch, StaysSilentWithoutALoop) {
  EXPECT_EQ(told_after(repeated(65, 400)), 0);  // longer than it looks back
  EXPECT_EQ(told_after(repeated(3, 31)), 0);    // too short
  EXPECT_EQ(told_after(repeated(20, 79)), 0);   // not four times
  std::vector<int32_t> list;                    // a list whose lines differ in one token
  for (int line = 0; line < 40; ++line) list.insert(list.end(), {7, 1000 + line, 8, 9, 10});
  EXPECT_EQ(told_after(list), 0);
  EXPECT_EQ(told_after(std::vector<int32_t>(400, -1)), 0);  // nobody knows the tokens
}

chat::Request asking(const std::string& text) {
  chat::Request request;
  request.messages = {{chat::Role::kUser, text, ""}};
  return request;
}

TEST(AskedForm, ComesFromTheLastUserMessage) {
  EXPECT_EQ(asked_form(asking("What is JSON?")), Form::kFree);
  EXPECT_EQ(asked_form(asking("Give the capitals as JSON.")), Form::kJson);
  EXPECT_EQ(asked_form(asking("Answer with ONLY JSON, please.")), Form::kJsonOnly);
  EXPECT_EQ(asked_form(asking("Write it in a code block.")), Form::kCode);
  EXPECT_EQ(asked_form(asking("A bulleted list of fruit.")), Form::kList);
  chat::Request request = asking("as JSON");
  request.messages.push_back({chat::Role::kAssistant, "{}", ""});
  request.messages.push_back({chat::Role::kUser, "Thanks, and in words?", ""});
  EXPECT_EQ(asked_form(request), Form::kFree);
  request = {};
  request.raw = true;
  request.prompt = "only JSON";
  EXPECT_EQ(asked_form(request), Form::kFree);
}

// What breaks, fed in pieces of every length; empty for nothing.
std::string broken(Form form, const std::string& text) {
  std::string first;
  for (const size_t piece : {size_t{1}, size_t{3}, text.size() + 1}) {
    FormWatch watch(form);
    std::string what;
    for (size_t at = 0; at < text.size(); at += piece)
      if (const auto found = watch.push(std::string_view(text).substr(at, piece))) what += found->what;
    if (piece == 1) first = what;
    EXPECT_EQ(what, first) << text;
  }
  return first;
}

TEST(FormWatch, AcceptsEveryJsonAndItsBeginnings) {
  for (const std::string text :
       {R"({"a": [1, -2.5e+3, 0.1], "b": {"c": null, "d": true}, "e": "x\"\\\u00e9\n"})", "[]",
        " [ [ ] , { } ]\n", "{}", "```json\n{\"a\": 1}\n```\nDone.", "```\n[1, 2]\n```",
        R"([false, "", 10, 0])"}) {
    for (size_t end = 0; end <= text.size(); ++end) {
      EXPECT_EQ(broken(Form::kJsonOnly, text.substr(0, end)), "") << text.substr(0, end);
      EXPECT_EQ(broken(Form::kJson, text.substr(0, end)), "") << text.substr(0, end);
    }
  }
}

TEST(FormWatch, FindsWhatNoContinuationMakesJson) {
  for (const std::string text :
       {"{a", "{\"a\" 1", "{\"a\": 1 \"b\"", "[1 2", "[1,]", "{\"a\": tru3", "[01", "[1.e", "[--",
        "{\"a\": \"x\ny", "[\"\\x", "[\"\\u00g", "{,", "[}", "{\"a\"}", "[+1"}) {
    EXPECT_EQ(broken(Form::kJsonOnly, text), "broken JSON") << text;
    EXPECT_EQ(broken(Form::kJson, "Here it is:\n" + text), "broken JSON") << text;
  }
  EXPECT_EQ(broken(Form::kJsonOnly, "Sure! {"), "no JSON yet");
  EXPECT_EQ(broken(Form::kJson, "Sure, here it is:\n\n{\"a\": 1}"), "");
  EXPECT_EQ(broken(Form::kJson, "In short {not json} it is"), "");  // prose: not judged
  EXPECT_EQ(broken(Form::kJson, std::string(FormWatch::kPreambleMax + 1, 'x')), "no JSON yet");
  // Deeper than it looks is not judged.
  EXPECT_EQ(broken(Form::kJsonOnly, std::string(FormWatch::kDepthMax + 5, '[') + "oops"), "");
}

TEST(FormWatch, FindsListsAndCodeThatDoNotBegin) {
  const std::string talk(FormWatch::kFormBytesMax + 1, 'x');
  for (const std::string begin : {"- a", "* a", "1. a", "12) a", "Fruit:\n\n  - apple", "\xe2\x80\xa2 a"})
    EXPECT_EQ(broken(Form::kList, begin + talk), "") << begin;
  for (const std::string begin : {"", "a - b", "-5 degrees", "1 apple"})
    EXPECT_EQ(broken(Form::kList, begin + talk), "no list yet") << begin;
  EXPECT_EQ(broken(Form::kCode, "Here:\n```cpp\n" + talk), "");
  EXPECT_EQ(broken(Form::kCode, "Here:\n``" + talk), "no code block yet");
}

TEST(FormWatch, FindsGarbageWhateverWasAsked) {
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(broken(Form::kFree, "a" + bad + "b" + bad + "c"), "");
  EXPECT_EQ(broken(Form::kFree, "a" + bad + "b" + bad + "c\x01"), "garbage");
  EXPECT_EQ(broken(Form::kFree, "plain text,\n\twith d\xc3\xa9j\xc3\xa0 vu"), "");
}

}  // namespace
}  // namespace hedge::route
