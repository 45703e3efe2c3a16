// Tokens with a role: by metadata, and, because many files leave that out, by well-known names. The lists and
// their effects are those of llama.cpp, so that both stop at the same tokens.
#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "text/vocab.h"

namespace hedge::text {
namespace {

// Any of these ends the generation wherever the vocabulary has it.
constexpr std::string_view kEndNames[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",  // DeepSeek, with full-width bars
    "[e~[",
};

// Fill-in-the-middle tokens: the key in the metadata, else the first of the names that the vocabulary has.
struct Role {
  std::string_view key;
  std::string_view old_key;
  bool ends_generation;
  std::string_view names[8];
};
constexpr Role kRoles[] = {
    {"fim_pre_token_id",
     "prefix_token_id",
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\uff5cfim\u2581begin\uff5c>", "<PRE>",
      "\u2581<PRE>", "<|code_prefix|>", "<|prefix|>"}},
    {"fim_suf_token_id",
     "suffix_token_id",
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\uff5cfim\u2581hole\uff5c>", "<SUF>", "\u2581<SUF>",
      "<|code_suffix|>", "<|suffix|>"}},
    {"fim_mid_token_id",
     "middle_token_id",
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\uff5cfim\u2581end\uff5c>", "<MID>", "\u2581<MID>",
      "<|code_middle|>", "<|middle|>"}},
    {"fim_pad_token_id", "", true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"fim_rep_token_id", "", true, {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"fim_sep_token_id", "", true, {"<|file_sep|>"}},
};

// gpt-oss writes its channels with these; they are always rendered.
constexpr std::string_view kRenderedNames[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

// The id under tokenizer.ggml.`name`; `fallback` when the key is absent, -1 when it holds -1 in any width.
Result<TokenId> read_id(const gguf::File& file, std::string_view name, TokenId fallback, int vocab_size) {
  const std::string key = fmt::format("tokenizer.ggml.{}", name);
  const gguf::Value* value = file.find(key);
  if (value == nullptr) return fallback < vocab_size ? fallback : -1;
  if (value->type == gguf::ValueType::kInt32 && load_le<int32_t>(value->raw.data()) == -1) return -1;
  if (value->type == gguf::ValueType::kInt64 && load_le<int64_t>(value->raw.data()) == -1) return -1;
  HEDGE_TRY_SET(const uint64_t id, file.get_uint(key));
  if (id == 0xffffffffu) return -1;
  if (id >= static_cast<uint64_t>(vocab_size)) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("{}: expected a token id below {}, got {}", key, vocab_size, id));
  }
  return static_cast<TokenId>(id);
}

}  // namespace

Result<SpecialTokens> Vocab::resolve_special(const gguf::File& file, const SpecialTokens& defaults) {
  SpecialTokens special = defaults;
  HEDGE_TRY_SET(special.bos, read_id(file, "bos_token_id", defaults.bos, size()));
  HEDGE_TRY_SET(special.eos, read_id(file, "eos_token_id", defaults.eos, size()));
  HEDGE_TRY_SET(special.unknown, read_id(file, "unknown_token_id", defaults.unknown, size()));
  HEDGE_TRY_SET(special.adds_bos, file.get_bool_or("tokenizer.ggml.add_bos_token", defaults.adds_bos));
  HEDGE_TRY_SET(special.adds_eos, file.get_bool_or("tokenizer.ggml.add_eos_token", defaults.adds_eos));
  special.adds_bos &= special.bos >= 0;
  special.adds_eos &= special.eos >= 0;

  std::vector<TokenId>& ends = special.end_of_generation;
  const auto set_type = [&](TokenId id, TokenType type) { types_[id] = static_cast<uint8_t>(type); };
  for (const Role& role : kRoles) {
    HEDGE_TRY_SET(TokenId id, read_id(file, role.key, -1, size()));
    if (id < 0 && !role.old_key.empty()) {
      HEDGE_TRY_SET(id, read_id(file, role.old_key, -1, size()));
    }
    for (const std::string_view name : role.names) {
      if (id >= 0 || name.empty()) break;
      id = find(name);
      if (id >= 0) set_type(id, TokenType::kControl);
    }
    if (id >= 0 && role.ends_generation) ends.push_back(id);
  }
  for (const std::string_view name : kEndNames) {
    const TokenId id = find(name);
    if (id < 0) continue;
    ends.push_back(id);
    set_type(id, TokenType::kControl);
  }
  for (const std::string_view name : kRenderedNames) {
    const TokenId id = find(name);
    if (id >= 0) set_type(id, TokenType::kUserDefined);
  }
  for (const std::string_view key : {"eot_token_id", "eom_token_id"}) {
    HEDGE_TRY_SET(const TokenId id, read_id(file, key, -1, size()));
    if (id >= 0) ends.push_back(id);
  }
  if (special.eos >= 0) ends.push_back(special.eos);

  const auto is_end = [&](std::string_view name) {
    const TokenId id = find(name);
    return id >= 0 && std::find(ends.begin(), ends.end(), id) != ends.end();
  };
  const auto take_out = [&](std::string_view name, TokenType type) {
    const TokenId id = find(name);
    if (std::erase(ends, id) > 0) set_type(id, type);
  };
  // Where a turn ends with "<|return|>" or "<|call|>", "<|end|>" only closes one message of it.
  const bool calls = is_end("<|call|>") || is_end("<|calls|>");
  if (calls && (is_end("<|return|>") || is_end("<|flush|>"))) take_out("<|end|>", TokenType::kUserDefined);
  // Gemma 4 and PLaMo have "</s>" as the HTML tag.
  if (is_end("<|tool_response>") || is_end("<|plamo:eos|>")) take_out("</s>", TokenType::kNormal);

  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return special;
}

}  // namespace hedge::text
