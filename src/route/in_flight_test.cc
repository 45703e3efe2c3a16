// What the looks in flight say, and what the router does on their word.
#include "route/in_flight.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "route/fake_backend.h"
#include "route/router.h"

namespace hedge::route {
namespace {

chat::Delta piece(std::string text, std::optional<float> p_wrong = {}, float margin = 1) {
  chat::Delta delta = token_delta(std::move(text), margin);
  delta.p_wrong = p_wrong;
  return delta;
}

Thresholds some_thresholds() {
  Thresholds thresholds;
  thresholds.checkpoints = {{1, 0.8, 0.2}, {2, 0.7, 0.1}, {4, 0.6, 0}, {kWholeAnswer, 0.5, 0}};
  return thresholds;
}

chat::Request ask(std::string text = "Why?") {
  chat::Request request;
  request.messages = {{chat::Role::kUser, std::move(text), ""}};
  return request;
}

TEST(InFlight, TheProbeSpeaksAtItsCheckpoints) {
  const Thresholds thresholds = some_thresholds();
  InFlight flight(Confidence{}, &thresholds, ask());
  auto findings = flight.push(piece("a", 0.75f), true);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].what, "confidence.probe");
  EXPECT_NEAR(findings[0].value, 0.75, 1e-6);
  EXPECT_EQ(findings[0].threshold, 0.8);
  EXPECT_FALSE(findings[0].unsure);
  EXPECT_FALSE(flight.sure());
  findings = flight.push(piece("b", 0.75f), true);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_TRUE(findings[0].unsure);
  EXPECT_EQ(findings[0].threshold, 0.7);
  EXPECT_TRUE(flight.push(piece("c", 0.99f), true).empty());  // no checkpoint
  EXPECT_TRUE(flight.push(piece("d", 0.1f), true).empty());   // nothing new to say
}

TEST(InFlight, ItIsSureBelowItsOtherThreshold) {
  const Thresholds thresholds = some_thresholds();
  InFlight flight(Confidence{}, &thresholds, ask());
  flight.push(piece("a", 0.19f), true);
  EXPECT_TRUE(flight.sure());
}

TEST(InFlight, AWholeAnswerThatWasHeldIsJudgedOnceMore) {
  const Thresholds thresholds = some_thresholds();
  for (const float p : {0.45f, 0.55f}) {
    InFlight flight(Confidence{}, &thresholds, ask());
    flight.push(piece("a", 0.4f), true);
    chat::Done done;
    done.p_wrong = p;
    const Finding finding = flight.judge_first(&done);
    EXPECT_EQ(finding.unsure, p > 0.5f);
    EXPECT_EQ(finding.what, p > 0.5f ? "confidence.probe" : "confidence.ok");
  }
}

TEST(InFlight, TheQuantilesJudgeWithoutAProbeAndBeyondIt) {
  const Thresholds thresholds = some_thresholds();
  Confidence rule;
  rule.window_tokens = 3;
  rule.check_every_tokens = 1;
  rule.mid_checks_in_a_row = 1;
  const auto unsure_at = [&](const Thresholds* with, bool probed) {
    InFlight flight(rule, with, ask());
    for (int token = 1; token <= 8; ++token)
      if (!flight.push(piece("x", probed ? std::optional(0.0f) : std::nullopt, 0.01f), false).empty() &&
          token > 1)
        return token;
    return 0;
  };
  EXPECT_EQ(unsure_at(nullptr, false), 3);
  EXPECT_EQ(unsure_at(nullptr, true), 3);       // a probe without thresholds says nothing
  EXPECT_EQ(unsure_at(&thresholds, false), 3);  // thresholds without a probe neither
  EXPECT_EQ(unsure_at(&thresholds, true), 5);   // after the last checkpoint
  InFlight flight(rule, nullptr, ask());
  for (int token = 0; token < 4; ++token) EXPECT_TRUE(flight.push(piece("x", {}, 0.01f), true).empty());
  const Finding finding = flight.judge_first(nullptr);
  EXPECT_EQ(finding.what, "confidence.first");
  EXPECT_TRUE(finding.unsure);
}

TEST(InFlight, LoopsAndBrokenFormsHaveSwitchesOfTheirOwn) {
  for (const bool on : {true, false}) {
    Confidence rule;
    rule.repetition = rule.format = on;
    InFlight flight(rule, nullptr, ask("only JSON please"));
    auto findings = flight.push(piece("Sure"), false);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].what, "confidence.format");
    EXPECT_EQ(findings[0].detail, "no JSON yet, asked for only JSON");
    EXPECT_EQ(findings[0].unsure, on);
    int told = 0;
    for (int i = 0; i < 100; ++i) {
      chat::Delta delta = piece("la");
      delta.tokens[0].chosen.id = 5;
      for (const Finding& finding : flight.push(delta, false)) {
        EXPECT_EQ(finding.what, "confidence.repetition");
        EXPECT_EQ(finding.unsure, on);
        ++told;
      }
    }
    EXPECT_EQ(told, 1);
  }
}

// ---- The router

FakeBackend::Plan say(std::vector<chat::Delta> pieces, std::optional<float> p_end = {}, bool hangs = false) {
  return [=](const chat::Request&) -> Result<FakePlan> {
    FakePlan plan;
    plan.events.emplace_back(chat::Event(chat::Started{"local", "fake", 7, 0}));
    for (const chat::Delta& delta : pieces) plan.events.emplace_back(chat::Event(delta));
    chat::Done done;
    done.p_wrong = p_end;
    if (!hangs) plan.events.emplace_back(chat::Event(std::move(done)));
    return plan;
  };
}

FakeBackend::Plan say_upstream() {
  return [](const chat::Request& request) -> Result<FakePlan> {
    FakePlan plan;
    plan.events.emplace_back(chat::Event(chat::Started{"cloud", "big", 7, 0}));
    plan.events.emplace_back(chat::Event(chat::Delta{request.assistant_prefix.empty() ? "UP" : " UP", {}}));
    plan.events.emplace_back(chat::Event(chat::Done{}));
    return plan;
  };
}

struct Flown {
  std::string text;
  int switched = 0;
  std::string reasons;
  uint64_t first = 0, mid = 0;
};

Flown fly(FakeBackend::Plan local_plan, chat::Request request = ask()) {
  FakeBackend local("local", std::move(local_plan)), upstream("cloud", say_upstream());
  Environment environment;
  environment.thresholds = std::make_shared<const Thresholds>(some_thresholds());
  const auto router = Router::create(local, &upstream, Policy{}, environment);
  const auto stream = std::move(router->start(request)).value();
  Flown flown;
  while (true) {
    const chat::Event event = stream->next(kNoDeadline).value();
    if (const auto* delta = std::get_if<chat::Delta>(&event)) flown.text += delta->text;
    flown.switched += std::holds_alternative<chat::Switched>(event) ? 1 : 0;
    const auto* done = std::get_if<chat::Done>(&event);
    if (done == nullptr) continue;
    for (const std::string& reason : done->trace->reasons) flown.reasons += reason;
    flown.first = router->counters().escalated_first;
    flown.mid = router->counters().escalated_mid;
    return flown;
  }
}

TEST(InFlight, AProbeThatDoubtsThePromptSendsItBeforeAnythingIsSeen) {
  const Flown flown = fly(say({piece("No", 0.9f), piece(" idea")}, 0.9f));
  EXPECT_EQ(flown.text, "UP");
  EXPECT_EQ(flown.reasons, "confidence.probe");
  EXPECT_EQ(flown.switched, 0);
  EXPECT_EQ(flown.first, 1u);
}

TEST(InFlight, ASureProbeHoldsNothingBack) {
  FakeBackend local("local", say({piece("Sure", 0.1f)}, {}, true)), upstream("cloud", say_upstream());
  Environment environment;
  environment.thresholds = std::make_shared<const Thresholds>(some_thresholds());
  Policy policy;
  policy.confidence.first_hold_ms = 600'000;
  const auto router = Router::create(local, &upstream, policy, environment);
  const auto stream = std::move(router->start(ask())).value();
  EXPECT_TRUE(
      std::holds_alternative<chat::Started>(stream->next(deadline_after(Milliseconds(60000))).value()));
  const chat::Event event = stream->next(deadline_after(Milliseconds(60000))).value();
  EXPECT_EQ(std::get<chat::Delta>(event).text, "Sure");
}

TEST(InFlight, DoubtInMidAnswerSwitchesAtTheEndOfAWord) {
  const Flown flown = fly(say(
      {piece("It", 0.1f), piece(" is", 0.3f), piece(" in"), piece(" Ky", 0.9f), piece("oto"), piece(" so")},
      0.9f));
  EXPECT_EQ(flown.text, "It is in Kyoto UP");
  EXPECT_EQ(flown.reasons, "confidence.probe");
  EXPECT_EQ(flown.switched, 1);
  EXPECT_EQ(flown.mid, 1u);
}

TEST(InFlight, AShortAnswerIsJudgedWhole) {
  EXPECT_EQ(fly(say({piece("Kyoto", 0.4f)}, 0.6f)).text, "UP");
  EXPECT_EQ(fly(say({piece("Kyoto", 0.4f)}, 0.4f)).text, "Kyoto");
  EXPECT_EQ(fly(say({piece("Kyoto", 0.4f)}, 0.4f)).reasons, "confidence.ok");
}

}  // namespace
}  // namespace hedge::route
