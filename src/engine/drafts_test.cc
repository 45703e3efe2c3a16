// Speculation in the engine: an answer is the same with it and without, to the last bit of its
// log-probabilities.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/test_util.h"

namespace hedge::engine {
namespace {

using chat::FinishReason;

class DraftsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { file_ = std::make_unique<TinyFile>(model::TinyModel(engine_spec())); }
  static void TearDownTestSuite() { file_.reset(); }
  // "always" drafts wherever there is something to draft, so no test depends on how fast a machine is.
  static std::unique_ptr<Engine> make(const char* speculation, int slots = 4) {
    Options options = one_thread(slots);
    options.speculation = speculation;
    return load_engine(*file_, options);
  }
  static std::unique_ptr<TinyFile> file_;
};
std::unique_ptr<TinyFile> DraftsTest::file_;

// A prompt that repeats itself, with all facts about the answer's tokens.
chat::Request repetitive(int max_tokens) {
  std::string prompt;
  for (int i = 0; i < 6; ++i) prompt += "the cat and there in the world, hello hello ";
  chat::Request request = greedy(prompt, max_tokens);
  request.top_logprobs = 2;
  request.want_confidence = true;
  return request;
}

chat::Request sampled(chat::Request request, uint64_t seed, float temperature) {
  request.sampling = chat::Sampling{};
  request.sampling.seed = seed;
  request.sampling.temperature = temperature;
  return request;
}

void expect_same(const Answer& got, const Answer& expected) {
  EXPECT_EQ(got.text, expected.text);
  EXPECT_EQ(got.done.reason, expected.done.reason);
  EXPECT_EQ(got.done.usage.completion_tokens, expected.done.usage.completion_tokens);
  EXPECT_EQ(got.done.usage.prompt_tokens, expected.done.usage.prompt_tokens);
  ASSERT_EQ(got.ids(), expected.ids());
  for (size_t i = 0; i < got.tokens.size(); ++i) {
    const chat::TokenInfo &a = got.tokens[i], &b = expected.tokens[i];
    ASSERT_EQ(a.chosen.logprob, b.chosen.logprob) << "token " << i;
    ASSERT_EQ(a.margin, b.margin) << "token " << i;
    ASSERT_EQ(a.entropy, b.entropy) << "token " << i;
    ASSERT_EQ(a.top.size(), b.top.size());
    for (size_t j = 0; j < a.top.size(); ++j) {
      ASSERT_EQ(a.top[j].id, b.top[j].id) << "token " << i;
      ASSERT_EQ(a.top[j].logprob, b.top[j].logprob) << "token " << i;
    }
  }
}

TEST_F(DraftsTest, GreedyAndSampledAnswersAreTheSame) {
  const auto plain = make("off"), drafting = make("always"), automatic = make("auto");
  std::vector<chat::Request> requests{repetitive(200), greedy("hello", 300)};
  for (const uint64_t seed : {1, 2, 3}) {
    requests.push_back(sampled(repetitive(120), seed, 0.3f));
    requests.push_back(sampled(repetitive(120), seed, 1.0f));
    requests.back().sampling.repeat_penalty = 1.3f;
    requests.back().sampling.frequency_penalty = 0.2f;
    requests.back().sampling.repeat_last_n = 40;
    requests.push_back(sampled(greedy("wor", 150), seed, 0.7f));
    requests.back().ignore_eos = true;
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    const Answer expected = ask(*plain, requests[i]);
    expect_same(ask(*drafting, requests[i]), expected);
    expect_same(ask(*automatic, requests[i]), expected);
    EXPECT_EQ(expected.done.usage.draft_tokens, 0);
  }
}

TEST_F(DraftsTest, WhatIsDraftedIsCounted) {
  const auto engine = make("always");
  const Answer answer = ask(*engine, repetitive(200));
  const chat::Usage& usage = answer.done.usage;
  EXPECT_GT(usage.draft_tokens, 20);
  EXPECT_GT(usage.draft_tokens_accepted, 20);  // a tiny model's greedy answer falls into a loop
  EXPECT_LE(usage.draft_tokens_accepted, usage.draft_tokens);
  EXPECT_LT(usage.draft_tokens_accepted, usage.completion_tokens);
  const Counters counters = engine->counters();
  EXPECT_EQ(counters.draft_tokens, static_cast<uint64_t>(usage.draft_tokens));
  EXPECT_EQ(counters.draft_tokens_accepted, static_cast<uint64_t>(usage.draft_tokens_accepted));
  EXPECT_EQ(counters.completion_tokens, 200u);
  // The prompt is one step or more, and each accepted draft saved one.
  EXPECT_LE(counters.steps, 201u - counters.draft_tokens_accepted);
  const auto plain = make("off");
  ask(*plain, repetitive(200));
  EXPECT_EQ(plain->counters().draft_tokens, 0u);
}

// At every length the answer ends, and some of the ends lie inside a draft.
TEST_F(DraftsTest, MaxTokensInsideADraft) {
  const auto plain = make("off"), drafting = make("always");
  const Answer whole = ask(*plain, repetitive(60));
  for (int length = 1; length <= 60; ++length) {
    const Answer got = ask(*drafting, repetitive(length));
    EXPECT_EQ(got.done.reason, FinishReason::kLength);
    EXPECT_EQ(got.done.usage.completion_tokens, length);
    const std::vector<int32_t> ids = whole.ids();
    EXPECT_EQ(got.ids(), std::vector<int32_t>(ids.begin(), ids.begin() + length));
  }
}

TEST_F(DraftsTest, TheContextEndsInsideADraft) {
  for (const int context : {300, 301, 302, 303, 304, 305, 306, 307}) {
    Options options = one_thread(1);
    options.context_tokens = context;
    options.speculation = "off";
    const Answer expected = ask(*load_engine(*file_, options), repetitive(-1));
    options.speculation = "always";
    const Answer got = ask(*load_engine(*file_, options), repetitive(-1));
    expect_same(got, expected);
    EXPECT_EQ(got.done.usage.prompt_tokens + got.done.usage.completion_tokens, context);
  }
}

TEST_F(DraftsTest, StopStringsInsideADraft) {
  const auto plain = make("off"), drafting = make("always");
  const std::string whole = ask(*plain, repetitive(80)).text;
  ASSERT_GT(whole.size(), 60u);
  for (size_t at = 0; at + 5 < whole.size(); at += 3) {
    chat::Request request = repetitive(80);
    request.stop = {whole.substr(at, 5)};
    expect_same(ask(*drafting, request), ask(*plain, request));
  }
}

TEST_F(DraftsTest, EndTokenInsideADraft) {
  // The same model, but a token of its answers ends the turn; with another bias for every request.
  const std::vector<int32_t> free = ask(*make("off"), repetitive(60)).ids();
  for (const size_t at : {5, 17, 30, 59}) {
    model::TinyModel tiny(engine_spec());
    tiny.uints["tokenizer.ggml.eos_token_id"] = static_cast<uint32_t>(free[at]);
    const TinyFile file(tiny);
    Options options = one_thread();
    options.speculation = "off";
    const auto plain = load_engine(file, options);
    options.speculation = "always";
    const auto drafting = load_engine(file, options);
    for (const bool ignored : {false, true}) {
      chat::Request request = repetitive(60);
      request.ignore_eos = ignored;
      expect_same(ask(*drafting, request), ask(*plain, request));
    }
  }
}

TEST_F(DraftsTest, SequencesTogether) {
  const auto plain = make("off", 1);
  std::vector<chat::Request> requests;
  for (int i = 0; i < 10; ++i) {
    requests.push_back(repetitive(30 + 11 * i));
    requests.back().prompt += std::string(1 + static_cast<size_t>(i), 'x');
    if (i % 2 == 1) requests.back() = sampled(requests.back(), static_cast<uint64_t>(i), 0.4f);
  }
  std::vector<Answer> alone;
  for (const chat::Request& request : requests) alone.push_back(ask(*plain, request));
  for (const int slots : {2, 3, 8}) {
    const auto drafting = make("always", slots);
    std::vector<std::unique_ptr<chat::Stream>> streams;
    for (const chat::Request& request : requests) streams.push_back(start(*drafting, request));
    for (size_t i = 0; i < streams.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(i) + ", slots " + std::to_string(slots));
      expect_same(take_all(*streams[i]), alone[i]);
    }
    EXPECT_GT(drafting->counters().draft_tokens_accepted, 0u);
  }
}

// Rejected drafts leave keys and values behind, but no later prompt may find them.
TEST_F(DraftsTest, TheNextTurnFindsNoRejectedDrafts) {
  const auto plain = make("off", 1), drafting = make("always", 1);
  chat::Request request = repetitive(40);
  std::vector<int32_t> tokens = drafting->tokenizer().encode(request.prompt, {true, true});
  for (int turn = 0; turn < 6; ++turn) {
    SCOPED_TRACE("turn " + std::to_string(turn));
    chat::Request next = sampled(repetitive(40), static_cast<uint64_t>(turn), 0.8f);
    next.prompt.clear();
    next.prompt_tokens = tokens;
    const Answer got = ask(*drafting, next), expected = ask(*plain, next);
    expect_same(got, expected);
    EXPECT_EQ(got.done.usage.cached_tokens, expected.done.usage.cached_tokens);
    for (const int32_t id : got.ids()) tokens.push_back(id);
    tokens.push_back('a' + turn);
    // One that leaves the common way in the answer's middle.
    chat::Request fork = next;
    fork.prompt_tokens.assign(tokens.begin(), tokens.end() - 12);
    fork.prompt_tokens.push_back('z');
    expect_same(ask(*drafting, fork), ask(*plain, fork));
  }
}

TEST_F(DraftsTest, HealingGoesBeforeDrafts) {
  const auto plain = make("off"), drafting = make("always");
  for (const char* prefix : {"hello wor", "hel", "the cat and th"}) {
    chat::Request request = repetitive(60);
    request.assistant_prefix = prefix;
    request.heal_prefix = true;
    expect_same(ask(*drafting, request), ask(*plain, request));
  }
}

TEST_F(DraftsTest, CancelFreesTheSlot) {
  const auto engine = make("always", 1);
  for (int after = 1; after < 30; after += 4) {
    const auto stream = start(*engine, repetitive(-1));
    for (int i = 0; i < after; ++i) ASSERT_TRUE(stream->next(patience()).ok());
    stream->cancel();
    EXPECT_EQ(stream->next(patience()).error().code, ErrorCode::kCancelled);
  }
  EXPECT_TRUE(eventually([&] { return engine->counters().requests_cancelled == 8; }));
  expect_same(ask(*engine, repetitive(50)), ask(*make("off"), repetitive(50)));
}

TEST_F(DraftsTest, ASlowConsumerLagsNoFurtherThanWithout) {
  const auto engine = make("always");
  const auto slow = start(*engine, repetitive(600));
  EXPECT_TRUE(eventually([&] { return engine->counters().completion_tokens >= 250; }));
  ask(*engine, greedy("the cat", 300));
  EXPECT_LE(engine->counters().completion_tokens, 300u + 256u);
  expect_same(take_all(*slow), ask(*make("off"), repetitive(600)));
}

TEST_F(DraftsTest, AnUnknownModeIsRefused) {
  Options options = one_thread();
  options.speculation = "sometimes";
  const auto engine = Engine::load(file_->path(), options);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(engine.error().detail, testing::HasSubstr("sometimes"));
}

}  // namespace
}  // namespace hedge::engine
