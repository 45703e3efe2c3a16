// SentencePiece BPE ("llama"): spaces become U+2581, then the adjacent pair whose joined text is the token of
// the highest score is joined first. What is no token in the end becomes byte tokens. Immutable after load();
// safe from any thread.
#pragma once

#include <array>
#include <bitset>
#include <memory>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/tokenizer_pieces.h"
#include "text/vocab.h"
#include "text/vocab_split.h"

namespace hedge::text {

class SpmTokenizer final : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> load(const gguf::File& file);

  std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const override;
  std::string with_controls_marked(std::string_view text, std::string_view mark) const override {
    return splitter_.with_controls_marked(text, mark);
  }
  std::string_view token_bytes(TokenId id, bool special) const override { return pieces_.get(id, special); }
  int vocab_size() const override { return vocab_.size(); }
  TokenType type(TokenId id) const override { return vocab_.type(id); }
  std::string_view token_name(TokenId id) const override { return vocab_.name(id); }

 private:
  class Session;

  SpmTokenizer(Vocab vocab, SpecialTokens special, bool adds_space_prefix,
               const SpecialSplitter::StripRules& strip);

  const Vocab vocab_;
  const SpecialSplitter splitter_;
  const PieceTable pieces_;
  std::array<TokenId, 256> byte_tokens_;
  // Bytes after which a mark may be joined, because some token has the two inside. A mark after any other
  // byte begins a new word, and words can be encoded one by one with the same outcome as the whole text.
  std::bitset<256> joins_mark_;
};

}  // namespace hedge::text
