// Words repeat: in running text nine of ten have been seen before. Within one fragment of text the tokens of
// a word are copied from where they were written the last time. Direct-mapped, no storage of its own for
// words or ids. For one call of encode(), on one thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocab_hash.h"

namespace hedge::text {

class WordCache {
 public:
  // For a fragment of `text_bytes`; short ones are not worth the table.
  explicit WordCache(size_t text_bytes) {
    if (text_bytes < kTextBytesMin) return;
    entries_.resize(std::bit_ceil(std::clamp(text_bytes / 16, kEntriesMin, kEntriesMax)));
  }

  // Appends the tokens of `word` to `out`, by `encode(word)` when they are not known. Words must stay where
  // they are until the cache goes.
  template <typename Encode>
  void append(std::string_view word, std::vector<TokenId>& out, const Encode& encode) {
    if (entries_.empty() || word.size() > kWordBytesMax) {
      encode(word);
      return;
    }
    Entry& entry = entries_[hash_bytes(word) & (entries_.size() - 1)];
    if (entry.word == word) {
      const size_t begin = out.size();
      out.resize(begin + entry.count);
      std::copy_n(out.begin() + static_cast<ptrdiff_t>(entry.begin), entry.count,
                  out.begin() + static_cast<ptrdiff_t>(begin));
      return;
    }
    const size_t begin = out.size();
    encode(word);
    entry = {word, begin, static_cast<uint32_t>(out.size() - begin)};
  }

 private:
  static constexpr size_t kTextBytesMin = 1024;
  static constexpr size_t kEntriesMin = 256;
  static constexpr size_t kEntriesMax = 16384;  // 512 KB: stays in the second-level cache
  static constexpr size_t kWordBytesMax = 64;   // longer ones rarely come twice

  struct Entry {
    std::string_view word;
    size_t begin = 0;  // in the ids written so far
    uint32_t count = 0;
  };
  std::vector<Entry> entries_;
};

}  // namespace hedge::text
