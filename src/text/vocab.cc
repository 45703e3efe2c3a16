#include "text/vocab.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"

namespace hedge::text {
namespace {

constexpr char kTokensKey[] = "tokenizer.ggml.tokens";
constexpr char kTypesKey[] = "tokenizer.ggml.token_type";
constexpr char kScoresKey[] = "tokenizer.ggml.scores";

Error corrupt(std::string detail) { return make_error(ErrorCode::kCorrupt, std::move(detail)); }

Status check_length(std::string_view key, size_t expected, size_t actual) {
  if (expected == actual) return {};
  return corrupt(fmt::format("{}: expected {} elements, one for each token, got {}", key, expected, actual));
}

}  // namespace

Result<Vocab> Vocab::load(const gguf::File& file, bool with_scores) {
  Vocab vocab;
  HEDGE_TRY_SET(vocab.names_, file.get_strings(kTokensKey));
  const size_t count = vocab.names_->size();
  if (count == 0 || count > kVocabTokensMax) {
    return corrupt(fmt::format("{}: expected 1 to {} tokens, got {}", kTokensKey, kVocabTokensMax, count));
  }
  HEDGE_TRY(vocab.load_types(file));
  // The array's length is checked even where the algorithm does not use scores.
  if (const gguf::Value* scores = file.find(kScoresKey); scores != nullptr) {
    HEDGE_TRY(check_length(kScoresKey, count, scores->count));
    if (with_scores) HEDGE_TRY(vocab.load_scores(file));
  }
  HEDGE_TRY(vocab.build_index());
  return vocab;
}

Status Vocab::load_types(const gguf::File& file) {
  types_.assign(names_->size(), static_cast<uint8_t>(TokenType::kNormal));
  if (file.find(kTypesKey) == nullptr) return {};
  HEDGE_TRY_SET(const std::vector<int32_t> types, file.get_ints(kTypesKey));
  HEDGE_TRY(check_length(kTypesKey, names_->size(), types.size()));
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] < 0 || types[i] > static_cast<int>(TokenType::kByte)) {
      return corrupt(fmt::format("{}: expected 0 to {} for token {}, got {}", kTypesKey,
                                 static_cast<int>(TokenType::kByte), i, types[i]));
    }
    types_[i] = static_cast<uint8_t>(types[i]);
  }
  return {};
}

Status Vocab::load_scores(const gguf::File& file) {
  if (file.find(kScoresKey)->element_type == gguf::ValueType::kInt32) {
    HEDGE_TRY_SET(const std::vector<int32_t> scores, file.get_ints(kScoresKey));
    scores_.assign(scores.begin(), scores.end());
    return {};
  }
  HEDGE_TRY_SET(scores_, file.get_floats(kScoresKey));
  return {};
}

Status Vocab::build_index() {
  index_.resize(names_->size());
  // Hashed in small groups ahead of the inserts, so that the slots of a group are on their way from memory
  // together.
  constexpr size_t kGroup = 16;
  uint64_t hashes[kGroup];
  for (size_t begin = 0; begin < names_->size(); begin += kGroup) {
    const size_t end = std::min(begin + kGroup, names_->size());
    for (size_t i = begin; i < end; ++i) {
      name_bytes_max_ = std::max(name_bytes_max_, (*names_)[i].size());
      hashes[i - begin] = hash_bytes((*names_)[i]);
      index_.prefetch(hashes[i - begin]);
    }
    for (size_t i = begin; i < end; ++i) {
      if ((*names_)[i].empty()) continue;  // A placeholder: no text ever becomes it.
      uint32_t present = 0;
      const auto equal = [&](uint32_t id) { return (*names_)[id] == (*names_)[i]; };
      switch (index_.insert(hashes[i - begin], static_cast<uint32_t>(i), equal, &present)) {
        case HashIndex::Insert::kDone:
          break;
        case HashIndex::Insert::kPresent:
          return corrupt(
              fmt::format("{}: expected each token once, token {} repeats token {}", kTokensKey, i, present));
        case HashIndex::Insert::kTooManyCollisions:
          return corrupt(
              fmt::format("{}: expected names that spread over a hash table, more than {} share a place",
                          kTokensKey, HashIndex::kProbeLimit));
      }
    }
  }
  if (name_bytes_max_ > kTokenBytesMax) {
    return corrupt(fmt::format("{}: expected tokens of at most {} bytes, got one of {}", kTokensKey,
                               kTokenBytesMax, name_bytes_max_));
  }
  return {};
}

TokenId Vocab::find_byte(uint8_t byte) const {
  constexpr char kHex[] = "0123456789ABCDEF";
  const char name[] = {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
  return find(std::string_view(name, sizeof(name)));
}

}  // namespace hedge::text
