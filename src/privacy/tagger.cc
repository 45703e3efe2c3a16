#include "privacy/tagger.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hedge::privacy {
namespace {

constexpr int32_t kNever = -(1 << 28);
constexpr uint32_t kSlotsMax = 1u << 20;
constexpr uint32_t kBloomBytesMax = 1u << 24;

bool power_of_two(uint32_t n) { return n != 0 && (n & (n - 1)) == 0; }

Error corrupt(const char* what) { return make_error(ErrorCode::kCorrupt, what); }

}  // namespace

uint8_t BloomView::lists_of(uint32_t word) const {
  const auto bit_count = static_cast<uint32_t>(bits.size() * 8);
  uint32_t lists = 0;
  for (uint32_t list = 0; list < 8; ++list) {
    bool all = true;
    for (int probe = 0; probe < kBloomProbes && all; ++probe) {
      const uint32_t bit = bloom_bit(word, list, probe, bit_count);
      all = (bits[bit / 8] >> (bit % 8) & 1) != 0;
    }
    lists |= all ? 1u << list : 0;
  }
  return static_cast<uint8_t>(lists);
}

Result<Tagger> Tagger::open(std::string_view bytes) {
  WeightsHeader header;
  if (bytes.size() < sizeof(header)) return corrupt("expected tagger weights, got too few bytes");
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kWeightsMagic, sizeof(kWeightsMagic)) != 0)
    return corrupt("expected tagger weights, got another kind of file");
  if (header.feature_version != kFeatureVersion || header.label_count != kLabelCount)
    return corrupt("expected tagger weights of this program's version, got others: train them again");
  Tagger tagger;
  const size_t transition_bytes = sizeof(tagger.transitions_);
  if (header.slot_count == 0 || header.slot_count > kSlotsMax || !power_of_two(header.bloom_bytes) ||
      header.bloom_bytes > kBloomBytesMax || !(header.scale > 0) || !(header.scale < 1000))
    return corrupt("expected tagger weights, got a header that is out of range");
  const size_t expected =
      sizeof(header) + transition_bytes + header.bloom_bytes + size_t{header.slot_count} * sizeof(WeightRow);
  if (bytes.size() != expected)
    return corrupt("expected as many bytes of tagger weights as the header says, got others");
  const char* at = bytes.data() + sizeof(header);
  std::memcpy(&tagger.transitions_, at, transition_bytes);
  at += transition_bytes;
  tagger.bloom_.bits = {reinterpret_cast<const uint8_t*>(at), header.bloom_bytes};
  at += header.bloom_bytes;
  if (reinterpret_cast<uintptr_t>(at) % alignof(WeightRow) != 0)
    return corrupt("expected aligned tagger weights");
  tagger.slots_ = {reinterpret_cast<const WeightRow*>(at), header.slot_count};
  // A search ends at an empty slot.
  if (std::none_of(tagger.slots_.begin(), tagger.slots_.end(),
                   [](const WeightRow& row) { return row.key == 0; }))
    return corrupt("expected tagger weights with an empty slot, got none");
  tagger.scale_ = header.scale;
  return tagger;
}

const WeightRow* Tagger::find(uint32_t key) const {
  size_t slot = static_cast<size_t>(uint64_t{key} * slots_.size() >> 32);
  while (slots_[slot].key != 0) {
    if (slots_[slot].key == key) return &slots_[slot];
    if (++slot == slots_.size()) slot = 0;
  }
  return nullptr;
}

std::span<const TaggedSpan> Tagger::tag(Workspace& work, size_t count) const {
  const std::span<Token> tokens(work.tokens.data(), count);
  for (Token& token : tokens) {
    if (token.kind == TokenKind::kWord) token.lists = bloom_.lists_of(token.word);
  }
  find_facts(tokens, work.facts);
  std::array<uint32_t, kFeaturesMax> features;
  for (size_t i = 0; i < count; ++i) {
    std::array<int16_t, 24> sums{};  // kFeaturesMax * 127 fits
    const size_t feature_count = extract_features(tokens, work.facts, i, features);
    for (size_t f = 0; f < feature_count; ++f) {
      const WeightRow* row = find(features[f]);
      if (row == nullptr) continue;
      for (size_t k = 0; k < 24; ++k) sums[k] = static_cast<int16_t>(sums[k] + row->weights[k]);
    }
    for (size_t k = 0; k < kLabelCount; ++k) work.scores[i][k] = sums[k];
    if (tokens[i].kind == TokenKind::kFound) {
      for (size_t k = 1; k < kLabelCount; ++k) work.scores[i][k] = kNever;
    }
  }
  // Viterbi.
  std::array<int32_t, 24> best{}, next{};
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < kLabelCount; ++k) {
      int32_t top = i == 0 ? (continues(k) ? kNever : transitions_[kLabelCount][k]) : kNever;
      uint8_t from = 0;
      if (i > 0 && continues(k)) {
        const int32_t a = best[k - 1] + transitions_[k - 1][k];
        const int32_t b = best[k] + transitions_[k][k];
        from = static_cast<uint8_t>(a >= b ? k - 1 : k);
        top = std::max(a, b);
      } else if (i > 0) {
        for (size_t before = 0; before < kLabelCount; ++before) {
          const int32_t score = best[before] + transitions_[before][k];
          if (score > top) {
            top = score;
            from = static_cast<uint8_t>(before);
          }
        }
      }
      next[k] = std::max(top, kNever) + std::max(work.scores[i][k], kNever);
      if (next[k] < kNever) next[k] = kNever;
      work.back[i][k] = from;
    }
    best = next;
  }
  if (count == 0) return {};
  size_t label =
      static_cast<size_t>(std::max_element(best.begin(), best.begin() + kLabelCount) - best.begin());
  for (size_t i = count; i-- > 0;) {
    work.labels[i] = static_cast<uint8_t>(label);
    label = work.back[i][label];
  }
  size_t span_count = 0;
  for (size_t i = 0; i < count;) {
    if (work.labels[i] == 0) {
      ++i;
      continue;
    }
    TaggedSpan span;
    span.type = (work.labels[i] - 1u) / 2;
    span.begin = static_cast<uint32_t>(i);
    span.score = 1;
    do {
      const float margin = scale_ * static_cast<float>(work.scores[i][work.labels[i]] - work.scores[i][0]);
      span.score = std::min(span.score, 1.0f / (1.0f + std::exp(-margin)));
      ++i;
    } while (i < count && continues(work.labels[i]));
    span.end = static_cast<uint32_t>(i);
    work.spans[span_count++] = span;
  }
  return {work.spans.data(), span_count};
}

}  // namespace hedge::privacy
