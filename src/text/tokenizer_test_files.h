// For tests: vocabularies small enough to work out by hand, as GGUF files in memory, and the golden files'
// format.
#pragma once

#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "text/bpe_bytes.h"
#include "text/tokenizer.h"

namespace hedge::text {

// What goes into a vocabulary file. Tests break one thing at a time.
struct VocabFile {
  std::string model;
  std::string pre;
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  std::vector<float> scores;
  std::vector<std::string> merges;
  std::function<void(gguf::Writer&)> more = [](gguf::Writer&) {};

  void add(std::string_view name, TokenType type, float score = 0) {
    tokens.emplace_back(name);
    types.push_back(static_cast<int32_t>(type));
    scores.push_back(score);
  }

  std::vector<uint8_t> to_bytes() const {
    gguf::Writer writer;
    writer.add_string("general.architecture", "llama");
    writer.add_string("tokenizer.ggml.model", model);
    if (!pre.empty()) writer.add_string("tokenizer.ggml.pre", pre);
    writer.add_strings("tokenizer.ggml.tokens", tokens);
    writer.add_ints("tokenizer.ggml.token_type", types);
    if (model == "llama") writer.add_floats("tokenizer.ggml.scores", scores);
    if (!merges.empty()) writer.add_strings("tokenizer.ggml.merges", merges);
    more(writer);
    return writer.to_bytes();
  }
};

// All 256 bytes, then 256 "he", 257 "ll", 258 "hell", 259 "hello", 260 " hello", 261 "<s>", 262 "<|im_end|>"
// (typed normal by mistake), 263 "[U]" and 264 "[U]]" (user-defined), 265 "<|im_start|>".
inline VocabFile tiny_bpe() {
  VocabFile vocab;
  vocab.model = "gpt2";
  vocab.pre = "gpt-2";
  for (int byte = 0; byte < 256; ++byte) {
    std::string name;
    append_byte_level(name, std::string(1, static_cast<char>(byte)));
    vocab.add(name, TokenType::kNormal);
  }
  for (const char* name : {"he", "ll", "hell", "hello", "\u0120hello"}) vocab.add(name, TokenType::kNormal);
  vocab.merges = {"h e", "l l", "he ll", "hell o", "\u0120 hello"};
  vocab.add("<s>", TokenType::kControl);
  vocab.add("<|im_end|>", TokenType::kNormal);
  vocab.add("[U]", TokenType::kUserDefined);
  vocab.add("[U]]", TokenType::kUserDefined);
  vocab.add("<|im_start|>", TokenType::kControl);
  vocab.more = [](gguf::Writer& writer) {
    writer.add_uint32("tokenizer.ggml.bos_token_id", 261);
    writer.add_uint32("tokenizer.ggml.eos_token_id", 262);
    writer.add_bool("tokenizer.ggml.add_bos_token", true);
  };
  return vocab;
}

// 0 "<unk>", 1 "<s>", 2 "</s>", 3 to 258 the bytes, then 259 U+2581, 260 "a", 261 "b", 262 "ab", 263 U+2581
// "a", 264 U+2581 "ab", 265 two U+2581, 266 "b" U+2581 (so a mark after "b" need not begin a word), 267 "<x>"
// (user-defined), 268 "<c>" and 269 "<|endoftext|>" (control).
inline VocabFile tiny_spm() {
  VocabFile vocab;
  vocab.model = "llama";
  vocab.add("<unk>", TokenType::kUnknown);
  vocab.add("<s>", TokenType::kControl);
  vocab.add("</s>", TokenType::kControl);
  constexpr char kHex[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    vocab.add(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">", TokenType::kByte);
  }
  const std::pair<const char*, float> words[] = {{"\u2581", -9},       {"a", -8},         {"b", -7},
                                                 {"ab", -2},           {"\u2581a", -3},   {"\u2581ab", -4},
                                                 {"\u2581\u2581", -1}, {"b\u2581", -1.5f}};
  for (const auto& word : words) vocab.add(word.first, TokenType::kNormal, word.second);
  vocab.add("<x>", TokenType::kUserDefined);
  vocab.add("<c>", TokenType::kControl);
  vocab.add("<|endoftext|>", TokenType::kControl);
  return vocab;
}

// A tokenizer and the file that it looks into.
struct Loaded {
  std::vector<uint8_t> bytes;
  std::unique_ptr<gguf::File> file;
  std::unique_ptr<Tokenizer> tokenizer;
};

inline Result<Loaded> load_bytes(std::vector<uint8_t> bytes) {
  Loaded loaded;
  loaded.bytes = std::move(bytes);
  HEDGE_TRY_SET(loaded.file, gguf::File::parse(loaded.bytes));
  HEDGE_TRY_SET(loaded.tokenizer, Tokenizer::load(*loaded.file));
  return loaded;
}
inline Result<Loaded> load_vocab(const VocabFile& vocab) { return load_bytes(vocab.to_bytes()); }

inline Result<Loaded> load_path(const std::string& path) {
  Loaded loaded;
  HEDGE_TRY_SET(loaded.file, gguf::File::open(path));
  HEDGE_TRY_SET(loaded.tokenizer, Tokenizer::load(*loaded.file));
  return loaded;
}

// One line of a golden file: a text with all but printable ASCII as \xHH, a tab, ids.
struct GoldenCase {
  std::string text;
  std::vector<TokenId> ids;
};

inline std::vector<GoldenCase> read_golden_cases(const std::string& path) {
  std::vector<GoldenCase> cases;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    GoldenCase golden;
    const size_t tab = line.find('\t');
    for (size_t i = 0; i < tab; ++i) {
      if (line[i] == '\\') {
        golden.text += static_cast<char>(std::stoi(line.substr(i + 2, 2), nullptr, 16));
        i += 3;
      } else {
        golden.text += line[i];
      }
    }
    std::istringstream ids(line.substr(tab + 1));
    for (TokenId id; ids >> id;) golden.ids.push_back(id);
    cases.push_back(std::move(golden));
  }
  return cases;
}

}  // namespace hedge::text
