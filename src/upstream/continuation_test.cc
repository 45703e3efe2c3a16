#include "upstream/continuation.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

namespace hedge::upstream {
namespace {

using Json = nlohmann::json;

Rendered local() {
  Rendered out;
  out.text = "<s>You count.</s><u>Count</u><a>";
  out.ids = {1, 2, 3, 4};
  out.ids_with_start = {1, 2, 3, 4, 50, 51};
  return out;
}

std::string said(const std::string& text) {
  return Json{{"choices", {{{"message", {{"content", text}}}}}}}.dump();
}
std::string wrote(const std::string& text) { return Json{{"choices", {{{"text", text}}}}}.dump(); }

// An endpoint as a function from a request's path and body to status and body.
using Endpoint = std::function<std::pair<int, std::string>(const std::string&, const Json&)>;

struct Run {
  std::optional<Detector::Found> found;
  std::vector<std::string> paths;
};

Run detect(const Endpoint& endpoint, std::optional<Rendered> rendered) {
  Detector detector("m", [&](const chat::Request&) { return rendered; });
  Run run;
  while (const auto request = detector.next()) {
    const Json body = Json::parse(request->body);
    EXPECT_EQ(body["model"], "m");
    run.paths.push_back(request->path);
    EXPECT_LT(run.paths.size(), 10u);
    if (run.paths.size() >= 10) break;
    const auto [status, reply] = endpoint(request->path, body);
    detector.take(status, reply);
  }
  run.found = detector.found();
  return run;
}

bool flags(const Json& body) { return body.contains("continue_final_message"); }

TEST(Continuation, NamesComeBack) {
  for (const auto how :
       {Continuation::kPrefix, Continuation::kTokens, Continuation::kRaw, Continuation::kInstruct})
    EXPECT_EQ(parse_continuation(to_string(how)), how);
  EXPECT_EQ(parse_continuation("magic"), std::nullopt);
}

TEST(Continuation, WhatGoesOn) {
  for (const char* yes : {" eight, nine", "eight", "\nEight, nine", "8, 9",
                          "My count, as asked: one, two, three, four, five, six, seven, eight, nine"})
    EXPECT_TRUE(goes_on(yes)) << yes;
  for (const char* no : {"", "One, two, three, four, five, six, seven, eight", "Sure! one, two", " nine",
                         "weight", "one, two, three, four, five, six, seven, eight",
                         "My count, as asked: one, two, three, four, five, six, seven,"})
    EXPECT_FALSE(goes_on(no)) << no;
}

TEST(Continuation, LlamaServerOfTheSameModelTakesTokens) {
  const auto run = detect(
      [](const std::string& path, const Json& body) -> std::pair<int, std::string> {
        if (path == "/tokenize")
          return {200, body.contains("content") ? R"({"tokens":[1,2,3,4]})" : R"({"tokens":[]})"};
        if (path == "/apply-template") return {200, Json{{"prompt", local().text}}.dump()};
        EXPECT_EQ(path, "/v1/completions");
        EXPECT_EQ(body["prompt"], Json::parse("[1,2,3,4,50,51]"));
        return {200, wrote(" eight, nine")};
      },
      local());
  ASSERT_TRUE(run.found);
  EXPECT_EQ(run.found->how, Continuation::kTokens);
  EXPECT_EQ(run.paths.size(), 4u);
}

TEST(Continuation, VllmOfTheSameModelTellsTheIdsOfAConversation) {
  const auto run = detect(
      [](const std::string& path, const Json&) -> std::pair<int, std::string> {
        if (path == "/tokenize") return {200, R"({"tokens":[1,2,3,4],"count":4})"};
        return {200, wrote(" eight")};
      },
      local());
  ASSERT_TRUE(run.found);
  EXPECT_EQ(run.found->how, Continuation::kTokens);
  EXPECT_EQ(run.paths, (std::vector<std::string>{"/tokenize", "/v1/completions"}));
}

TEST(Continuation, AnotherTokenizerMeansText) {
  const auto run = detect(
      [](const std::string& path, const Json& body) -> std::pair<int, std::string> {
        if (path == "/tokenize") return {200, R"({"tokens":[9,9]})"};
        if (path == "/apply-template") return {200, Json{{"prompt", local().text}}.dump()};
        EXPECT_EQ(path, "/v1/chat/completions");
        EXPECT_TRUE(flags(body));
        return {200, said(std::string(test_start()) + " eight")};
      },
      local());
  ASSERT_TRUE(run.found);
  EXPECT_EQ(run.found->how, Continuation::kPrefix);
  EXPECT_TRUE(run.found->continue_flags);
}

TEST(Continuation, FlagsThatAreRefusedAreLeftOut) {
  const auto run = detect(
      [](const std::string&, const Json& body) -> std::pair<int, std::string> {
        if (flags(body)) return {400, R"({"error":{"message":"Unknown parameter"}})"};
        return {200, said(" eight")};
      },
      std::nullopt);
  ASSERT_TRUE(run.found);
  EXPECT_EQ(run.found->how, Continuation::kPrefix);
  EXPECT_FALSE(run.found->continue_flags);
}

TEST(Continuation, ACloudThatAlwaysBeginsAnewIsInstructed) {
  const auto run = detect(
      [](const std::string& path, const Json&) -> std::pair<int, std::string> {
        if (path != "/v1/chat/completions") return {404, "<html>"};
        return {200, said("One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve.")};
      },
      local());
  ASSERT_TRUE(run.found);
  EXPECT_EQ(run.found->how, Continuation::kInstruct);
}

TEST(Continuation, TheSameTemplateWithoutIdsTakesTheTextRaw) {
  const auto run = detect(
      [](const std::string& path, const Json& body) -> std::pair<int, std::string> {
        if (path == "/apply-template") return {200, Json{{"prompt", local().text}}.dump()};
        if (path == "/tokenize") return {404, ""};
        if (path == "/v1/chat/completions") return {200, said("Certainly! One, two")};
        EXPECT_EQ(body["prompt"], local().text + std::string(test_start()));
        return {200, wrote(" eight, nine")};
      },
      local());
  ASSERT_TRUE(run.found);
  EXPECT_EQ(run.found->how, Continuation::kRaw);
}

TEST(Continuation, WhoDoesNotAnswerIsNotJudged) {
  for (const int status : {0, 401, 429, 500, 503}) {
    const auto run = detect(
        [&](const std::string&, const Json&) { return std::pair(status, std::string("{}")); }, local());
    EXPECT_FALSE(run.found) << status;
  }
}

TEST(Continuation, RepliesOfAnyShapeAreSurvived) {
  for (const char* body :
       {"", "null", "[]", "{", R"({"tokens":[1,"x"]})", R"({"tokens":7,"prompt":7,"choices":7})",
        R"({"choices":[]})", R"({"choices":[7]})", R"({"choices":[{"message":7}]})",
        R"({"choices":[{"text":7}]})"}) {
    const auto run =
        detect([&](const std::string&, const Json&) { return std::pair(200, std::string(body)); }, local());
    EXPECT_FALSE(run.found) << body;
  }
}

}  // namespace
}  // namespace hedge::upstream
