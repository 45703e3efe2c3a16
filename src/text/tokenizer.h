// Text to token ids and back, by the vocabulary and merge rules in a GGUF file.
// Immutable after load; safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/file.h"

namespace hedge::text {

using TokenId = int32_t;

// GGUF tokenizer.ggml.token_type; the numbers are the file's.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct EncodeOptions {
  bool add_special = true;    // BOS/EOS as the file asks for
  bool parse_special = true;  // "<|im_start|>" in the text becomes its one token
  // Left out wherever it stands once special tokens are found: a name with a mark inside is plain text
  // (with_controls_marked). Empty: none.
  std::string_view mark = {};
};

class Tokenizer {
 public:
  // Chooses the algorithm by tokenizer.ggml.model: "gpt2" and "gemma4" are BPE, "llama" is SentencePiece.
  // kUnsupported names a model or pre-tokenizer that Hedge does not know, kCorrupt what is broken.
  // The File must outlive the Tokenizer.
  static Result<std::unique_ptr<Tokenizer>> load(const gguf::File& file);
  virtual ~Tokenizer() = default;

  // Any bytes; ids are those of llama.cpp for the same file. Linear in the text but for long words, which are
  // n log n. Byte-level BPE takes broken UTF-8 as U+FFFD.
  virtual std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const = 0;

  // `text` with `mark` inside of every special token's name, so that encode() with this mark reads the names
  // as plain text: a prompt's parts that users wrote must not end their turn.
  virtual std::string with_controls_marked(std::string_view text, std::string_view mark) const = 0;

  // The raw bytes that the token stands for when it is written out. Control tokens give an empty view unless
  // `special` is true, then their name. Not necessarily whole characters.
  virtual std::string_view token_bytes(TokenId id, bool special = false) const = 0;

  // Ids of a whole sequence to bytes; ids outside of the vocabulary are left out. A leading space that
  // SentencePiece added for the first word is taken off.
  std::string decode(std::span<const TokenId> ids, bool special = false) const;

  virtual int vocab_size() const = 0;
  virtual TokenType type(TokenId id) const = 0;
  bool valid(TokenId id) const { return id >= 0 && id < vocab_size(); }

  TokenId bos() const { return bos_; }  // -1 when the model has none
  TokenId eos() const { return eos_; }
  bool adds_bos() const { return adds_bos_; }
  bool adds_eos() const { return adds_eos_; }
  // Any token that ends a turn or the text (eos, <|im_end|>, <end_of_turn>, <|eot_id|> ...).
  bool is_end_of_generation(TokenId id) const;
  // The name of a token as the vocabulary spells it (for `hedge show` and bos/eos in chat templates).
  virtual std::string_view token_name(TokenId id) const = 0;
  // True when the first word gets a space in front (SentencePiece with add_space_prefix).
  bool adds_space_prefix() const { return adds_space_prefix_; }

 protected:
  TokenId bos_ = -1;
  TokenId eos_ = -1;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
  bool adds_space_prefix_ = false;
  std::vector<TokenId> end_of_generation_;  // sorted
};

// A fragment of a text without its marks. `storage` holds the result when it is not the fragment itself.
std::string_view without_marks(std::string_view text, std::string_view mark, std::string& storage);

// Turns a stream of tokens into text that never splits a UTF-8 character. Bytes that can no longer become a
// character come out as U+FFFD.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  // Text that became whole with this token; may be empty.
  std::string push(TokenId id);
  // What is left at the end, sanitised.
  std::string flush();

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

}  // namespace hedge::text
