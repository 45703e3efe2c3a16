#include "route/rules.h"

#include <gtest/gtest.h>

#include <set>

namespace hedge::route {
namespace {

When texts(Condition condition, std::vector<std::string> values) {
  When when;
  when.condition = condition;
  when.texts = std::move(values);
  return when;
}
When number(Condition condition, double value) {
  When when;
  when.condition = condition;
  when.number = value;
  return when;
}
When parts(Condition condition, std::vector<When> values) {
  When when;
  when.condition = condition;
  when.parts = std::move(values);
  return when;
}
When at(const char* range) {
  When when;
  when.condition = Condition::kTime;
  when.times = {parse_time_range(range).value()};
  return when;
}

RuleFacts known() {
  static const std::vector<std::string> tags = {"team.blue", "draft"};
  RuleFacts facts;
  facts.model = "smollm2-135m-instruct";
  facts.tenant = "office";
  facts.tags = tags;
  facts.tools = true;
  facts.prompt_tokens = 100;
  facts.device = {23 * 60, 5, Network::kMetered, true, 40, 71};
  return facts;
}

TEST(Rules, EveryConditionHoldsAndDoesNotHold) {
  const RuleFacts facts = known();
  When tools;
  tools.condition = Condition::kTools;
  tools.flag = true;
  When no_tools = tools;
  no_tools.flag = false;
  const std::vector<std::pair<When, When>> pairs = {
      // holds, does not
      {parts(Condition::kAll, {tools, tools}), parts(Condition::kAll, {tools, no_tools})},
      {parts(Condition::kAny, {no_tools, tools}), parts(Condition::kAny, {no_tools, no_tools})},
      {parts(Condition::kNot, {no_tools}), parts(Condition::kNot, {tools})},
      {texts(Condition::kModel, {"other", "smollm2*"}), texts(Condition::kModel, {"smollm2"})},
      {texts(Condition::kTenant, {"office"}), texts(Condition::kTenant, {""})},
      {texts(Condition::kTag, {"team.*"}), texts(Condition::kTag, {"team"})},
      {tools, no_tools},
      {number(Condition::kTokensAbove, 99), number(Condition::kTokensAbove, 100)},
      {number(Condition::kTokensBelow, 101), number(Condition::kTokensBelow, 100)},
      {at("22:00-06:00"), at("06:00-22:00")},
      {texts(Condition::kDay, {"fri", "sat"}), texts(Condition::kDay, {"sun"})},
      {texts(Condition::kNetwork, {"metered"}), texts(Condition::kNetwork, {"unmetered", "offline"})},
      {texts(Condition::kPower, {"battery"}), texts(Condition::kPower, {"mains"})},
      {number(Condition::kBatteryBelow, 41), number(Condition::kBatteryBelow, 40)},
      {number(Condition::kTemperatureAbove, 70), number(Condition::kTemperatureAbove, 71)},
      {texts(Condition::kPrivacy, {"clean"}),
       texts(Condition::kPrivacy, {"personal", "unjudged", "private"})},
  };
  std::set<Condition> seen;
  for (const auto& [yes, no] : pairs) {
    EXPECT_EQ(evaluate(yes, facts), Truth::kYes) << condition_kinds()[static_cast<size_t>(yes.condition)].key;
    EXPECT_EQ(evaluate(no, facts), Truth::kNo) << condition_kinds()[static_cast<size_t>(no.condition)].key;
    seen.insert(yes.condition);
  }
  EXPECT_EQ(seen.size(), condition_kinds().size()) << "a condition has no case here";
}

// Kleene's tables.
TEST(Rules, WhatNobodyKnowsIsNeitherTrueNorFalse) {
  const RuleFacts facts;  // no sensor
  const When unknown = texts(Condition::kNetwork, {"metered"});
  const When yes = texts(Condition::kTenant, {""}), no = texts(Condition::kTenant, {"x"});
  EXPECT_EQ(evaluate(unknown, facts), Truth::kUnknown);
  EXPECT_EQ(evaluate(parts(Condition::kNot, {unknown}), facts), Truth::kUnknown);
  EXPECT_EQ(evaluate(parts(Condition::kAll, {unknown, no}), facts), Truth::kNo);
  EXPECT_EQ(evaluate(parts(Condition::kAll, {unknown, yes}), facts), Truth::kUnknown);
  EXPECT_EQ(evaluate(parts(Condition::kAny, {unknown, yes}), facts), Truth::kYes);
  EXPECT_EQ(evaluate(parts(Condition::kAny, {unknown, no}), facts), Truth::kUnknown);
  for (const When& when : {texts(Condition::kPower, {"mains"}), number(Condition::kBatteryBelow, 50),
                           number(Condition::kTemperatureAbove, 50)}) {
    EXPECT_EQ(evaluate(when, facts), Truth::kUnknown);
  }
  const std::vector<Rule> rules = {
      {"a", parts(Condition::kNot, {unknown}), Strategy::kUpstreamFirst, {}, {}}};
  EXPECT_EQ(find_rule(rules, facts), nullptr);
}

TEST(Rules, TheFirstThatHoldsCounts) {
  const std::vector<Rule> rules = {
      {"no", texts(Condition::kTenant, {"x"}), Strategy::kRace, {}, {}},
      {"yes", texts(Condition::kTenant, {"office"}), Strategy::kDeadline, {}, {}},
      {"all", {}, Strategy::kLocalOnly, {}, {}}};
  EXPECT_EQ(find_rule(rules, known())->name, "yes");
  EXPECT_EQ(find_rule(rules, {})->name, "all") << "without a condition it always holds";
  EXPECT_EQ(find_rule({}, known()), nullptr);
}

TEST(Rules, TimesReachTheirEndsAndPassMidnight) {
  const auto holds = [](const char* range, int minute) {
    RuleFacts facts;
    facts.device.minute_of_day = minute;
    return evaluate(at(range), facts) == Truth::kYes;
  };
  EXPECT_TRUE(holds("22:00-06:00", 22 * 60));
  EXPECT_TRUE(holds("22:00-06:00", 0));
  EXPECT_FALSE(holds("22:00-06:00", 6 * 60));
  EXPECT_FALSE(holds("22:00-06:00", 22 * 60 - 1));
  EXPECT_TRUE(holds("00:00-24:00", 24 * 60 - 1));
  EXPECT_TRUE(holds("08:30-17:00", 8 * 60 + 30));
  EXPECT_FALSE(holds("08:30-17:00", 17 * 60));
  for (const char* wrong : {"", "22:00", "22:00-", "2:00-6:00", "22:60-23:00", "24:01-06:00", "25:00-06:00",
                            "22:00-06:00 ", "aa:bb-cc:dd", "08:00-08:00"}) {
    EXPECT_FALSE(parse_time_range(wrong).ok()) << wrong;
  }
}

TEST(Rules, PrivacyNamesSessionAndFinding) {
  RuleFacts facts;
  facts.private_session = true;
  const auto holds = [&](const char* name) {
    return evaluate(texts(Condition::kPrivacy, {name}), facts) == Truth::kYes;
  };
  EXPECT_TRUE(holds("private"));
  EXPECT_FALSE(holds("clean"));
  facts.privacy = Privacy::kFound;
  EXPECT_TRUE(holds("private") && holds("personal"));
  facts.privacy = Privacy::kUnjudged;
  EXPECT_TRUE(holds("unjudged") && !holds("personal"));
}

TEST(Rules, Patterns) {
  for (const auto& [pattern, text] :
       {std::pair("*", ""), {"a*c", "abbc"}, {"*b*", "abc"}, {"a**c", "ac"}, {"", ""}}) {
    EXPECT_TRUE(matches_pattern(pattern, text)) << pattern;
  }
  for (const auto& [pattern, text] : {std::pair("", "a"), {"a*c", "abcd"}, {"a", "aa"}, {"*b", "abc"}}) {
    EXPECT_FALSE(matches_pattern(pattern, text)) << pattern;
  }
  // What is exponential in a naive matcher.
  EXPECT_FALSE(matches_pattern("*a*a*a*a*a*a*a*a*a*a*b", std::string(5000, 'a')));
}

TEST(Rules, ChosenTextsAreChecked) {
  EXPECT_TRUE(check_texts(Condition::kDay, std::vector<std::string>{"mon", "sun"}).ok());
  EXPECT_TRUE(check_texts(Condition::kTag, std::vector<std::string>{"whatever"}).ok());
  const Status wrong = check_texts(Condition::kNetwork, std::vector<std::string>{"wifi"});
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().detail, "expected offline, metered, unmetered, got \"wifi\"");
}

TEST(Strategies, HaveNames) {
  for (const std::string& name : strategy_names()) EXPECT_EQ(to_string(*parse_strategy(name)), name);
  EXPECT_EQ(strategy_names().size(), 6u);
  EXPECT_FALSE(parse_strategy("cheapest"));
}

}  // namespace
}  // namespace hedge::route
