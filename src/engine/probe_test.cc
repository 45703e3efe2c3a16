// A probe in the engine is told what the tokens and the states of the answer were, and changes nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <vector>

#include "engine/test_util.h"

namespace hedge::engine {
namespace {

// Its verdict is a number that depends on all it was given, so that a wrong or a missing piece shows.
float digest(std::span<const float> prompt, std::span<const float> answer, int tokens, double told) {
  const double sum = std::accumulate(prompt.begin(), prompt.end(), 0.0) +
                     3 * std::accumulate(answer.begin(), answer.end(), 0.0);
  return static_cast<float>(sum + 100 * tokens + told);
}
double facts_of(const chat::TokenInfo& token) {
  return static_cast<double>(token.chosen.logprob) + 10 * static_cast<double>(token.entropy) +
         100 * static_cast<double>(token.margin);
}

class DigestProbe final : public chat::StateProbe {
 public:
  explicit DigestProbe(int every) : every_(every) {}
  std::span<const int> blocks() const override { return kBlocks; }
  std::unique_ptr<chat::AnswerProbe> begin() const override {
    ++begun;
    return std::make_unique<Answer>(every_);
  }
  mutable std::atomic<int> begun{0};

 private:
  static constexpr int kBlocks[] = {0, 1};
  struct Answer final : chat::AnswerProbe {
    explicit Answer(int often) : every(often) {}
    void token(const chat::TokenInfo& token) override {
      told += facts_of(token);
      ++count;
    }
    bool wants() const override { return count % every == 0; }
    float wrong(const chat::StateView& states) override {
      return digest(states.prompt, states.answer, states.tokens, told);
    }
    const int every;
    double told = 0;
    int count = 0;
  };
  const int every_;
};

Options probing(const std::shared_ptr<DigestProbe>& probe, const char* speculation = "off") {
  Options options = one_thread();
  options.speculation = speculation;
  options.probe = [probe](const gguf::File&,
                          const model::Config&) -> Result<std::shared_ptr<const chat::StateProbe>> {
    return std::shared_ptr<const chat::StateProbe>(probe);
  };
  return options;
}

struct Told {
  std::vector<int32_t> ids;
  std::vector<std::optional<float>> said, expected;  // of each token
  std::optional<float> end, end_expected;
  int cached = 0, accepted = 0;
};

// The verdicts beside those that the states in the same stream give.
Told tell(Engine& engine, chat::Request request) {
  request.want_confidence = true;
  request.states_every = 1;
  request.top_logprobs = 0;
  const auto stream = start(engine, request);
  Told told;
  double facts = 0;
  while (true) {
    chat::Event event = stream->next(patience()).value();
    if (const auto* delta = std::get_if<chat::Delta>(&event)) {
      if (delta->tokens.empty()) continue;
      facts += facts_of(delta->tokens[0]);
      told.ids.push_back(delta->tokens[0].chosen.id);
      told.said.push_back(delta->p_wrong);
      const chat::States& states = *delta->states;
      told.expected.push_back(digest(states.prompt, states.answer, states.tokens, facts));
    }
    if (const auto* done = std::get_if<chat::Done>(&event)) {
      told.end = done->p_wrong;
      told.end_expected = digest(done->states->prompt, done->states->answer, done->states->tokens, facts);
      told.cached = done->usage.cached_tokens;
      told.accepted = done->usage.draft_tokens_accepted;
      return told;
    }
  }
}

void expect_as_the_states_say(const Told& told, int every) {
  for (size_t i = 0; i < told.said.size(); ++i) {
    ASSERT_EQ(told.said[i].has_value(), (i + 1) % static_cast<size_t>(every) == 0) << i;
    if (!told.said[i]) continue;
    ASSERT_FLOAT_EQ(*told.said[i], *told.expected[i]) << i;
  }
  ASSERT_TRUE(told.end.has_value());
  ASSERT_FLOAT_EQ(*told.end, *told.end_expected);
}

std::string repeating() {
  std::string text = "a a b a a b a a b";
  for (int i = 0; i < 4; ++i) text += text;
  return text;
}

TEST(EngineProbe, IsToldTheStatesAndTheTokensAndChangesNoBit) {
  const TinyFile file{model::TinyModel(engine_spec())};
  const auto plain = load_engine(file, one_thread());
  const Answer expected = ask(*plain, greedy(repeating(), 40));
  for (const char* speculation : {"off", "always"}) {
    SCOPED_TRACE(speculation);
    const auto probe = std::make_shared<DigestProbe>(3);
    const auto engine = load_engine(file, probing(probe, speculation));
    for (const bool again : {false, true}) {  // the second finds the prompt in the cache
      const Told told = tell(*engine, greedy(repeating(), 40));
      EXPECT_EQ(told.ids, expected.ids());
      EXPECT_EQ(told.cached > 0, again);
      expect_as_the_states_say(told, 3);
      EXPECT_TRUE(told.accepted > 0 || std::string_view(speculation) == "off");
    }
  }
}

TEST(EngineProbe, EachOfSeveralAnswersHasItsOwn) {
  const TinyFile file{model::TinyModel(engine_spec())};
  const auto probe = std::make_shared<DigestProbe>(1);
  const auto engine = load_engine(file, probing(probe));
  std::vector<Told> told(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < told.size(); ++i) {
    threads.emplace_back([&, i] {
      chat::Request request = greedy(i < 2 ? repeating() : "hello world", 30);
      request.sampling.temperature = 1;
      request.sampling.seed = i;
      told[i] = tell(*engine, request);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Told& each : told) expect_as_the_states_say(each, 1);
  EXPECT_EQ(probe->begun, 4);
  EXPECT_NE(told[0].ids, told[1].ids);
}

TEST(EngineProbe, HealedTokensAreNoPartOfTheAnswer) {
  const TinyFile file{model::TinyModel(engine_spec())};
  const auto engine = load_engine(file, probing(std::make_shared<DigestProbe>(1)));
  chat::Request request = greedy("the world: ", 12);
  request.assistant_prefix = "hello wor";
  request.heal_prefix = true;
  const Told told = tell(*engine, request);
  expect_as_the_states_say(told, 1);
  // Its first token comes with the prompt's state alone, however many tokens were spelled again before.
  request.states_every = 1;
  const auto stream = start(*engine, request);
  std::vector<int> states;
  while (true) {
    const chat::Event event = stream->next(patience()).value();
    if (std::holds_alternative<chat::Done>(event)) break;
    if (const auto* delta = std::get_if<chat::Delta>(&event); delta != nullptr && delta->states)
      states.push_back(delta->states->tokens);
  }
  ASSERT_FALSE(states.empty());
  for (size_t i = 0; i < states.size(); ++i) EXPECT_EQ(states[i], static_cast<int>(i));
}

TEST(EngineProbe, WorksForThoseWhoAskAlone) {
  const TinyFile file{model::TinyModel(engine_spec())};
  const auto probe = std::make_shared<DigestProbe>(1);
  const auto engine = load_engine(file, probing(probe));
  const auto stream = start(*engine, greedy("hello", 10));
  while (true) {
    const chat::Event event = stream->next(patience()).value();
    const auto* delta = std::get_if<chat::Delta>(&event);
    EXPECT_FALSE(delta != nullptr && delta->p_wrong.has_value());
    if (const auto* done = std::get_if<chat::Done>(&event)) {
      EXPECT_FALSE(done->p_wrong.has_value());
      break;
    }
  }
  EXPECT_EQ(probe->begun, 0);
}

TEST(EngineProbe, AnErrorOfWhoFindsItEndsTheLoad) {
  const TinyFile file{model::TinyModel(engine_spec())};
  Options options = one_thread();
  options.probe = [](const gguf::File&,
                     const model::Config&) -> Result<std::shared_ptr<const chat::StateProbe>> {
    return make_error(ErrorCode::kInvalidArgument, "another model");
  };
  const auto engine = Engine::load(file.path(), options);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().detail, "another model");
  options.probe = [](const gguf::File&,
                     const model::Config&) -> Result<std::shared_ptr<const chat::StateProbe>> {
    return std::shared_ptr<const chat::StateProbe>();
  };
  EXPECT_TRUE(Engine::load(file.path(), options).ok());
}

}  // namespace
}  // namespace hedge::engine
