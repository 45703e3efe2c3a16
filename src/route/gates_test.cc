#include "route/gates.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace hedge::route {
namespace {

chat::Request user_says(std::string text) {
  chat::Request request;
  request.messages = {{chat::Role::kUser, std::move(text), ""}};
  return request;
}

// The order as the documentation states it, written down a second time.
std::string expected_gate(const Facts& f, const Policy& p) {
  if (p.private_sessions_stay_local && f.private_session) return "gate.private_session";
  if (p.personal_data_stays_local) {
    if (f.privacy == Privacy::kFound) return "gate.personal_data";
    if (f.privacy == Privacy::kUnjudged) return "gate.unjudged";
  }
  if (f.asked == chat::Route::kLocal) return "gate.request_local";
  if (!f.has_upstream) return "gate.no_upstream";
  if (p.offline) return "gate.offline";
  if (!f.hops_left) return "gate.hops_used";
  if (!f.upstream_can_read) return "gate.upstream_cannot_read";
  if (!f.upstream_available) return "gate.upstream_unavailable";
  if (!f.budget_left) return "gate.budget_spent";
  if (f.policy_local) return "gate.policy_local";
  if (f.asked == chat::Route::kUpstream) return "gate.request_upstream";
  return "gate.none";
}

TEST(Gates, EveryCombinationOfFactsMeetsTheDocumentedOrder) {
  int combinations = 0;
  for (int bits = 0; bits < 1 << 10; ++bits) {
    for (const Privacy privacy : {Privacy::kClean, Privacy::kFound, Privacy::kUnjudged}) {
      for (const chat::Route asked : {chat::Route::kAuto, chat::Route::kLocal, chat::Route::kUpstream}) {
        const auto bit = [bits](int i) { return (bits >> i & 1) != 0; };
        Facts facts;
        facts.private_session = bit(0);
        facts.privacy = privacy;
        facts.asked = asked;
        facts.has_upstream = bit(1);
        facts.upstream_available = bit(2);
        facts.upstream_can_read = bit(3);
        facts.budget_left = bit(4);
        facts.policy_local = bit(8);
        Policy policy;
        policy.offline = bit(5);
        policy.private_sessions_stay_local = bit(6);
        policy.personal_data_stays_local = bit(7);
        facts.hops_left = bit(9);
        const Gate& gate = decide(facts, policy);
        EXPECT_EQ(gate.name, expected_gate(facts, policy));
        const bool leaves = gate.effect != Effect::kStayLocal;
        EXPECT_FALSE(leaves && facts.private_session && policy.private_sessions_stay_local);
        EXPECT_FALSE(leaves && privacy != Privacy::kClean && policy.personal_data_stays_local);
        EXPECT_FALSE(leaves && (!facts.has_upstream || policy.offline || facts.policy_local));
        ++combinations;
      }
    }
  }
  EXPECT_EQ(combinations, 1024 * 9);
}

TEST(JudgePrivacy, LooksAtEveryTextThatCouldLeave) {
  EXPECT_EQ(judge_privacy(user_says("What is the capital of France?")).privacy, Privacy::kClean);
  const std::string secret = "jane@example.com";
  chat::Request request = user_says("hello");
  request.messages.insert(request.messages.begin(), {chat::Role::kSystem, "You help " + secret, ""});
  EXPECT_EQ(judge_privacy(request).privacy, Privacy::kFound);
  EXPECT_EQ(judge_privacy(request).detail, "EMAIL_ADDRESS");
  request = user_says("hello");
  request.messages[0].name = secret;
  EXPECT_EQ(judge_privacy(request).privacy, Privacy::kFound);
  request = user_says("hello");
  request.messages.push_back({chat::Role::kTool, "call 415-555-2671", ""});
  EXPECT_EQ(judge_privacy(request).detail, "PHONE_NUMBER");
  request = user_says("hello");
  request.assistant_prefix = "Write to " + secret;
  EXPECT_EQ(judge_privacy(request).privacy, Privacy::kFound);
  request = user_says("hello");
  request.stop = {"\n", secret};
  EXPECT_EQ(judge_privacy(request).privacy, Privacy::kFound);
  request = {};
  request.raw = true;
  request.prompt = "From: " + secret;
  EXPECT_EQ(judge_privacy(request).privacy, Privacy::kFound);
}

TEST(JudgePrivacy, SeesANumberThatComesInPieces) {
  const auto detail = [](std::string first, std::string second, std::string third) {
    chat::Request request = user_says(std::move(first));
    request.messages.push_back({chat::Role::kAssistant, std::move(second), ""});
    request.messages.push_back({chat::Role::kUser, std::move(third), ""});
    return judge_privacy(request).detail;
  };
  EXPECT_EQ(detail("My card is 4111 1111", "Go on.", "1111 1111, valid to May"), "CREDIT_CARD");
  EXPECT_EQ(detail("My card is 4111 1111 11", "Go on.", "11 1111"), "CREDIT_CARD") << "within a group";
  EXPECT_EQ(detail("é IBAN DE89 3704 0044", "Ja?", "0532 0130 00 é"), "PHONE_NUMBER, IBAN_CODE");
  EXPECT_EQ(detail("My card is 4111 1111", "1111 1111", "yes"), "") << "two speakers";
  EXPECT_EQ(detail("I have 4 apples, then 12", "Go on.", "13 of them rot"), "");
  EXPECT_EQ(detail("A first question?", "", "A second one."), "");
}

TEST(JudgePrivacy, SeesAnAddressThatComesInPieces) {
  // Over two messages of one speaker.
  for (const auto& [first, second] : {std::pair("write to john@exa", "mple.com please"),
                                      std::pair("write to john.doe", "@example.com please"),
                                      std::pair("write to john@exa\n", " mple.com")}) {
    chat::Request request = user_says(first);
    request.messages.push_back({chat::Role::kUser, second, ""});
    EXPECT_EQ(judge_privacy(request).detail, "EMAIL_ADDRESS") << first;
  }
  // Over the parts of one message, as they are joined.
  EXPECT_EQ(judge_privacy("write to john@exa\n\nmple.com please").detail, "EMAIL_ADDRESS");
  EXPECT_EQ(judge_privacy("write to john.doe\n\n@example.com please").detail, "EMAIL_ADDRESS");
  EXPECT_EQ(judge_privacy("write to john@exa\nmple.com please").detail, "EMAIL_ADDRESS");
  EXPECT_EQ(judge_privacy("my card: 4111 1111 11\n\n11 1111").detail, "CREDIT_CARD");
  EXPECT_EQ(judge_privacy("4111\n\n1111\n\n1111\n\n1111").detail, "CREDIT_CARD");
  // Paragraphs that make up nothing.
  EXPECT_EQ(judge_privacy("return x\n\n@app.route('/')\n\n@pytest.fixture\ndef f(): pass").detail, "");
  EXPECT_EQ(judge_privacy("In 2019\n\n1. First 4111\n\n2. Second 555-2671").detail, "");
  EXPECT_EQ(judge_privacy("a@b\n\nThe end. Or not.").detail, "");
}

// What the joined lines cost: texts of many lines in which nothing is to be found.
TEST(JudgePrivacy, CleanPromptsAreLeftAlone) {
  const char* shared = std::getenv("HEDGE_SHARED_DATA");
  std::ifstream file(std::string(shared ? shared : "") + "/tasks/humaneval.jsonl");
  if (shared == nullptr || !file) GTEST_SKIP() << "tasks/humaneval.jsonl of the shared data is absent";
  int prompts = 0;
  for (std::string line; std::getline(file, line); ++prompts) {
    const nlohmann::json item = nlohmann::json::parse(line);
    for (const char* field : {"prompt", "canonical_solution", "test"}) {
      EXPECT_EQ(judge_privacy(item[field].get<std::string>()).detail, "") << item[field];
    }
  }
  EXPECT_EQ(prompts, 164);
}

TEST(JudgePrivacy, WhatItCannotJudgeCountsAsFound) {
  EXPECT_EQ(judge_privacy(user_says(std::string(kJudgedBytesMax, 'a'))).privacy, Privacy::kClean);
  EXPECT_EQ(judge_privacy(user_says(std::string(kJudgedBytesMax + 1, 'a'))).privacy, Privacy::kUnjudged);
  EXPECT_EQ(judge_privacy(user_says("caf\xe9")).privacy, Privacy::kUnjudged);
  chat::Request tokens;
  tokens.raw = true;
  tokens.prompt_tokens = {1, 2, 3};
  EXPECT_EQ(judge_privacy(tokens).privacy, Privacy::kUnjudged);
}

}  // namespace
}  // namespace hedge::route
