#include "text/tokenizer_rules.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

namespace hedge::text {
namespace {

bool contains_any(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return text.find(part) != std::string_view::npos; });
}

void add(std::vector<TokenId>& ids, const Vocab& vocab, std::string_view name) {
  const TokenId id = vocab.find(name);
  if (id >= 0) ids.push_back(id);
}

}  // namespace

Result<SpecialSplitter::StripRules> strip_rules(const gguf::File& file, const Vocab& vocab) {
  HEDGE_TRY_SET(const std::string_view name, file.get_string_or("general.name", ""));
  HEDGE_TRY_SET(const std::string_view pre, file.get_string_or("tokenizer.ggml.pre", ""));
  HEDGE_TRY_SET(const std::string_view architecture, file.get_string_or("general.architecture", ""));
  std::string lower(name);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 'a' - 'A') : c;

  SpecialSplitter::StripRules rules;
  if (contains_any(pre, {"jina-v2-de", "jina-v2-es", "jina-v2-code"}) ||
      contains_any(architecture, {"nomic-bert-moe", "jina-bert-v3"})) {
    add(rules.left, vocab, "<mask>");
  } else if (contains_any(lower, {"phi-3", "phi3"})) {
    rules.right_all = true;
    for (const std::string_view never : {"<unk>", "<s>", "<|endoftext|>"})
      add(rules.right_never, vocab, never);
  } else if (contains_any(lower, {"modern-bert"})) {
    add(rules.left, vocab, "[MASK]");
  }
  return rules;
}

}  // namespace hedge::text
