// The merge rules of a BPE vocabulary: for two adjacent texts, the place of their merge in the file. The
// texts stay in the mapped file. Immutable after load(); safe from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "gguf/file.h"
#include "text/vocab_hash.h"

namespace hedge::text {

class MergeTable {
 public:
  // Reads tokenizer.ggml.merges: "left right". kCorrupt when one is not two texts, or there are too many of
  // them.
  static Result<MergeTable> load(const gguf::File& file);

  // -1 when the two are not merged.
  int32_t rank(std::string_view left, std::string_view right) const {
    return index_.find(hash_pair(left, right),
                       [&](uint32_t id) { return is_pair((*merges_)[id], left, right); });
  }

  size_t size() const { return merges_->size(); }

 private:
  static uint64_t hash_pair(std::string_view left, std::string_view right) {
    return hash_mix(hash_bytes(left) ^ 0x589965cc75374cc3u, hash_bytes(right));
  }
  static bool is_pair(std::string_view merge, std::string_view left, std::string_view right) {
    return merge.size() == left.size() + 1 + right.size() && merge.starts_with(left) &&
           merge[left.size()] == ' ' && merge.ends_with(right);
  }

  const gguf::Strings* merges_ = nullptr;
  HashIndex index_;
};

}  // namespace hedge::text
