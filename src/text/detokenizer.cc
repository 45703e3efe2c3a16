// The streaming half of text/tokenizer.h.
#include "base/utf8.h"
#include "text/tokenizer.h"

namespace hedge::text {

std::string Detokenizer::push(TokenId id) {
  if (tokenizer_.valid(id)) pending_ += tokenizer_.token_bytes(id);
  const size_t whole = utf8_complete_prefix(pending_);
  std::string text = utf8_sanitize(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
  return text;
}

std::string Detokenizer::flush() {
  std::string text = utf8_sanitize(pending_);
  pending_.clear();
  return text;
}

}  // namespace hedge::text
