#include "text/spm_tokenizer.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "text/bpe_loop.h"
#include "text/spm_spaces.h"
#include "text/tokenizer_cache.h"
#include "text/tokenizer_rules.h"

namespace hedge::text {
namespace {

// Descending order of scores as ascending numbers, all below MergeLoop::kNoMerge.
uint32_t rank_of_score(float score) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 is 0
  const uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return std::min(~ascending, MergeLoop::kNoMerge - 1);
}

std::bitset<256> bytes_before_marks(const Vocab& vocab) {
  std::bitset<256> bytes;
  for (TokenId id = 0; id < vocab.size(); ++id) {
    const std::string_view name = vocab.name(id);
    if (name.size() <= kSpaceMark.size()) continue;
    for (size_t i = name.find(kSpaceMark, 1); i != std::string_view::npos; i = name.find(kSpaceMark, i + 1)) {
      if (!name.substr(0, i).ends_with(kSpaceMark)) bytes.set(static_cast<uint8_t>(name[i - 1]));
    }
  }
  return bytes;
}

}  // namespace

// The buffers of one call of encode().
class SpmTokenizer::Session {
 public:
  Session(const SpmTokenizer& tokenizer, std::vector<TokenId>& out) : tokenizer_(tokenizer), out_(out) {}

  void encode_fragment(std::string_view fragment, bool space_prefix) {
    marked_.clear();
    if (space_prefix) marked_ += kSpaceMark;
    append_marked_spaces(marked_, fragment);
    const std::string_view text = marked_;
    WordCache cache(text.size());
    const auto encode = [&](std::string_view word) { encode_word(word); };
    size_t begin = 0;
    bool after_mark = true;
    for (size_t i = 0; i < text.size();) {
      const size_t length = std::min(utf8_length_of_lead(text[i]), text.size() - i);
      const bool mark = text.substr(i, length) == kSpaceMark;
      const bool boundary = mark && !after_mark && !tokenizer_.joins_mark_[static_cast<uint8_t>(text[i - 1])];
      if (boundary || i - begin >= MergeLoop::kWordBytesMax) {
        cache.append(text.substr(begin, i - begin), out_, encode);
        begin = i;
      }
      after_mark = mark;
      i += length;
    }
    if (begin < text.size()) cache.append(text.substr(begin), out_, encode);
  }

 private:
  void encode_word(std::string_view word) {
    const Vocab& vocab = tokenizer_.vocab_;
    const auto rank = [&](uint32_t begin, uint32_t, uint32_t end) {
      if (end - begin > vocab.name_bytes_max()) return MergeLoop::kNoMerge;
      const TokenId id = vocab.find(word.substr(begin, end - begin));
      return id < 0 ? MergeLoop::kNoMerge : rank_of_score(vocab.score(id));
    };
    loop_.run(
        word.size(), [&](size_t position) { return utf8_length_of_lead(word[position]); }, rank,
        [&](uint32_t begin, uint32_t end) { push_symbol(word.substr(begin, end - begin)); });
  }

  void push_symbol(std::string_view symbol) {
    const TokenId id = tokenizer_.vocab_.find(symbol);
    if (id >= 0) {
      out_.push_back(id);
      return;
    }
    for (const char byte : symbol) {
      const TokenId byte_id = tokenizer_.byte_tokens_[static_cast<uint8_t>(byte)];
      if (byte_id >= 0) out_.push_back(byte_id);
    }
  }

  const SpmTokenizer& tokenizer_;
  std::vector<TokenId>& out_;
  std::string marked_;
  MergeLoop loop_;
};

Result<std::unique_ptr<Tokenizer>> SpmTokenizer::load(const gguf::File& file) {
  HEDGE_TRY_SET(Vocab vocab, Vocab::load(file, true));
  SpecialTokens defaults;
  defaults.bos = 1;
  defaults.eos = 2;
  defaults.unknown = 0;
  defaults.adds_bos = true;
  HEDGE_TRY_SET(SpecialTokens special, vocab.resolve_special(file, defaults));
  HEDGE_TRY_SET(const bool adds_space_prefix, file.get_bool_or("tokenizer.ggml.add_space_prefix", true));
  HEDGE_TRY_SET(const SpecialSplitter::StripRules strip, strip_rules(file, vocab));
  return std::unique_ptr<Tokenizer>(
      new SpmTokenizer(std::move(vocab), std::move(special), adds_space_prefix, strip));
}

SpmTokenizer::SpmTokenizer(Vocab vocab, SpecialTokens special, bool adds_space_prefix,
                           const SpecialSplitter::StripRules& strip)
    : vocab_(std::move(vocab)),
      splitter_(vocab_, strip),
      pieces_(vocab_, append_plain_spaces),
      joins_mark_(bytes_before_marks(vocab_)) {
  bos_ = special.bos;
  eos_ = special.eos;
  adds_bos_ = special.adds_bos;
  adds_eos_ = special.adds_eos;
  adds_space_prefix_ = adds_space_prefix;
  end_of_generation_ = std::move(special.end_of_generation);
  for (int byte = 0; byte < 256; ++byte) {
    const char text = static_cast<char>(byte);
    TokenId id = vocab_.find_byte(static_cast<uint8_t>(byte));
    if (id < 0) id = vocab_.find(std::string_view(&text, 1));
    byte_tokens_[byte] = id >= 0 ? id : special.unknown;
  }
}

std::vector<TokenId> SpmTokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + 2);
  if (options.add_special && adds_bos_) out.push_back(bos_);
  Session session(*this, out);
  std::string unmarked;
  bool after_special = true;  // The start counts as one: the first word gets its space there.
  for (const SpecialSplitter::Fragment& fragment : splitter_.split(text, options.parse_special)) {
    if (fragment.token >= 0) {
      out.push_back(fragment.token);
    } else {
      session.encode_fragment(without_marks(fragment.text, options.mark, unmarked),
                              adds_space_prefix_ && after_special);
    }
    after_special = fragment.token >= 0;
  }
  if (options.add_special && adds_eos_) out.push_back(eos_);
  return out;
}

}  // namespace hedge::text
