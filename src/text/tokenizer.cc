#include "text/tokenizer.h"

#include <fmt/core.h>

#include <algorithm>

#include "text/bpe_tokenizer.h"
#include "text/spm_tokenizer.h"

namespace hedge::text {

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const gguf::File& file) {
  HEDGE_TRY_SET(const std::string_view model, file.get_string("tokenizer.ggml.model"));
  if (model == "llama") return SpmTokenizer::load(file);
  if (model == "gpt2") {
    HEDGE_TRY_SET(const std::string_view pre, file.get_string_or("tokenizer.ggml.pre", ""));
    return BpeTokenizer::load(file, pre);
  }
  if (model == "gemma4") return BpeTokenizer::load(file, "gemma4");
  return make_error(
      ErrorCode::kUnsupported,
      fmt::format("tokenizer.ggml.model: expected \"gpt2\", \"llama\" or \"gemma4\", got \"{}\"",
                  model.substr(0, 64)));
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool special) const {
  std::string out;
  bool first_word = adds_space_prefix_;
  for (const TokenId id : ids) {
    if (!valid(id)) continue;
    std::string_view bytes = token_bytes(id, special);
    if (first_word && (type(id) == TokenType::kNormal || type(id) == TokenType::kByte)) {
      if (bytes.starts_with(' ')) bytes.remove_prefix(1);
      first_word = false;
    }
    out += bytes;
  }
  return out;
}

bool Tokenizer::is_end_of_generation(TokenId id) const {
  return std::binary_search(end_of_generation_.begin(), end_of_generation_.end(), id);
}

std::string_view without_marks(std::string_view text, std::string_view mark, std::string& storage) {
  if (mark.empty() || text.find(mark) == std::string_view::npos) return text;
  storage.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t next = std::min(text.find(mark, at), text.size());
    storage.append(text.substr(at, next - at));
    at = next + mark.size();
  }
  return storage;
}

}  // namespace hedge::text
