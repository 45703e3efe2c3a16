// Byte-level BPE ("gpt2"): the text is cut into words by the pre-tokenizer, each word is mapped to printable
// characters and merged by rank. "gemma4" files use the same merges over plain UTF-8 with U+2581 for spaces.
// Immutable after load(); safe from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe_merges.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_pieces.h"
#include "text/vocab.h"
#include "text/vocab_split.h"

namespace hedge::text {

class BpeTokenizer final : public Tokenizer {
 public:
  static Result<std::unique_ptr<Tokenizer>> load(const gguf::File& file, std::string_view pretokenizer_name);

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

  BpeTokenizer(Vocab vocab, MergeTable merges, std::unique_ptr<Pretokenizer> pretokenizer,
               SpecialTokens special, const SpecialSplitter::StripRules& strip);

  const Vocab vocab_;
  const MergeTable merges_;
  const std::unique_ptr<Pretokenizer> pretokenizer_;
  const SpecialSplitter splitter_;
  const PieceTable pieces_;
};

}  // namespace hedge::text
