// Marks names, places, organisations, ages, dates and the like: a linear-chain conditional random field
// (Lafferty, McCallum and Pereira, 2001) over the features of features.h, decoded by Viterbi. Weights are
// bytes in a hash table that is read where it lies. Nothing is allocated while tagging.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "privacy/features.h"
#include "privacy/tokens.h"

namespace hedge::privacy {

inline constexpr std::string_view kTaggedTypes[] = {
#define HEDGE_TAGGED_TYPE(name) #name,
#include "privacy/type_list.inc"
#undef HEDGE_TAGGED_TYPE
};
inline constexpr size_t kTaggedTypeCount = std::size(kTaggedTypes);
// Label 0 is "no type"; 1 + 2k begins a span of type k, 2 + 2k goes on with it.
inline constexpr size_t kLabelCount = 1 + 2 * kTaggedTypeCount;
inline constexpr size_t begin_label(size_t type) { return 1 + 2 * type; }
inline constexpr bool continues(size_t label) { return label != 0 && label % 2 == 0; }
// Whether `label` may stand after `before`.
inline constexpr bool may_follow(size_t before, size_t label) {
  return !continues(label) || before == label || before + 1 == label;
}

// A row of the weights file: what one feature adds to the score of each label.
struct WeightRow {
  uint32_t key = 0;                  // the feature; 0: an empty slot
  std::array<int8_t, 24> weights{};  // [kLabelCount], the rest 0
};
static_assert(sizeof(WeightRow) == 28 && kLabelCount <= 24);

// Single words of the lists in one Bloom filter (Bloom, 1970).
struct BloomView {
  std::span<const uint8_t> bits;  // a power of two of bytes
  uint8_t lists_of(uint32_t word) const;
};
inline constexpr int kBloomProbes = 4;
// Bit of the filter for one probe; `bit_count` is a power of two.
inline uint32_t bloom_bit(uint32_t word, uint32_t list, int probe, uint32_t bit_count) {
  return mix(mix(word, list), static_cast<uint32_t>(probe) * 0x3c6ef372u) & (bit_count - 1);
}

inline constexpr char kWeightsMagic[8] = {'H', 'E', 'D', 'G', 'E', 'T', 'A', 'G'};
// Followed by transitions[kLabelCount + 1][24] of int16, the filter's bytes and the slots.
struct WeightsHeader {
  char magic[8];
  uint32_t feature_version;
  uint32_t label_count;
  uint32_t slot_count;
  uint32_t bloom_bytes;
  float scale;         // of a weight: score = byte * scale
  float outside_bias;  // already in the weights; kept for the record
};

struct TaggedSpan {
  size_t type = 0;     // index in kTaggedTypes
  uint32_t begin = 0;  // tokens
  uint32_t end = 0;
  float score = 0;  // 0..1, how much better than "no type", by its weakest token
};

// Borrows the bytes, which must outlive it. Any thread may tag at once, each with its own Workspace.
class Tagger {
 public:
  // The buffers of one thread, about 100 kB.
  struct Workspace {
    std::array<Token, kWindowTokens> tokens;
    WindowFacts facts;
    std::array<std::array<int32_t, 24>, kWindowTokens> scores;
    std::array<std::array<uint8_t, 24>, kWindowTokens> back;
    std::array<uint8_t, kWindowTokens> labels;
    std::array<TaggedSpan, kWindowTokens> spans;
  };

  // kCorrupt when the bytes are no weights of this version.
  static Result<Tagger> open(std::string_view bytes);

  // Tags tokens already in `work.tokens[0, count)`; the spans lie in `work` until the next call.
  std::span<const TaggedSpan> tag(Workspace& work, size_t count) const;

  // The kinds of word lists (WordList) that hold the word of this hash.
  uint8_t lists_of(uint32_t word) const { return bloom_.lists_of(word); }

 private:
  Tagger() = default;
  const WeightRow* find(uint32_t key) const;

  BloomView bloom_;
  std::span<const WeightRow> slots_;
  std::array<std::array<int16_t, 24>, kLabelCount + 1>
      transitions_{};  // [before][label]; the last row: at the start
  float scale_ = 1;
};

}  // namespace hedge::privacy
