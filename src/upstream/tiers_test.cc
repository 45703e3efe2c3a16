#include "upstream/tiers.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/scripted_upstream.h"
#include "upstream/test_util.h"

namespace hedge::upstream {
namespace {

using test::Script;
using test::ScriptedUpstream;

constexpr Milliseconds kLong{10'000};
const std::string kAnswer = "alpha bravo charlie delta echo foxtrot";

Tier tier(const std::string& name, const ScriptedUpstream& upstream, int hedge_after_ms = 0) {
  ::setenv("no_proxy", "127.0.0.1", 1);
  Options options;
  options.name = name;
  options.base_url = upstream.base_url();
  options.model = "scripted";
  options.first_token_timeout_ms = options.gap_timeout_ms = 5000;
  options.breaker_failures = 2;
  auto backend = OpenAiBackend::create(options);
  EXPECT_TRUE(backend.ok());
  return {std::move(backend).value(), hedge_after_ms};
}

std::unique_ptr<OpenAiBackend> two(Tier first, Tier second) {
  std::vector<Tier> tiers;
  tiers.push_back(std::move(first));
  tiers.push_back(std::move(second));
  return make_tiers(std::move(tiers));
}

chat::Request say() {
  chat::Request request;
  request.messages = {{chat::Role::kUser, "say: " + kAnswer, ""}};
  return request;
}

struct Outcome {
  std::vector<std::string> backends;
  std::string text;
  std::string writer;
  int losers = 0;
  bool done = false;
  std::optional<Error> error;
};

Outcome ask(chat::Upstream& backend, const chat::Request& request = say()) {
  Outcome out;
  auto stream = backend.start(cleared(request));
  if (!stream.ok()) {
    out.error = stream.error();
    return out;
  }
  while (!out.done) {
    Result<chat::Event> event = (*stream)->next(deadline_after(kLong));
    if (!event.ok()) {
      out.error = event.error();
      break;
    }
    if (auto* started = std::get_if<chat::Started>(&*event)) {
      out.backends.push_back(started->backend);
      out.writer = chat::writer_of(started->backend, started->endpoint);
    }
    if (auto* delta = std::get_if<chat::Delta>(&*event)) out.text += delta->text;
    out.done = std::holds_alternative<chat::Done>(*event);
  }
  out.losers = (*stream)->losers();
  return out;
}

TEST(Tiers, TheFirstAnswersAndTheSecondIsNotAsked) {
  ScriptedUpstream fog, cloud;
  const auto backend = two(tier("fog", fog), tier("cloud", cloud));
  const Outcome out = ask(*backend);
  EXPECT_TRUE(out.done);
  EXPECT_EQ(out.text, kAnswer);
  EXPECT_EQ(out.backends, std::vector<std::string>{"fog"});
  EXPECT_EQ(cloud.connections(), 0u);
  EXPECT_EQ(backend->info().name, "fog");
  EXPECT_EQ(backend->info().losers_max, 0);
  EXPECT_EQ(out.losers, 0);
}

TEST(Tiers, ATierThatFailsBeforeItsFirstTextGivesWay) {
  for (const char* fault : {"status", "reset", "empty", "html", "cut"}) {
    ScriptedUpstream fog, cloud;
    Script broken;
    broken.fault = fault;
    fog.set_script(broken);
    const auto backend = two(tier("fog", fog), tier("cloud", cloud));
    const Outcome out = ask(*backend);
    EXPECT_TRUE(out.done) << fault;
    EXPECT_EQ(out.text, kAnswer) << fault;
    EXPECT_EQ(out.backends, std::vector<std::string>{"cloud"}) << fault;
    EXPECT_EQ(out.losers, 0) << fault;  // who failed has not lost
  }
}

// The name is the configuration's; on another machine it may be another's.
TEST(Tiers, ABoundConversationGoesToThatEndpointAlone) {
  ScriptedUpstream fog, cloud, other;
  const auto alone = tier("cloud", cloud).backend->info();
  const auto backend = two(tier("fog", fog), tier("cloud", cloud));
  chat::Request request = say();
  request.routing.bound_to = chat::writer_of("cloud", alone.endpoint);
  const Outcome out = ask(*backend, request);
  EXPECT_EQ(out.text, kAnswer);
  EXPECT_EQ(out.writer, request.routing.bound_to);
  EXPECT_EQ(fog.connections(), 0u);
  const auto elsewhere = two(tier("fog", fog), tier("cloud", other));
  const Outcome refused = ask(*elsewhere, request);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->code, ErrorCode::kUnavailable);
  EXPECT_EQ(ask(*tier("cloud", other).backend, request).error->code, ErrorCode::kUnavailable);
  EXPECT_EQ(fog.connections() + other.connections(), 0u);
  request.routing.bound_to = "cloud";  // of an answer that was kept without
  EXPECT_EQ(ask(*elsewhere, request).backends, std::vector<std::string>{"cloud"});
}

TEST(Tiers, ATierThatBreaksOffInMidAnswerEndsTheStream) {
  ScriptedUpstream fog, cloud;
  Script broken;
  broken.fault = "cut";
  broken.after = 2;
  fog.set_script(broken);
  const auto backend = two(tier("fog", fog), tier("cloud", cloud));
  const Outcome out = ask(*backend);
  ASSERT_TRUE(out.error);
  EXPECT_EQ(out.text, "alpha bravo");
  EXPECT_EQ(cloud.connections(), 0u);
}

TEST(Tiers, AnOpenBreakerIsSteppedOver) {
  ScriptedUpstream fog, cloud;
  Script broken;
  broken.fault = "status";
  fog.set_script(broken);
  const auto backend = two(tier("fog", fog), tier("cloud", cloud));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask(*backend).text, kAnswer);
  EXPECT_EQ(fog.seen().size(), 2u);
  EXPECT_TRUE(backend->state().available);
}

TEST(Tiers, WhenAllFailTheErrorIsToldAndTheStateSaysSo) {
  ScriptedUpstream fog, cloud;
  Script broken;
  broken.fault = "status";
  fog.set_script(broken);
  cloud.set_script(broken);
  const auto backend = two(tier("fog", fog), tier("cloud", cloud));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(ask(*backend).error);
  EXPECT_FALSE(backend->state().available);
  EXPECT_EQ(ask(*backend).error->code, ErrorCode::kUnavailable);
}

TEST(Tiers, ARequestThatIsWrongInItselfIsNotCarriedOn) {
  ScriptedUpstream fog, cloud;
  Script broken;
  broken.fault = "status";
  broken.status = 400;
  fog.set_script(broken);
  const auto backend = two(tier("fog", fog), tier("cloud", cloud));
  EXPECT_EQ(ask(*backend).error->code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(cloud.connections(), 0u);
}

TEST(Tiers, ASlowTierIsRacedOnlyWhenAskedFor) {
  ScriptedUpstream fog, cloud;
  Script slow;
  slow.fault = "stall";
  fog.set_script(slow);
  const auto backend = two(tier("fog", fog, 50), tier("cloud", cloud));
  const auto begun = SteadyClock::now();
  const Outcome out = ask(*backend);
  EXPECT_TRUE(out.done);
  EXPECT_EQ(out.text, kAnswer);
  EXPECT_EQ(out.backends, std::vector<std::string>{"cloud"});
  EXPECT_LT(seconds_since(begun), 2.0);
  EXPECT_EQ(backend->info().losers_max, 1);
  EXPECT_EQ(out.losers, 1);
  // The loser is told at once: its connection closes.
  const Deadline limit = deadline_after(Milliseconds(1000));
  while (fog.gone() == 0 && SteadyClock::now() < limit) {
  }
  EXPECT_EQ(fog.gone(), 1u);
}

TEST(Tiers, CancelEndsARace) {
  ScriptedUpstream fog, cloud;
  Script slow;
  slow.fault = "stall";
  fog.set_script(slow);
  cloud.set_script(slow);
  const auto backend = two(tier("fog", fog, 10), tier("cloud", cloud));
  auto stream = backend->start(cleared(say()));
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ((*stream)->losers(), 0);
  const auto first = (*stream)->next(deadline_after(Milliseconds(100)));
  EXPECT_EQ((*stream)->losers(), 1);  // both are silent: one of them will be in vain
  (*stream)->cancel();
  const auto after = (*stream)->next(deadline_after(kLong));
  ASSERT_FALSE(after.ok());
  EXPECT_EQ(after.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace hedge::upstream
