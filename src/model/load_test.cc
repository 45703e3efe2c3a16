// What is wrong with a file is said by name, before anything computes with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "model/config.h"
#include "model/model.h"
#include "model/tiny_model.h"
#include "model/weights.h"

namespace hedge::model {
namespace {

using testing::HasSubstr;

TinySpec gemma_spec() {
  TinySpec spec;
  spec.architecture = "gemma3";
  spec.layers = 7;
  spec.tied = true;
  return spec;
}

// Config and weights of a tiny model that `damage` has changed; the first error, or none.
Status load_damaged(const TinySpec& spec, const std::function<void(TinyModel&)>& damage) {
  TinyModel tiny(spec);
  damage(tiny);
  const std::vector<uint8_t> bytes = tiny.to_bytes();
  HEDGE_TRY_SET(const std::unique_ptr<gguf::File> file, gguf::File::parse(bytes));
  HEDGE_TRY_SET(const Config config, read_config(*file));
  HEDGE_TRY_SET(const Weights weights, load_weights(*file, config));
  return {};
}

void expect_error(const TinySpec& spec, ErrorCode code, const std::string& part,
                  const std::function<void(TinyModel&)>& damage) {
  const Status status = load_damaged(spec, damage);
  ASSERT_FALSE(status.ok()) << "expected an error with: " << part;
  EXPECT_EQ(status.error().code, code) << status.error().to_text();
  EXPECT_THAT(status.error().detail, HasSubstr(part));
}

TEST(Load, ReadsTheShape) {
  const TinySpec spec = gemma_spec();
  const std::vector<uint8_t> bytes = TinyModel(spec).to_bytes();
  const auto file = std::move(gguf::File::parse(bytes)).value();
  const auto config = read_config(*file);
  ASSERT_TRUE(config.ok()) << config.error().to_text();
  EXPECT_EQ(config->layers, 7);
  EXPECT_EQ(config->dim, 64);
  EXPECT_EQ(config->heads, 4);
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 32);
  EXPECT_EQ(config->ffn_dim, 96);
  EXPECT_EQ(config->context, 128);
  EXPECT_EQ(config->window, 8);
  EXPECT_EQ(config->vocab, static_cast<int>(tiny_vocab().tokens.size()));
  EXPECT_EQ(config->local, (std::vector<bool>{true, true, true, true, true, false, true}));
  EXPECT_EQ(config->rope, Rope::kNeox);
  EXPECT_FLOAT_EQ(config->embedding_scale, 8.0f);
  const auto weights = load_weights(*file, *config);
  ASSERT_TRUE(weights.ok()) << weights.error().to_text();
  EXPECT_EQ(weights->head.data, weights->embedding.data);
  EXPECT_EQ(weights->layers.size(), 7u);
}

TEST(Load, EveryTensorIsNeeded) {
  for (const TinySpec& spec : {TinySpec{}, gemma_spec()}) {
    for (const TinyTensor& tensor : TinyModel(spec).tensors) {
      if (tensor.name == "output.weight") continue;  // then the embedding stands for it
      SCOPED_TRACE(spec.architecture);
      expect_error(spec, ErrorCode::kCorrupt, tensor.name,
                   [&](TinyModel& tiny) { tiny.remove(tensor.name); });
    }
  }
}

TEST(Load, EveryTensorHasItsShape) {
  for (const TinySpec& spec : {TinySpec{}, gemma_spec()}) {
    for (const TinyTensor& tensor : TinyModel(spec).tensors) {
      if (tensor.name == "token_embd.weight") continue;  // its rows are the vocabulary
      SCOPED_TRACE(spec.architecture + " " + tensor.name);
      // One row, or one value of a vector, less.
      expect_error(spec, ErrorCode::kCorrupt, tensor.name, [&](TinyModel& tiny) {
        TinyTensor* changed = tiny.find(tensor.name);
        --changed->dims.back();
        changed->data.resize(quant::row_bytes(changed->type, changed->dims[0]) *
                             (changed->dims.size() > 1 ? changed->dims[1] : 1));
      });
      if (tensor.dims.size() < 2 || tensor.dims[0] == tensor.dims[1]) continue;
      expect_error(spec, ErrorCode::kCorrupt, tensor.name, [&](TinyModel& tiny) {
        std::swap(tiny.find(tensor.name)->dims[0], tiny.find(tensor.name)->dims[1]);
      });
    }
  }
}

TEST(Load, ShapeErrorsSayExpectedAndActual) {
  expect_error({}, ErrorCode::kCorrupt, "expected 96 rows of 64, got 64 of 96", [](TinyModel& tiny) {
    std::swap(tiny.find("blk.1.ffn_up.weight")->dims[0], tiny.find("blk.1.ffn_up.weight")->dims[1]);
  });
}

TEST(Load, TensorsThatWouldStayUnusedAreNamed) {
  for (const char* name : {"blk.0.attn_q.bias", "blk.3.attn_q.weight", "token_types.weight"}) {
    expect_error({}, ErrorCode::kUnsupported, name, [&](TinyModel& tiny) {
      TinyTensor extra = *tiny.find("blk.0.attn_q.weight");
      extra.name = name;
      tiny.tensors.push_back(extra);
    });
  }
}

TEST(Load, UnknownArchitecturesAreNamedWithTheKnownOnes) {
  expect_error({}, ErrorCode::kUnsupported,
               "architecture 'mamba' is not supported; expected one of: llama, gemma3",
               [](TinyModel& tiny) { tiny.strings["general.architecture"] = "mamba"; });
}

TEST(Load, MetadataBounds) {
  struct Case {
    const char* key;
    uint32_t value;
    ErrorCode code;
    const char* part;
  };
  constexpr ErrorCode kCorrupt = ErrorCode::kCorrupt, kUnsupported = ErrorCode::kUnsupported;
  const Case cases[] = {
      {"llama.block_count", 0, kCorrupt, "llama.block_count: expected 1 to 512, got 0"},
      {"llama.block_count", 4000000000u, kCorrupt, "got 4000000000"},
      {"llama.embedding_length", 0, kCorrupt, "llama.embedding_length"},
      {"llama.embedding_length", 1u << 30, kCorrupt, "llama.embedding_length"},
      {"llama.attention.head_count", 0, kCorrupt, "llama.attention.head_count"},
      {"llama.attention.head_count", 5, kCorrupt, "expected a multiple of head_count_kv (2), got 5"},
      {"llama.attention.head_count_kv", 0, kCorrupt, "llama.attention.head_count_kv"},
      {"llama.attention.key_length", 24, kUnsupported, "heads of 24"},
      {"llama.attention.value_length", 64, kUnsupported, "64 (values)"},
      {"llama.feed_forward_length", 0, kCorrupt, "llama.feed_forward_length"},
      {"llama.context_length", 0, kCorrupt, "llama.context_length"},
      {"llama.rope.dimension_count", 0, kCorrupt, "llama.rope.dimension_count"},
      {"llama.rope.dimension_count", 31, kCorrupt, "llama.rope.dimension_count"},
      {"llama.rope.dimension_count", 34, kCorrupt, "expected an even number up to 32, got 34"},
      {"llama.expert_count", 8, kUnsupported, "experts"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.key) + " = " + std::to_string(c.value));
    expect_error({}, c.code, c.part, [&](TinyModel& tiny) { tiny.uints[c.key] = c.value; });
  }
  for (const char* key : {"llama.block_count", "llama.embedding_length", "llama.attention.head_count",
                          "llama.feed_forward_length"}) {
    SCOPED_TRACE(key);
    expect_error({}, kCorrupt, key, [&](TinyModel& tiny) { tiny.uints.erase(key); });
  }
  for (const char* key : {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"}) {
    for (const float value : {0.0f, -1.0f, static_cast<float>(INFINITY), static_cast<float>(NAN)}) {
      SCOPED_TRACE(std::string(key) + " = " + std::to_string(value));
      expect_error({}, kCorrupt, key, [&](TinyModel& tiny) { tiny.floats[key] = value; });
    }
  }
}

TEST(Load, RopeScaling) {
  expect_error({}, ErrorCode::kUnsupported, "expected none or linear, got yarn",
               [](TinyModel& tiny) { tiny.strings["llama.rope.scaling.type"] = "yarn"; });
  expect_error({}, ErrorCode::kCorrupt, "llama.rope.scaling.factor", [](TinyModel& tiny) {
    tiny.strings["llama.rope.scaling.type"] = "linear";
    tiny.floats["llama.rope.scaling.factor"] = 0;
  });
  TinySpec factors;
  factors.rope_factors.assign(16, 1.0f);
  EXPECT_TRUE(load_damaged(factors, [](TinyModel&) {}).ok());
  factors.rope_factors[3] = 0;
  expect_error(factors, ErrorCode::kCorrupt, "rope_freqs.weight: expected positive numbers",
               [](TinyModel&) {});
  factors.rope_factors.assign(16, 1.0f);
  expect_error(factors, ErrorCode::kCorrupt, "rope_freqs.weight: expected 16 F32 values",
               [](TinyModel& tiny) {
                 tiny.find("rope_freqs.weight")->dims = {8};
                 tiny.find("rope_freqs.weight")->data.resize(32);
               });
}

TEST(Load, GemmaOptionsThatChangeTheMathAreRefused) {
  expect_error(gemma_spec(), ErrorCode::kUnsupported, "final_logit_softcapping",
               [](TinyModel& tiny) { tiny.floats["gemma3.final_logit_softcapping"] = 30; });
  expect_error(gemma_spec(), ErrorCode::kCorrupt, "gemma3.attention.sliding_window",
               [](TinyModel& tiny) { tiny.uints["gemma3.attention.sliding_window"] = 1u << 21; });
}

TEST(Load, ModelFromAPath) {
  EXPECT_EQ(Model::load(testing::TempDir() + "no-such-file.gguf", 1).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace hedge::model
