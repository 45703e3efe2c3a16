// What the prompt score sees of a text: which words and pairs of words stand in it (hashed), its shape
// (lengths, numbers, choices), and which topic its words speak of. Pure; extract() allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "route/topic_table.h"

namespace hedge::route {

// Words and pairs of words fall into so many buckets. MMLU's 14,000 prompts have some 250,000 different ones;
// 2^17 against 2^18 costs nothing that can be measured.
inline constexpr size_t kBuckets = 1u << 17;
// Only so much of a prompt is looked at: the privacy gates judge no longer text either.
inline constexpr size_t kScoredBytesMax = 1u << 20;

// The shape of a text, in this order; HEDGE_SHAPE(name, meaning).
enum class Shape : uint8_t {
#define HEDGE_SHAPE(name, meaning) name,
#include "route/shape_list.inc"
#undef HEDGE_SHAPE
};
inline constexpr size_t kShapes = 0
#define HEDGE_SHAPE(name, meaning) +1
#include "route/shape_list.inc"
#undef HEDGE_SHAPE
    ;

struct DenseFeatures {
  std::array<float, kShapes> shape{};      // raw values, mostly logarithms
  std::array<float, kTopicsMax> topics{};  // probability per topic, sum 1; 0 beyond the table's topics
};

// Sees the distinct buckets of a text, each once, in the order of first appearance.
class BucketVisitor {
 public:
  virtual ~BucketVisitor() = default;
  virtual void visit(uint32_t bucket) = 0;
};

// `topics` may be empty: then all topic probabilities are 0.
DenseFeatures extract(std::string_view text, const TopicTable& topics, BucketVisitor& visitor);

// Hash of a lower-cased word; also the key of the topic table.
uint32_t hash_word(std::string_view word);

// Calls visit(word) with every word of a text: a run of letters or of digits, or one other visible character.
// Bytes beyond ASCII count as letters. ASCII letters come lower-cased; words are cut at 32 bytes.
class WordVisitor {
 public:
  virtual ~WordVisitor() = default;
  virtual void visit(std::string_view word) = 0;
};
void visit_words(std::string_view text, WordVisitor& visitor);

}  // namespace hedge::route
