#include "text/bpe_merges.h"

#include <fmt/core.h>

#include <algorithm>

namespace hedge::text {
namespace {

constexpr char kMergesKey[] = "tokenizer.ggml.merges";

}  // namespace

Result<MergeTable> MergeTable::load(const gguf::File& file) {
  MergeTable table;
  HEDGE_TRY_SET(table.merges_, file.get_strings(kMergesKey));
  const gguf::Strings& merges = *table.merges_;
  if (merges.size() >= HashIndex::kIdLimit) {
    return make_error(ErrorCode::kCorrupt, fmt::format("{}: expected fewer than {} merges, got {}",
                                                       kMergesKey, HashIndex::kIdLimit, merges.size()));
  }
  table.index_.resize(merges.size());
  constexpr size_t kGroup = 16;  // as in Vocab::build_index()
  struct {
    std::string_view left, right;
    uint64_t hash;
  } group[kGroup];
  for (size_t begin = 0; begin < merges.size(); begin += kGroup) {
    const size_t end = std::min(begin + kGroup, merges.size());
    for (size_t i = begin; i < end; ++i) {
      // The left text may begin with the space, never hold another.
      const size_t space = merges[i].find(' ', 1);
      if (space == std::string_view::npos || space + 1 == merges[i].size()) {
        return make_error(ErrorCode::kCorrupt,
                          fmt::format("{}: expected two texts with a space between them, merge {} "
                                      "of {} bytes is not",
                                      kMergesKey, i, merges[i].size()));
      }
      auto& item = group[i - begin];
      item = {merges[i].substr(0, space), merges[i].substr(space + 1), 0};
      item.hash = hash_pair(item.left, item.right);
      table.index_.prefetch(item.hash);
    }
    for (size_t i = begin; i < end; ++i) {
      const auto& item = group[i - begin];
      const auto equal = [&](uint32_t id) { return is_pair(merges[id], item.left, item.right); };
      // A repeated merge keeps its first, lower rank.
      if (table.index_.insert(item.hash, static_cast<uint32_t>(i), equal) ==
          HashIndex::Insert::kTooManyCollisions) {
        return make_error(
            ErrorCode::kCorrupt,
            fmt::format("{}: expected merges that spread over a hash table, more than {} share a place",
                        kMergesKey, HashIndex::kProbeLimit));
      }
    }
  }
  return table;
}

}  // namespace hedge::text
