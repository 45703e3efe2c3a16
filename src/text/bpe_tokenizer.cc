#include "text/bpe_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/bpe_bytes.h"
#include "text/bpe_loop.h"
#include "text/spm_spaces.h"
#include "text/tokenizer_cache.h"
#include "text/tokenizer_rules.h"

namespace hedge::text {

// The buffers of one call of encode().
class BpeTokenizer::Session {
 public:
  Session(const BpeTokenizer& tokenizer, std::vector<TokenId>& out) : tokenizer_(tokenizer), out_(out) {}

  void encode_fragment(std::string_view fragment) {
    const Pretokenizer& pretokenizer = *tokenizer_.pretokenizer_;
    raw_ = pretokenizer.has(Pretokenizer::kRawUtf8);
    std::string marked;
    if (raw_) {
      append_marked_spaces(marked, fragment);
      fragment = marked;
    }
    ClassText text;
    classify(fragment, text);
    WordCache cache(text.utf8.size());
    pretokenizer.split(text, [&](std::string_view word) {
      cache.append(word, out_, [&](std::string_view fresh) { encode_long_word(fresh); });
    });
  }

 private:
  // A cut here loses at most one merge in a quarter of a gigabyte without a word boundary.
  void encode_long_word(std::string_view word) {
    for (; word.size() > MergeLoop::kWordBytesMax; word.remove_prefix(MergeLoop::kWordBytesMax)) {
      encode_word(word.substr(0, MergeLoop::kWordBytesMax));
    }
    encode_word(word);
  }

  void encode_word(std::string_view bytes) {
    std::string_view word = bytes;
    if (!raw_) {
      characters_.clear();
      append_byte_level(characters_, bytes);
      word = characters_;
    }
    if (is_whole(word)) {
      const TokenId id = tokenizer_.vocab_.find(word);
      if (id >= 0) {
        out_.push_back(id);
        return;
      }
    }
    const auto rank = [&](uint32_t begin, uint32_t middle, uint32_t end) {
      return static_cast<uint32_t>(
          tokenizer_.merges_.rank(word.substr(begin, middle - begin), word.substr(middle, end - middle)));
    };
    static_assert(static_cast<uint32_t>(-1) == MergeLoop::kNoMerge);
    loop_.run(
        word.size(), [&](size_t position) { return utf8_length_of_lead(word[position]); }, rank,
        [&](uint32_t begin, uint32_t end) { push_symbol(word.substr(begin, end - begin)); });
  }

  // Whether the word may be taken as one token without looking at merges.
  bool is_whole(std::string_view word) const {
    const Pretokenizer& pretokenizer = *tokenizer_.pretokenizer_;
    return pretokenizer.has(Pretokenizer::kIgnoresMerges) ||
           (pretokenizer.has(Pretokenizer::kWholeNewlines) &&
            word.find_first_not_of('\n') == std::string_view::npos);
  }

  void push_symbol(std::string_view symbol) {
    const TokenId id = tokenizer_.vocab_.find(symbol);
    if (id >= 0) {
      out_.push_back(id);
      return;
    }
    // No such token: byte by byte. A vocabulary that lacks even those loses the byte, as in llama.cpp.
    for (size_t i = 0; i < symbol.size(); ++i) {
      const TokenId byte_id = raw_ ? tokenizer_.vocab_.find_byte(static_cast<uint8_t>(symbol[i]))
                                   : tokenizer_.vocab_.find(symbol.substr(i, 1));
      if (byte_id >= 0) out_.push_back(byte_id);
    }
  }

  const BpeTokenizer& tokenizer_;
  std::vector<TokenId>& out_;
  bool raw_ = false;
  std::string characters_;
  MergeLoop loop_;
};

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::load(const gguf::File& file,
                                                      std::string_view pretokenizer_name) {
  HEDGE_TRY_SET(std::unique_ptr<Pretokenizer> pretokenizer, Pretokenizer::make(pretokenizer_name));
  HEDGE_TRY_SET(Vocab vocab, Vocab::load(file, false));
  HEDGE_TRY_SET(MergeTable merges, MergeTable::load(file));
  SpecialTokens defaults;
  defaults.adds_bos = pretokenizer->has(Pretokenizer::kAddsBos);
  HEDGE_TRY_SET(SpecialTokens special, vocab.resolve_special(file, defaults));
  if (pretokenizer->has(Pretokenizer::kAlwaysAddsBos)) special.adds_bos = special.bos >= 0;
  HEDGE_TRY_SET(const SpecialSplitter::StripRules strip, strip_rules(file, vocab));
  return std::unique_ptr<Tokenizer>(new BpeTokenizer(std::move(vocab), std::move(merges),
                                                     std::move(pretokenizer), std::move(special), strip));
}

BpeTokenizer::BpeTokenizer(Vocab vocab, MergeTable merges, std::unique_ptr<Pretokenizer> pretokenizer,
                           SpecialTokens special, const SpecialSplitter::StripRules& strip)
    : vocab_(std::move(vocab)),
      merges_(std::move(merges)),
      pretokenizer_(std::move(pretokenizer)),
      splitter_(vocab_, strip),
      pieces_(vocab_, pretokenizer_->has(Pretokenizer::kRawUtf8) ? append_plain_spaces : append_bytes_of) {
  bos_ = special.bos;
  eos_ = special.eos;
  adds_bos_ = special.adds_bos;
  adds_eos_ = special.adds_eos;
  end_of_generation_ = std::move(special.end_of_generation);
}

std::vector<TokenId> BpeTokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + 2);
  if (options.add_special && adds_bos_) out.push_back(bos_);
  Session session(*this, out);
  std::string unmarked;
  for (const SpecialSplitter::Fragment& fragment : splitter_.split(text, options.parse_special)) {
    if (fragment.token >= 0) {
      out.push_back(fragment.token);
    } else {
      session.encode_fragment(without_marks(fragment.text, options.mark, unmarked));
    }
  }
  if (options.add_special && adds_eos_) out.push_back(eos_);
  return out;
}

}  // namespace hedge::text
