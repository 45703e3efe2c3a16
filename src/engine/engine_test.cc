// The engine over tiny models: what a consumer of streams can rely on.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/test_util.h"

namespace hedge::engine {
namespace {

using chat::FinishReason;
using testing::HasSubstr;

class EngineTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { file_ = std::make_unique<TinyFile>(model::TinyModel(engine_spec())); }
  static void TearDownTestSuite() { file_.reset(); }
  static std::unique_ptr<Engine> make(const Options& options = one_thread()) {
    return load_engine(*file_, options);
  }
  static std::unique_ptr<TinyFile> file_;
};
std::unique_ptr<TinyFile> EngineTest::file_;

TEST_F(EngineTest, StreamsStartedDeltasDone) {
  const auto engine = make();
  const auto stream = start(*engine, greedy("hello world", 12));
  const Answer answer = take_all(*stream);
  const size_t prompt = engine->tokenizer().encode("hello world", {true, true}).size();
  EXPECT_EQ(answer.started.backend, "local");
  EXPECT_EQ(answer.started.model, engine->info().model);
  EXPECT_EQ(answer.started.prompt_tokens, static_cast<int>(prompt));
  EXPECT_EQ(answer.done.reason, FinishReason::kLength);
  EXPECT_EQ(answer.done.usage.prompt_tokens, static_cast<int>(prompt));
  EXPECT_EQ(answer.done.usage.cached_tokens, 0);
  EXPECT_EQ(answer.done.usage.completion_tokens, 12);
  EXPECT_EQ(answer.tokens.size(), 12u);
  EXPECT_EQ(answer.text, engine->tokenizer().decode(answer.ids()));
  EXPECT_EQ(stream->next(patience()).error().code, ErrorCode::kCancelled);  // Nothing comes after Done.
  const Counters counters = engine->counters();
  EXPECT_EQ(counters.requests, 1u);
  EXPECT_EQ(counters.prompt_tokens, prompt);
  EXPECT_EQ(counters.completion_tokens, 12u);
  EXPECT_EQ(counters.active, 0);
}

TEST_F(EngineTest, MaxTokensAndContextEndTheAnswer) {
  Options options = one_thread();
  options.context_tokens = 40;
  const auto engine = make(options);
  const Answer none = ask(*engine, greedy("hello", 0));
  EXPECT_EQ(none.done.usage.completion_tokens, 0);
  EXPECT_EQ(none.text, "");
  EXPECT_EQ(none.done.reason, FinishReason::kLength);
  const Answer full = ask(*engine, greedy("hello", -1));
  EXPECT_EQ(full.done.usage.prompt_tokens + full.done.usage.completion_tokens, 40);
  EXPECT_EQ(full.done.reason, FinishReason::kLength);
  // A prompt of 39 leaves room for one token, one of 40 for none.
  chat::Request request = greedy("", -1);
  request.prompt_tokens.assign(39, 'a');
  EXPECT_EQ(ask(*engine, request).done.usage.completion_tokens, 1);
  request.prompt_tokens.assign(40, 'a');
  const auto refused = engine->start(request);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kContextExceeded);
  request.prompt_tokens.assign(57, 'a');
  const auto longer = engine->start(request);
  ASSERT_FALSE(longer.ok());
  EXPECT_THAT(longer.error().detail, testing::AllOf(HasSubstr("57"), HasSubstr("40")));
}

TEST_F(EngineTest, BadRequestsAndOptionsAreRefused) {
  const auto engine = make();
  chat::Request request = greedy("", 1);
  request.prompt_tokens = {5, 1 << 20};
  EXPECT_EQ(engine->start(request).error().code, ErrorCode::kInvalidArgument);
  request.prompt_tokens = {-1};
  EXPECT_EQ(engine->start(request).error().code, ErrorCode::kInvalidArgument);
  const auto code_of = [&](void (*change)(Options&)) {
    Options options = one_thread();
    change(options);
    const auto result = Engine::load(file_->path(), options);
    return result.ok() ? ErrorCode::kInternal : result.error().code;
  };
  EXPECT_EQ(code_of([](Options& o) { o.slots = 0; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([](Options& o) { o.threads = -1; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([](Options& o) { o.prefill_chunk = 0; }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([](Options& o) { o.context_tokens = 1025; }),
            ErrorCode::kInvalidArgument);  // trained: 1024
}

TEST_F(EngineTest, TheSecondTurnFindsTheFirst) {
  const auto engine = make();
  chat::Request request = greedy("hello there, the cat and the world", 10);
  const Answer first = ask(*engine, request);
  chat::Request next = greedy("", 10);
  next.prompt_tokens = engine->tokenizer().encode(request.prompt, {true, true});
  for (const int32_t id : first.ids()) next.prompt_tokens.push_back(id);
  const std::vector<int32_t> more = engine->tokenizer().encode(" and in", {false, false});
  next.prompt_tokens.insert(next.prompt_tokens.end(), more.begin(), more.end());
  const Answer second = ask(*engine, next);
  // All but the first answer's last token, which was sent but never computed.
  EXPECT_EQ(second.done.usage.cached_tokens, first.done.usage.prompt_tokens + 10 - 1);
  EXPECT_EQ(second.started.cached_tokens, second.done.usage.cached_tokens);
  EXPECT_EQ(ask(*make(), next).ids(), second.ids());  // as if nothing had been cached
  // The same prompt once more: at least one token runs, for its logits.
  const Answer again = ask(*engine, next);
  EXPECT_EQ(again.done.usage.cached_tokens, static_cast<int>(next.prompt_tokens.size()) - 1);
  EXPECT_EQ(again.ids(), second.ids());
}

TEST_F(EngineTest, ConcurrentAnswersEqualSingleOnes) {
  std::vector<chat::Request> requests;
  const char* prompts[] = {"hello", "the cat and the world", "a",    "there in the world", "wor",
                           "and",   "ing ing ing",           "12345"};
  std::string long_prompt = "the cat";
  for (int i = 0; i < 60; ++i) long_prompt += " and there";
  for (const char* prompt : prompts)
    requests.push_back(greedy(prompt, 20 + static_cast<int>(requests.size()) * 7));
  requests.push_back(greedy(long_prompt, 30));             // prompt pieces beside decodes
  requests.push_back(greedy(long_prompt + " hello", 30));  // shares its prompt with the one above
  std::vector<std::vector<int32_t>> alone;
  for (const chat::Request& request : requests) alone.push_back(ask(*make(one_thread(1)), request).ids());
  for (const int chunk : {5, 256}) {
    Options options = one_thread(4);
    options.prefill_chunk = chunk;
    const auto engine = make(options);
    std::vector<std::unique_ptr<chat::Stream>> streams;
    for (const chat::Request& request : requests) streams.push_back(start(*engine, request));
    for (size_t i = 0; i < streams.size(); ++i) {
      EXPECT_EQ(take_all(*streams[i]).ids(), alone[i])
          << "request " << i << ", prompt rows per step: " << chunk;
    }
  }
}

TEST_F(EngineTest, TheSeedDecidesASampledAnswer) {
  const auto engine = make();
  chat::Request request = greedy("hello", 40);
  request.sampling = chat::Sampling{};
  request.sampling.seed = 5;
  const Answer one = ask(*engine, request);
  EXPECT_EQ(ask(*engine, request).ids(), one.ids());
  request.sampling.seed = 6;
  EXPECT_NE(ask(*engine, request).ids(), one.ids());
}

TEST_F(EngineTest, TokensCarryTheFactsThatWereAskedFor) {
  const auto engine = make();
  chat::Request request = greedy("hello", 5);
  for (const chat::TokenInfo& token : ask(*engine, request).tokens) EXPECT_TRUE(token.top.empty());
  request.top_logprobs = 3;
  request.want_confidence = true;
  for (const chat::TokenInfo& token : ask(*engine, request).tokens) {
    ASSERT_EQ(token.top.size(), 3u);
    EXPECT_EQ(token.top[0].id, token.chosen.id);
    EXPECT_EQ(token.top[0].bytes, engine->tokenizer().token_bytes(token.chosen.id));
    EXPECT_FLOAT_EQ(token.top[0].logprob, token.chosen.logprob);
    EXPECT_NEAR(token.margin, std::exp(token.top[0].logprob) - std::exp(token.top[1].logprob), 1e-5);
    EXPECT_GT(token.entropy, 0);
  }
}

TEST_F(EngineTest, StopStringsEndTheAnswerBeforeThem) {
  const auto engine = make();
  const std::string whole = ask(*engine, greedy("hello", 60)).text;
  ASSERT_GT(whole.size(), 40u);
  for (const size_t at : {size_t{0}, size_t{7}, size_t{25}}) {
    chat::Request request = greedy("hello", 60);
    request.stop = {"\x01never\x01", whole.substr(at, 6)};
    const Answer answer = ask(*engine, request);
    EXPECT_EQ(answer.text, whole.substr(0, whole.find(request.stop[1])));
    EXPECT_EQ(answer.done.reason, FinishReason::kStop);
    EXPECT_LT(answer.done.usage.completion_tokens, 60);
  }
}

TEST_F(EngineTest, EndOfTurnTokens) {
  // The same model, but a token that it likes to write ends the turn.
  const std::vector<int32_t> free = ask(*make(), greedy("hello", 60)).ids();
  model::TinyModel tiny(engine_spec());
  const int32_t end = free[20];
  tiny.uints["tokenizer.ggml.eos_token_id"] = static_cast<uint32_t>(end);
  const TinyFile file(tiny);
  const auto engine = load_engine(file, one_thread());
  const long first = std::find(free.begin(), free.end(), end) - free.begin();
  const Answer stopped = ask(*engine, greedy("hello", 60));
  EXPECT_EQ(stopped.done.reason, FinishReason::kStop);
  EXPECT_EQ(stopped.ids(), std::vector<int32_t>(free.begin(), free.begin() + first));
  EXPECT_EQ(stopped.text, engine->tokenizer().decode(stopped.ids()));
  chat::Request request = greedy("hello", 60);
  request.ignore_eos = true;
  const Answer ignored = ask(*engine, request);
  EXPECT_EQ(ignored.done.reason, FinishReason::kLength);
  EXPECT_EQ(ignored.done.usage.completion_tokens, 60);
  EXPECT_THAT(ignored.ids(), testing::Not(testing::Contains(end)));
}

// The answer to a conversation without a template is a transcript's next turn: no leading space, stopped at
// "\nUser:".
TEST_F(EngineTest, ConversationsWithoutATemplate) {
  const auto engine = make();
  chat::Request request = greedy("", 20);
  request.raw = false;
  request.messages = {{chat::Role::kUser, "hello", ""}};
  const Answer answer = ask(*engine, request);
  const std::string prompt = "User: hello\nAssistant:";
  EXPECT_EQ(answer.done.usage.prompt_tokens,
            static_cast<int>(engine->tokenizer().encode(prompt, {true, true}).size()));
  std::string expected = ask(*engine, greedy(prompt, 20)).text;
  if (!expected.empty() && expected[0] == ' ') expected.erase(0, 1);
  EXPECT_EQ(answer.text, expected);
}

// ---- healing ----

// What the healed answer owes: only the prefix's tokens are taken back from the prompt, the tokens that spell
// them again are none of the answer, and of the one that goes on past them only the rest is text.
void expect_healed(Engine& engine, const std::string& before, const std::string& prefix) {
  SCOPED_TRACE("prefix of " + std::to_string(prefix.size()) + " bytes: " + testing::PrintToString(prefix));
  chat::Request request = greedy(before, 24);
  request.assistant_prefix = prefix;
  request.heal_prefix = true;
  const Answer answer = ask(engine, request);
  const std::vector<int32_t> whole = engine.tokenizer().encode(before + prefix, {true, true});
  const size_t kept = static_cast<size_t>(answer.done.usage.prompt_tokens);
  ASSERT_LE(kept, whole.size());
  std::string taken;
  for (size_t i = kept; i < whole.size(); ++i) taken += engine.tokenizer().token_bytes(whole[i]);
  EXPECT_TRUE(prefix.ends_with(taken)) << "took back more than the prefix: " << testing::PrintToString(taken);
  std::string spelled;
  for (const int32_t id : answer.ids()) spelled += engine.tokenizer().token_bytes(id);
  ASSERT_TRUE(spelled.ends_with(answer.text)) << testing::PrintToString(spelled);
  EXPECT_TRUE(taken.ends_with(spelled.substr(0, spelled.size() - answer.text.size())));
  EXPECT_EQ(answer.ids().size(), 24u);
  EXPECT_EQ(answer.done.usage.completion_tokens, 24);
  // The words that stand and the answer are what the model says to the prompt without the broken word: where
  // it spells that word of its own accord, nothing is lost or doubled.
  chat::Request plain = greedy(engine.tokenizer().decode(std::span(whole).first(kept)), 64);
  plain.prompt_tokens.assign(whole.begin(), whole.begin() + static_cast<long>(kept));
  const std::string free = ask(engine, plain).text;
  if (free.starts_with(taken)) {
    EXPECT_TRUE(free.starts_with(taken + answer.text)) << free;
  }
}

TEST_F(EngineTest, HealingLosesAndDoublesNothing) {
  const auto engine = make();
  for (const char* prefix : {"hello wor", "hel", "hello ", "the cat and th", " ", "x", "a\nwor", "hello, wor",
                             "there", "abcdefghijklmnopq", "the hello hello hell", "wor wor\tin"}) {
    expect_healed(*engine, "the world: ", prefix);
    expect_healed(*engine, "", prefix);
  }
}

TEST_F(EngineTest, HealingKeepsCharactersWhole) {
  const auto engine = make();
  // Two to four tokens per character in this vocabulary; the eight tokens that are taken back at most may end
  // anywhere.
  const std::string e = "\u00e9", euro = "\u20ac", smile = "\U0001F600";
  for (const std::string& prefix :
       {e, "x" + e, e + e + e + e + "x", euro + euro + euro, smile + smile + "x" + smile,
        "hello " + euro + euro + euro + "ab", e + e + e + e + e + e}) {
    expect_healed(*engine, "the world: ", prefix);
  }
}

TEST_F(EngineTest, HealingWithoutAPrefixDoesNothing) {
  const auto engine = make();
  chat::Request request = greedy("hello wor", 10);
  const std::vector<int32_t> plain = ask(*engine, request).ids();
  request.heal_prefix = true;
  EXPECT_EQ(ask(*engine, request).ids(), plain);
}

// ---- cancelling, queueing, pausing ----

TEST_F(EngineTest, CancelFreesTheSlot) {
  const auto engine = make(one_thread(1));
  const auto first = start(*engine, greedy("hello", -1));  // unread, it holds its slot for good
  expect_started(*first);
  const auto second = start(*engine, greedy("the cat", 5));
  EXPECT_EQ(second->next(SteadyClock::now()).error().code, ErrorCode::kTimeout);
  first->cancel();
  EXPECT_EQ(first->next(patience()).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(take_all(*second).done.usage.completion_tokens, 5);
  EXPECT_TRUE(eventually([&] { return engine->counters().requests_cancelled == 1; }));
}

TEST_F(EngineTest, DroppingAStreamFreesTheSlot) {
  const auto engine = make(one_thread(1));
  expect_started(*start(*engine, greedy("hello", -1)));
  EXPECT_EQ(ask(*engine, greedy("the cat", 5)).done.usage.completion_tokens, 5);
}

TEST_F(EngineTest, CancelWhileQueuedWakesTheConsumer) {
  const auto engine = make(one_thread(1));
  const auto running = start(*engine, greedy("hello", -1));
  expect_started(*running);
  const auto queued = start(*engine, greedy("the cat", 5));
  std::atomic<bool> waits{false};
  ErrorCode code = ErrorCode::kInternal;
  std::thread consumer([&] {
    waits = true;
    const auto event = queued->next(kNoDeadline);
    code = event.ok() ? ErrorCode::kInternal : event.error().code;
  });
  while (!waits) std::this_thread::yield();
  queued->cancel();
  consumer.join();
  EXPECT_EQ(code, ErrorCode::kCancelled);
  EXPECT_TRUE(eventually([&] { return engine->state().queued == 0; }));
  running->cancel();
  EXPECT_EQ(ask(*engine, greedy("the cat", 5)).done.usage.completion_tokens, 5);
}

TEST_F(EngineTest, CancelWhilePrefilling) {
  Options options = one_thread(1);
  options.prefill_chunk = 1;
  const auto engine = make(options);
  chat::Request request = greedy("", 5);
  request.prompt_tokens.assign(1000, 'x');
  const auto stream = start(*engine, request);
  expect_started(*stream);
  stream->cancel();
  EXPECT_EQ(stream->next(patience()).error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(
      eventually([&] { return engine->counters().requests_cancelled == 1 && engine->state().active == 0; }));
  EXPECT_EQ(ask(*engine, greedy("the cat", 5)).ids(), ask(*make(), greedy("the cat", 5)).ids());
}

TEST_F(EngineTest, AFullQueueSaysWhenToComeAgain) {
  Options options = one_thread(1);
  options.queue_max = 2;
  const auto engine = make(options);
  const auto running = start(*engine, greedy("hello", -1));
  expect_started(*running);
  const auto second = start(*engine, greedy("a", 5)), third = start(*engine, greedy("b", 5));
  const auto refused = engine->start(greedy("c", 5));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_GT(refused.error().retry_after_ms, 0);
  EXPECT_EQ(engine->counters().requests_rejected, 1u);
  EXPECT_EQ(engine->state().active, 1);
  EXPECT_EQ(engine->state().queued, 2);
  second->cancel();
  EXPECT_TRUE(eventually([&] { return engine->state().queued == 1; }));
  const auto fourth = start(*engine, greedy("c", 5));
  running->cancel();
  EXPECT_EQ(take_all(*third).done.usage.completion_tokens, 5);
  EXPECT_EQ(take_all(*fourth).done.usage.completion_tokens, 5);
}

TEST_F(EngineTest, ASlowConsumerPausesOnlyItself) {
  const auto engine = make();
  const std::vector<int32_t> expected = ask(*make(), greedy("hello", 600)).ids();
  ASSERT_EQ(expected.size(), 600u);
  const auto slow = start(*engine, greedy("hello", 600));
  EXPECT_TRUE(eventually([&] { return engine->counters().completion_tokens >= 250; }));
  EXPECT_EQ(ask(*engine, greedy("the cat", 300)).done.usage.completion_tokens, 300);  // others go on
  EXPECT_LT(engine->counters().completion_tokens, 300u + 270u);                       // and it did not
  EXPECT_EQ(take_all(*slow).ids(), expected);
}

TEST_F(EngineTest, DestroyingTheEngineEndsItsStreams) {
  auto engine = make(one_thread(2));
  std::vector<std::unique_ptr<chat::Stream>> streams;
  for (const char* prompt : {"hello", "the cat", "a", "in"})
    streams.push_back(start(*engine, greedy(prompt, -1)));
  expect_started(*streams[0]);
  std::thread consumer([&] {  // blocks in a queued one
    const auto event = streams[3]->next(kNoDeadline);
    EXPECT_FALSE(event.ok());
  });
  engine.reset();
  consumer.join();
  for (size_t i = 0; i < 3; ++i) {
    ErrorCode code = ErrorCode::kInternal;
    for (int events = 0; events < 2000; ++events) {
      const auto event = streams[i]->next(patience());
      if (event.ok()) continue;
      code = event.error().code;
      break;
    }
    EXPECT_EQ(code, ErrorCode::kUnavailable) << "stream " << i;
  }
  streams[1]->cancel();  // The streams outlive the engine without harm.
  streams.clear();
}

// ---- memory of the KV cache ----

std::string sentences(int count, const std::string& word) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "the " + word + " and " + std::to_string(i) + " there ";
  return text;
}

TEST_F(EngineTest, ASmallBudgetMakesRequestsWaitAndChangesNoAnswer) {
  Options small = one_thread(4);
  small.kv_memory_mb = 1;
  const auto engine = make(small);
  const size_t budget = engine->counters().kv_bytes_max;
  ASSERT_LT(budget, make(one_thread(4))->counters().kv_bytes_max);
  std::vector<chat::Request> requests;
  for (int i = 0; i < 24; ++i) {
    requests.push_back(greedy(std::to_string(i % 12) + sentences(20 + i % 7 * 10, "cat"), 40));
    requests.back().ignore_eos = true;
  }
  std::vector<std::unique_ptr<chat::Stream>> streams;
  for (const chat::Request& request : requests) streams.push_back(start(*engine, request));
  for (size_t i = 0; i < streams.size(); ++i) {
    EXPECT_EQ(take_all(*streams[i]).ids(), ask(*make(one_thread(1)), requests[i]).ids()) << "request " << i;
    EXPECT_LE(engine->counters().kv_bytes_used, budget);
  }
  EXPECT_GT(engine->counters().kv_pages_evicted, 0u);
}

// One that needs more memory than is free is overtaken, but not without end.
TEST_F(EngineTest, ALargeRequestDoesNotBlockSmallOnesNorStarves) {
  model::TinySpec spec = engine_spec();
  spec.context = 8192;
  const TinyFile file{model::TinyModel(spec)};
  Options options = one_thread(2);
  options.context_tokens = 8192;
  options.kv_memory_mb = 1;
  const auto engine = load_engine(file, options);
  const int most = engine->info().context_tokens;
  ASSERT_GT(most, 1000);
  // It fills its channel, nobody reads, and it stays.
  chat::Request half = greedy("hello", most / 2);
  half.ignore_eos = true;
  const auto running = start(*engine, half);
  expect_started(*running);
  chat::Request whole = greedy("the cat", most - 100);
  whole.ignore_eos = true;
  const auto large = start(*engine, whole);
  constexpr int kOvertaken = 8;  // kOvertakenMax
  for (int i = 0; i < kOvertaken; ++i)
    EXPECT_EQ(ask(*engine, greedy("small " + std::to_string(i), 3)).done.usage.completion_tokens, 3);
  const auto last = start(*engine, greedy("small again", 3));
  EXPECT_EQ(engine->state().queued, 2);
  EXPECT_EQ(engine->state().active, 1);
  running->cancel();
  expect_started(*large);  // its turn
  EXPECT_TRUE(eventually([&] { return engine->state().active >= 1; }));
  large->cancel();
  EXPECT_EQ(take_all(*last).done.usage.completion_tokens, 3);
}

TEST_F(EngineTest, TellsOfTheAnswersInTheMaking) {
  const auto engine = make(one_thread(2));
  EXPECT_EQ(engine->slots(), 2);
  EXPECT_TRUE(engine->running().empty());
  chat::Request request = greedy("hello", 500);
  request.ignore_eos = true;
  const auto stream = start(*engine, request);
  expect_started(*stream);
  EXPECT_TRUE(eventually([&] {
    const std::vector<Running> running = engine->running();
    return running.size() == 1 && running[0].answer_tokens > 10 && running[0].tokens_per_second > 0;
  }));
  const Running running = engine->running().at(0);
  EXPECT_GT(running.prompt_tokens, 0U);
  EXPECT_EQ(running.prompt_read, running.prompt_tokens);
  EXPECT_GT(running.age_seconds, 0);
  stream->cancel();
  EXPECT_TRUE(eventually([&] { return engine->running().empty(); }));
}

TEST_F(EngineTest, WhatNeverFitsIsRefusedWithNumbers) {
  model::TinySpec spec = engine_spec();
  spec.context = 8192;
  const TinyFile file{model::TinyModel(spec)};
  Options options = one_thread(2);
  options.context_tokens = 8192;
  options.kv_memory_mb = 1;
  const auto engine = load_engine(file, options);
  chat::Request request = greedy("", 2000);
  request.prompt_tokens.assign(6000, 'x');
  const auto refused = engine->start(request);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kContextExceeded);
  EXPECT_THAT(refused.error().detail, testing::AllOf(HasSubstr("6000 tokens"), HasSubstr("2000"),
                                                     HasSubstr("kv_memory_mb, --kv-memory")));
  EXPECT_EQ(refused.error().field, "prompt");  // it alone is too long
  request.prompt_tokens.resize(100);
  request.max_tokens = 8000;
  EXPECT_EQ(engine->start(request).error().field, "max_tokens");
  // An answer without a limit gets what there is.
  request = greedy("hello", -1);
  request.ignore_eos = true;
  const Answer answer = ask(*engine, request);
  EXPECT_EQ(answer.done.reason, FinishReason::kLength);
  EXPECT_LT(answer.done.usage.completion_tokens, 8000);
  EXPECT_GT(answer.done.usage.completion_tokens, 500);
}

TEST_F(EngineTest, ARestartFindsThePrefixOnDisk) {
  const std::string folder = testing::TempDir() + "hedge-engine-kv-" + std::to_string(getpid());
  for (const auto& [architecture, kv_type] :
       {std::pair{"llama", "q8"}, {"gemma3", "q8"}, {"llama", "q5"}, {"gemma3", "q5"}}) {
    SCOPED_TRACE(std::string(architecture) + " " + kv_type);
    model::TinySpec spec = engine_spec();
    spec.architecture = architecture;
    spec.window = 100;
    spec.layers = 7;
    const TinyFile file{model::TinyModel(spec)};
    Options options = one_thread(1);
    options.kv_type = kv_type;
    const chat::Request request = greedy(sentences(40, "cat"), 30);
    const Answer expected = ask(*load_engine(file, options), request);
    options.kv_disk_dir = folder;
    EXPECT_EQ(ask(*load_engine(file, options), request).ids(), expected.ids());
    const auto engine = load_engine(file, options);
    const Answer again = ask(*engine, request);
    EXPECT_EQ(again.ids(), expected.ids());
    EXPECT_EQ(again.done.usage.cached_tokens, again.done.usage.prompt_tokens - 1);
    EXPECT_GT(engine->counters().kv_disk_pages_read, 4u);
    options.kv_type = "f16";  // other pages
    EXPECT_EQ(ask(*load_engine(file, options), request).done.usage.cached_tokens, 0);
    std::filesystem::remove_all(folder);
  }
}

TEST_F(EngineTest, AnUnusableDiskFolderIsOnlyAWarning) {
  Options options = one_thread(1);
  options.kv_disk_dir = file_->path() + "/kv";
  std::string warning;
  options.warn = [&](const std::string& text) { warning = text; };
  EXPECT_EQ(ask(*make(options), greedy("hello", 5)).ids(), ask(*make(), greedy("hello", 5)).ids());
  EXPECT_THAT(warning, testing::AllOf(HasSubstr("not kept on disk"), HasSubstr(file_->path())));
}

// A prompt of several windows, taken up again at many places, says what it says when all is computed.
class EnginePages : public EngineTest,
                    public testing::WithParamInterface<std::pair<const char*, const char*>> {};
INSTANTIATE_TEST_SUITE_P(Types, EnginePages,
                         testing::Values(std::pair{"gemma3", "q8"}, std::pair{"gemma3", "q5"},
                                         std::pair{"llama", "q5"}),
                         [](const auto& each) {
                           return std::string(each.param.first) + "_" + each.param.second;
                         });

TEST_P(EnginePages, AreTakenUpAnywhere) {
  model::TinySpec spec = engine_spec();
  spec.architecture = GetParam().first;
  spec.layers = 7;
  spec.window = 100;
  const TinyFile file{model::TinyModel(spec)};
  Options options = one_thread(2), single = one_thread(1);
  options.kv_type = single.kv_type = GetParam().second;
  const auto engine = load_engine(file, options);
  chat::Request request = greedy("", 12);
  const std::vector<int32_t> all = engine->tokenizer().encode(sentences(120, "cat"), {true, true});
  ASSERT_GT(all.size(), 700u);
  for (const size_t length : {700, 300, 128, 650, 135, 64, 500}) {
    request.prompt_tokens.assign(all.begin(), all.begin() + static_cast<long>(length));
    request.prompt_tokens.push_back(static_cast<int32_t>('a' + length % 20));
    const Answer answer = ask(*engine, request);
    EXPECT_EQ(answer.ids(), ask(*load_engine(file, single), request).ids()) << length;
    EXPECT_EQ(answer.done.usage.cached_tokens, length == 700 ? 0 : static_cast<int>(length));
  }
}

TEST_F(EngineTest, ADamagedVocabularyIsRefused) {
  model::TinyModel tiny(engine_spec());
  tiny.vocab.tokens.push_back("<extra>");
  tiny.vocab.types.push_back(1);
  const TinyFile file(tiny);
  const auto engine = Engine::load(file.path(), one_thread());
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(engine.error().detail, HasSubstr("tokens, the embedding"));
}

}  // namespace
}  // namespace hedge::engine
