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

}  // namespace
}  // namespace hedge::engine
