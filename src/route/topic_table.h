// Which topic do the words of a text speak of: a table of words by topics, the logarithm of how much more
// often a word stands in texts of a topic than elsewhere (naive Bayes). The program carries one;
// docs/routing.md says what it was made from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::route {

inline constexpr size_t kTopicsMax = 64;
inline constexpr size_t kTopicWordsMax = 60000;

class TopicTable {
 public:
  TopicTable() = default;  // no topics

  // The bytes of a file that to_bytes() wrote; kCorrupt with what was expected otherwise.
  static Result<TopicTable> parse(std::string_view bytes);
  std::string to_bytes() const;
  // The table that travels inside the program.
  static const TopicTable& embedded();

  // Learns one: texts, and the topic of each (below `topics`). Keeps the `words_max` words that tell most.
  // kInvalidArgument when a number is out of range.
  static Result<TopicTable> train(std::span<const std::string> texts, std::span<const uint32_t> topic_of,
                                  size_t topics, size_t words_max);

  size_t topics() const { return topics_; }
  size_t words() const { return hashes_.size(); }
  uint64_t checksum() const { return checksum_; }

  // Adds a word's row to `sums` [kTopicsMax], in steps of kStep; nothing for a word it does not know.
  void add(uint32_t word_hash, std::array<int32_t, kTopicsMax>& sums) const;
  // Sums over `words` distinct words of the text become probabilities [kTopicsMax].
  void to_probabilities(const std::array<int32_t, kTopicsMax>& sums, int words,
                        std::array<float, kTopicsMax>& out) const;

 private:
  void index();

  size_t topics_ = 0;
  std::vector<uint32_t> hashes_;  // [words], rising
  std::vector<int8_t> rows_;      // [words, topics]
  uint64_t checksum_ = 0;
  // Open addressing: slot -> word + 1, 0 for empty. A power of two, at most half full.
  std::vector<uint32_t> slots_;
};

}  // namespace hedge::route
