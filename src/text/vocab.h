// The tokens of a vocabulary: names, types, scores, and the way from a name to its id. Names stay in the
// mapped file. Immutable once the tokenizer is built; then safe from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/file.h"
#include "text/tokenizer.h"
#include "text/vocab_hash.h"

namespace hedge::text {

// The largest vocabularies in use have some 262,144 tokens; their longest names some 500 bytes.
inline constexpr size_t kVocabTokensMax = size_t{1} << 21;
inline constexpr size_t kTokenBytesMax = 4096;

// Which ids have a meaning of their own; -1 where the model has none.
struct SpecialTokens {
  TokenId bos = -1;
  TokenId eos = -1;
  TokenId unknown = -1;
  bool adds_bos = false;
  bool adds_eos = false;
  std::vector<TokenId> end_of_generation;  // sorted, without repeats
};

class Vocab {
 public:
  // Reads tokenizer.ggml.tokens and .token_type, and .scores when `with_scores`. kCorrupt when lengths
  // disagree, a type is unknown, a token is repeated or over long.
  static Result<Vocab> load(const gguf::File& file, bool with_scores);

  // Reads the ids and flags in the metadata over `defaults`, and the names that mark an end of generation.
  // Tokens whose name gives them a role become control tokens, as in llama.cpp. kCorrupt when an id is
  // outside of the vocabulary.
  Result<SpecialTokens> resolve_special(const gguf::File& file, const SpecialTokens& defaults);

  int size() const { return static_cast<int>(names_->size()); }
  std::string_view name(TokenId id) const { return (*names_)[static_cast<size_t>(id)]; }
  TokenType type(TokenId id) const { return static_cast<TokenType>(types_[id]); }
  float score(TokenId id) const { return scores_.empty() ? 0.0f : scores_[id]; }
  size_t name_bytes_max() const { return name_bytes_max_; }

  // -1 when no token has this name.
  TokenId find(std::string_view name) const {
    return index_.find(hash_bytes(name), [&](uint32_t id) { return (*names_)[id] == name; });
  }
  // The token "<0xXX>" that stands for a byte; -1 when there is none.
  TokenId find_byte(uint8_t byte) const;

 private:
  Status load_types(const gguf::File& file);
  Status load_scores(const gguf::File& file);
  Status build_index();

  const gguf::Strings* names_ = nullptr;
  std::vector<uint8_t> types_;
  std::vector<float> scores_;
  HashIndex index_;
  size_t name_bytes_max_ = 0;
};

}  // namespace hedge::text
