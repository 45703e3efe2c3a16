// A step allocates nothing: the program's operator new is replaced by one that counts.
#include <gtest/gtest.h>

#include <memory>

#include "kernels/dispatch.h"
#include "model/forward.h"
#include "model/tiny_model.h"
#include "tests/support/counting_new.h"

namespace hedge::model {
namespace {

using hedge::testing::allocations;

constexpr int kFar = 264;

TEST(Allocation, StepsAllocateNothing) {
  for (const char* architecture : {"llama", "gemma3"}) {
    for (const quant::Type type : {quant::Type::kF16, quant::Type::kQ4_1}) {
      TinySpec spec;
      spec.architecture = architecture;
      spec.type = type;
      spec.layers = 7;
      spec.context = 512;
      const std::vector<uint8_t> bytes = TinyModel(spec).to_bytes();
      const auto file = std::move(gguf::File::parse(bytes)).value();
      const Config config = std::move(read_config(*file)).value();
      const Weights weights = std::move(load_weights(*file, config)).value();
      os::Team team(2);
      const auto forward = Forward::create(config, weights, kernels::active(), team, 32, 4, spec.context);
      const auto cache = std::move(KvCache::create(config, spec.context, KvType::kQ5)).value();
      std::vector<Row> rows;
      for (int i = 0; i < 24; ++i) rows.push_back({i + 40, i, cache.get()});
      // Behind blocks that are seen in 5 bits.
      for (int begin = 0; begin < kFar; begin += 24) {
        for (int i = 0; i < 24; ++i) rows[static_cast<size_t>(i)].position = begin + i;
        forward->run(rows, {});
      }
      for (int i = 0; i < 24; ++i) rows[static_cast<size_t>(i)].position = kFar + i;
      const std::vector<int> last_of_many{23}, only{0}, blocks{0, 3, 6};
      forward->tap(blocks);

      const long before = allocations.load();
      forward->run(rows, last_of_many);
      forward->logits(0, 1);
      EXPECT_EQ(allocations.load() - before, 0) << architecture << ": a prompt of 24 rows";
      for (int position = kFar + 24; position < kFar + 40; ++position) {
        const Row row{70, position, cache.get()};
        forward->run({&row, 1}, only);
        forward->logits(0, 1);
      }
      EXPECT_EQ(allocations.load() - before, 0) << architecture << ": 16 decode steps";
    }
  }
  const long before = allocations.load();
  auto counted_one = std::make_unique<int>(1);
  EXPECT_EQ(allocations.load() - before, *counted_one);  // The counter counts.
}

}  // namespace
}  // namespace hedge::model
