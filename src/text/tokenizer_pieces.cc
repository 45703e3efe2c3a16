#include "text/tokenizer_pieces.h"

namespace hedge::text {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// "<0x0A>" is the byte 10; a byte token with another name stands for its name.
void append_byte_token(std::string& out, std::string_view name) {
  if (name.size() == 6 && name.starts_with("<0x") && name[5] == '>' && hex_digit(name[3]) >= 0 &&
      hex_digit(name[4]) >= 0) {
    out += static_cast<char>(hex_digit(name[3]) << 4 | hex_digit(name[4]));
  } else {
    out += name;
  }
}

}  // namespace

PieceTable::PieceTable(const Vocab& vocab, Decode decode)
    : vocab_(vocab), decode_(decode), blocks_((static_cast<size_t>(vocab.size()) + kBlock - 1) / kBlock) {}

std::string_view PieceTable::get(TokenId id, bool special) const {
  switch (vocab_.type(id)) {
    case TokenType::kControl:
    case TokenType::kUnknown:
      return special ? vocab_.name(id) : std::string_view();
    case TokenType::kUserDefined:
      return vocab_.name(id);
    case TokenType::kUndefined:
    case TokenType::kUnused:
      return {};
    case TokenType::kNormal:
    case TokenType::kByte:
      break;
  }
  const size_t block_index = static_cast<size_t>(id) / kBlock;
  const Block* block = blocks_[block_index].load(std::memory_order_acquire);
  const Block& pieces = block != nullptr ? *block : build(block_index);
  const size_t place = static_cast<size_t>(id) % kBlock;
  const uint32_t begin = place == 0 ? 0 : pieces.ends[place - 1];
  return std::string_view(pieces.bytes).substr(begin, pieces.ends[place] - begin);
}

const PieceTable::Block& PieceTable::build(size_t block_index) const {
  const std::lock_guard lock(mutex_);
  if (const Block* block = blocks_[block_index].load(std::memory_order_relaxed); block != nullptr)
    return *block;
  auto block = std::make_unique<Block>();
  for (int place = 0; place < kBlock; ++place) {
    const TokenId id = static_cast<TokenId>(block_index * kBlock) + place;
    if (id < vocab_.size()) {
      if (vocab_.type(id) == TokenType::kNormal) decode_(block->bytes, vocab_.name(id));
      if (vocab_.type(id) == TokenType::kByte) append_byte_token(block->bytes, vocab_.name(id));
    }
    block->ends[place] = static_cast<uint32_t>(block->bytes.size());
  }
  owned_.push_back(std::move(block));
  blocks_[block_index].store(owned_.back().get(), std::memory_order_release);
  return *owned_.back();
}

}  // namespace hedge::text
