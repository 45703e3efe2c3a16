// The merge loop that both tokenizers share: a word is a row of symbols, the best adjacent pair is joined,
// again and again, until no pair can be. Byte-level BPE ranks pairs by the place of the merge in the file,
// SentencePiece by the score of the joined token. A priority queue over a linked list: O(n log n) for a word
// of n symbols. The buffers are kept between words; one MergeLoop serves one call of encode() at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hedge::text {

class MergeLoop {
 public:
  // Symbols and their places are held in 32 bits; longer words are cut by the callers.
  static constexpr size_t kWordBytesMax = size_t{1} << 28;
  static constexpr uint32_t kNoMerge = UINT32_MAX;

  // `length_at(position)` gives the bytes of the symbol there; `rank(begin, middle, end)` gives kNoMerge or a
  // number, the lower the sooner, for the pair [begin, middle) [middle, end); `emit(begin, end)` gets what is
  // left, in order. Equal ranks are joined from the left.
  template <typename LengthAt, typename Rank, typename Emit>
  void run(size_t word_bytes, const LengthAt& length_at, const Rank& rank, const Emit& emit) {
    symbols_.clear();
    queue_.clear();
    for (size_t position = 0; position < word_bytes;) {
      const size_t length = std::min<size_t>(length_at(position), word_bytes - position);
      const int32_t index = static_cast<int32_t>(symbols_.size());
      symbols_.push_back(
          {static_cast<uint32_t>(position), static_cast<uint32_t>(length), index - 1, index + 1});
      position += length;
    }
    symbols_.back().next = -1;
    for (size_t i = 1; i < symbols_.size(); ++i) push_pair(static_cast<int32_t>(i - 1), rank, false);
    std::make_heap(queue_.begin(), queue_.end());

    while (!queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end());
      const Pair pair = queue_.back();
      queue_.pop_back();
      const int32_t left_index = static_cast<int32_t>(pair.key & UINT32_MAX);
      Symbol& left = symbols_[left_index];
      // Stale when either half has been joined to something else since; sizes tell, for the left edge never
      // moves.
      if (left.size == 0 || left.next < 0 || left.size + symbols_[left.next].size != pair.size) continue;
      Symbol& right = symbols_[left.next];
      left.size += right.size;
      right.size = 0;
      left.next = right.next;
      if (right.next >= 0) symbols_[right.next].previous = left_index;
      if (left.previous >= 0) push_pair(left.previous, rank, true);
      if (left.next >= 0) push_pair(left_index, rank, true);
    }
    for (int32_t i = 0; i >= 0; i = symbols_[i].next)
      emit(symbols_[i].begin, symbols_[i].begin + symbols_[i].size);
  }

 private:
  struct Symbol {
    uint32_t begin;
    uint32_t size;  // bytes; 0 once joined to the one before
    int32_t previous;
    int32_t next;
  };
  struct Pair {
    uint64_t key;   // rank, then index of the left symbol
    uint32_t size;  // bytes of both halves
    bool operator<(const Pair& other) const { return key > other.key; }  // The heap's top is the lowest key.
  };

  template <typename Rank>
  void push_pair(int32_t left_index, const Rank& rank, bool keep_heap) {
    const Symbol& left = symbols_[left_index];
    const Symbol& right = symbols_[left.next];
    const uint32_t found = rank(left.begin, right.begin, right.begin + right.size);
    if (found == kNoMerge) return;
    queue_.push_back(
        {static_cast<uint64_t>(found) << 32 | static_cast<uint32_t>(left_index), left.size + right.size});
    if (keep_heap) std::push_heap(queue_.begin(), queue_.end());
  }

  std::vector<Symbol> symbols_;
  std::vector<Pair> queue_;
};

}  // namespace hedge::text
