// What the engine allocates for one generated token. The forward pass and the sampler allocate nothing; what
// is left is the event that carries the token to its consumer (the Delta's list of one token, the queue's
// memory, strings longer than fit into a std::string itself).
#include <gtest/gtest.h>

#include "engine/test_util.h"
#include "tests/support/counting_new.h"

namespace hedge::engine {
namespace {

using hedge::testing::allocations;

TEST(Allocation, ATokenCostsItsEventAndNoMore) {
  const TinyFile file{model::TinyModel(engine_spec())};
  for (const char* speculation : {"off", "always"}) {
    SCOPED_TRACE(speculation);
    Options options = one_thread();
    options.speculation = speculation;
    const auto engine = load_engine(file, options);
    // The difference of a long and a short answer leaves out what a request costs once. The consumer only
    // counts.
    const auto allocations_of = [&](int tokens) {
      const long before = allocations.load();
      const auto stream = start(*engine, greedy("hello", tokens));
      while (!std::holds_alternative<chat::Done>(stream->next(patience()).value())) {
      }
      return allocations.load() - before;
    };
    allocations_of(200);
    const double each = static_cast<double>(allocations_of(200) - allocations_of(100)) / 100;
    RecordProperty(std::string("allocations_per_token_") + speculation, std::to_string(each));
    EXPECT_GE(each, 1);  // The list in the Delta at least, or nothing was counted.
    EXPECT_LE(each, 4);
  }
}

class SumProbe final : public chat::StateProbe {
 public:
  std::span<const int> blocks() const override { return kBlocks; }
  std::unique_ptr<chat::AnswerProbe> begin() const override { return std::make_unique<Answer>(); }

 private:
  static constexpr int kBlocks[] = {1};
  struct Answer final : chat::AnswerProbe {
    void token(const chat::TokenInfo& token) override { sum += token.entropy; }
    bool wants() const override { return true; }
    float wrong(const chat::StateView& states) override { return sum + states.prompt[0] + states.answer[0]; }
    float sum = 0;
  };
};

TEST(Allocation, AProbeCostsNothingPerToken) {
  const TinyFile file{model::TinyModel(engine_spec())};
  Options options = one_thread();
  options.speculation = "off";
  options.probe = [](const gguf::File&,
                     const model::Config&) -> Result<std::shared_ptr<const chat::StateProbe>> {
    return std::shared_ptr<const chat::StateProbe>(std::make_shared<SumProbe>());
  };
  const auto engine = load_engine(file, options);
  const auto allocations_of = [&](int tokens, bool probed) {
    chat::Request request = greedy("hello", tokens);
    request.want_confidence = probed;
    const long before = allocations.load();
    const auto stream = start(*engine, request);
    while (!std::holds_alternative<chat::Done>(stream->next(patience()).value())) {
    }
    return allocations.load() - before;
  };
  allocations_of(200, true);
  const long with = allocations_of(200, true) - allocations_of(100, true);
  const long without = allocations_of(200, false) - allocations_of(100, false);
  EXPECT_NEAR(static_cast<double>(with), static_cast<double>(without), 20);
}

}  // namespace
}  // namespace hedge::engine
