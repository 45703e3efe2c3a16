// The states that probes read: those of the prompt's last token and of the answer's tokens that were chosen,
// however the prompt was cut, cached or decoded with drafts.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "engine/test_util.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "model/model.h"

namespace hedge::engine {
namespace {

struct Told {
  std::vector<int32_t> ids;
  std::vector<std::shared_ptr<const chat::States>> at;  // of each token; null where none came
  std::shared_ptr<const chat::States> end;
  int cached = 0;
};

Told tell(Engine& engine, chat::Request request) {
  Told told;
  request.top_logprobs = 0;
  const auto stream = start(engine, request);
  while (true) {
    chat::Event event = stream->next(patience()).value();
    if (const auto* delta = std::get_if<chat::Delta>(&event)) {
      for (const chat::TokenInfo& token : delta->tokens) {
        told.ids.push_back(token.chosen.id);
        told.at.push_back(delta->states);
      }
    }
    if (const auto* done = std::get_if<chat::Done>(&event)) {
      told.end = done->states;
      told.cached = done->usage.cached_tokens;
      return told;
    }
  }
}

Options with_states(const char* speculation = "off", int chunk = 256) {
  Options options = one_thread();
  options.state_blocks = {0, 1};
  options.speculation = speculation;
  options.prefill_chunk = chunk;
  return options;
}

chat::Request wanting(const std::string& text, int tokens, int every = 1) {
  chat::Request request = greedy(text, tokens);
  request.states_every = every;
  return request;
}

void expect_near(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-3f * (1 + std::abs(b[i]))) << i;
}

TEST(States, AreThoseOfAForwardPassOverTheSameTokens) {
  const TinyFile file{model::TinyModel(engine_spec())};
  const auto engine = load_engine(file, with_states());
  const Told told = tell(*engine, wanting("hello world", 12));
  ASSERT_EQ(told.ids.size(), 12u);
  ASSERT_NE(told.end, nullptr);
  EXPECT_EQ(told.end->tokens, 11);  // The last one was not read.
  ASSERT_NE(told.at[3], nullptr);
  EXPECT_EQ(told.at[3]->tokens, 3);

  const auto model = std::move(model::Model::load(file.path(), 1)).value();
  const auto forward = model->make_forward(256, 8, 1024);
  const std::vector<int> blocks{0, 1}, only{0};
  forward->tap(blocks);
  const auto cache = std::move(model::KvCache::create(model->config(), 1024, model::KvType::kQ8)).value();
  std::vector<int32_t> prompt = engine->tokenizer().encode("hello world", {true, true});
  std::vector<model::Row> rows;
  for (size_t i = 0; i < prompt.size(); ++i) rows.push_back({prompt[i], static_cast<int>(i), cache.get()});
  std::vector<int> every;
  for (size_t i = 0; i < rows.size(); ++i) every.push_back(static_cast<int>(i));
  forward->run(rows, every, model::Mode::kPrompt);
  const std::span<const float> last = forward->tapped(every.back());
  std::vector<double> sums(last.size());
  ASSERT_EQ(told.end->prompt.size(), 2 * last.size());
  const size_t end = std::min(rows.size(), chat::States::kPromptEnd);
  for (size_t r = rows.size() - end; r < rows.size(); ++r)
    for (size_t i = 0; i < sums.size(); ++i)
      sums[i] += static_cast<double>(forward->tapped(static_cast<int>(r))[i]);
  for (size_t i = 0; i < last.size(); ++i) {
    ASSERT_EQ(told.end->prompt[i], last[i]) << i;
    ASSERT_FLOAT_EQ(told.end->prompt[last.size() + i], static_cast<float>(sums[i] / static_cast<double>(end)))
        << i;
  }
  sums.assign(last.size(), 0.0);
  for (size_t t = 0; t + 1 < told.ids.size(); ++t) {
    const model::Row row{told.ids[t], static_cast<int>(prompt.size() + t), cache.get()};
    forward->run({&row, 1}, only, model::Mode::kDecode);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<double>(forward->tapped(0)[i]);
  }
  for (size_t i = 0; i < sums.size(); ++i)
    ASSERT_FLOAT_EQ(told.end->answer[i], static_cast<float>(sums[i] / 11)) << i;
}

TEST(States, DoNotDependOnPiecesCachedPrefixesOrDrafts) {
  const TinyFile file{model::TinyModel(engine_spec())};
  std::string text = "a a b a a b a a b";
  for (int i = 0; i < 4; ++i) text += text;
  const auto engine = load_engine(file, with_states());
  const Told plain = tell(*engine, wanting(text, 40));
  ASSERT_NE(plain.end, nullptr);

  const Told again = tell(*engine, wanting(text, 40));
  EXPECT_GT(again.cached, 0);
  ASSERT_EQ(again.ids, plain.ids);
  EXPECT_EQ(again.end->prompt, plain.end->prompt);
  expect_near(again.end->answer, plain.end->answer);

  const auto pieces = load_engine(file, with_states("off", 7));
  EXPECT_EQ(tell(*pieces, wanting(text, 40)).end->prompt, plain.end->prompt);

  const auto drafting = load_engine(file, with_states("always"));
  const Told drafted = tell(*drafting, wanting(text, 40));
  ASSERT_EQ(drafted.ids, plain.ids);
  EXPECT_EQ(drafted.end->tokens, plain.end->tokens);
  expect_near(drafted.end->answer, plain.end->answer);
}

TEST(States, ComeAsOftenAsAsked) {
  const TinyFile file{model::TinyModel(engine_spec())};
  const auto engine = load_engine(file, with_states());
  const Told told = tell(*engine, wanting("hello", 10, 4));
  for (size_t i = 0; i < told.at.size(); ++i)
    EXPECT_EQ(told.at[i] != nullptr, i == 0 || (i + 1) % 4 == 0) << i;
  const Told none = tell(*engine, wanting("hello", 10, 0));
  for (const auto& states : none.at) EXPECT_EQ(states, nullptr);
  EXPECT_EQ(none.end, nullptr);
  const auto without = load_engine(file, one_thread());
  EXPECT_EQ(tell(*without, wanting("hello", 10)).end, nullptr);
}

TEST(States, BlocksThatTheModelHasNotAreRefused) {
  const TinyFile file{model::TinyModel(engine_spec())};
  for (const std::vector<int>& blocks : {std::vector<int>{2}, {-1}, {1, 1}, {1, 0}}) {
    Options options = one_thread();
    options.state_blocks = blocks;
    const auto engine = Engine::load(file.path(), options);
    ASSERT_FALSE(engine.ok());
    EXPECT_NE(engine.error().detail.find("state blocks"), std::string::npos) << engine.error().detail;
  }
}

}  // namespace
}  // namespace hedge::engine
