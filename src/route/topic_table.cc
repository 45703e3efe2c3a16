#include "route/topic_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <unordered_map>

#include "base/hash.h"
#include "route/prompt_features.h"

namespace hedge::route {

std::string_view embedded_topics();  // assets/topics.bin

namespace {

// One step of a stored value: 1/16 of a nat, so that a byte spans +/-7.9.
constexpr float kStep = 1.0f / 16;
// Naive Bayes takes every word for independent evidence and is far too sure; the sum over n words is
// therefore divided by sqrt(n), and this keeps the best topic's mean probability near its share of hits.
constexpr float kSharpness = 1.2f;
constexpr double kPriorWords = 50;  // words of background per topic, Dirichlet prior

struct Header {
  char magic[8];
  uint32_t topics;
  uint32_t words;
  uint64_t checksum;  // of all that follows
};
constexpr char kMagic[8] = {'H', 'E', 'D', 'G', 'T', 'O', 'P', '1'};

class Words final : public WordVisitor {
 public:
  void visit(std::string_view word) override { hashes.push_back(hash_word(word)); }
  std::vector<uint32_t> hashes;
};

}  // namespace

const TopicTable& TopicTable::embedded() {
  static const TopicTable table = [] {
    auto parsed = parse(embedded_topics());
    HEDGE_CHECK(parsed.ok());  // our own bytes
    return std::move(parsed).value();
  }();
  return table;
}

Result<TopicTable> TopicTable::parse(std::string_view bytes) {
  const auto corrupt = [](std::string detail) { return make_error(ErrorCode::kCorrupt, std::move(detail)); };
  Header header;
  if (bytes.size() < sizeof(header))
    return corrupt(
        fmt::format("topic table: expected at least {} bytes, got {}", sizeof(header), bytes.size()));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0)
    return corrupt("topic table: expected a file that begins with HEDGTOP1");
  if (header.topics == 0 || header.topics > kTopicsMax || header.words == 0 || header.words > kTopicWordsMax)
    return corrupt(fmt::format("topic table: expected 1 to {} topics and 1 to {} words, got {} and {}",
                               kTopicsMax, kTopicWordsMax, header.topics, header.words));
  const std::string_view body = bytes.substr(sizeof(header));
  const size_t expected = size_t{header.words} * (sizeof(uint32_t) + header.topics);
  if (body.size() != expected)
    return corrupt(
        fmt::format("topic table: expected {} bytes after the head, got {}", expected, body.size()));
  if (fnv1a(body) != header.checksum) return corrupt("topic table: its checksum does not match");
  TopicTable table;
  table.topics_ = header.topics;
  table.checksum_ = header.checksum;
  table.hashes_.resize(header.words);
  std::memcpy(table.hashes_.data(), body.data(), header.words * sizeof(uint32_t));
  if (std::adjacent_find(table.hashes_.begin(), table.hashes_.end(), std::greater_equal<>()) !=
      table.hashes_.end())
    return corrupt("topic table: its words are not in order");
  const auto* rows = reinterpret_cast<const int8_t*>(body.data() + header.words * sizeof(uint32_t));
  table.rows_.assign(rows, rows + size_t{header.words} * header.topics);
  table.index();
  return table;
}

std::string TopicTable::to_bytes() const {
  std::string body(reinterpret_cast<const char*>(hashes_.data()), hashes_.size() * sizeof(uint32_t));
  body.append(reinterpret_cast<const char*>(rows_.data()), rows_.size());
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.topics = static_cast<uint32_t>(topics_);
  header.words = static_cast<uint32_t>(hashes_.size());
  header.checksum = fnv1a(body);
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body;
}

void TopicTable::index() {
  size_t size = 16;
  while (size < 2 * hashes_.size()) size *= 2;
  slots_.assign(size, 0);
  for (size_t i = 0; i < hashes_.size(); ++i) {
    size_t slot = hashes_[i] & (size - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (size - 1);
    slots_[slot] = static_cast<uint32_t>(i + 1);
  }
}

void TopicTable::add(uint32_t word_hash, std::array<int32_t, kTopicsMax>& sums) const {
  if (slots_.empty()) return;
  for (size_t slot = word_hash & (slots_.size() - 1); slots_[slot] != 0;
       slot = (slot + 1) & (slots_.size() - 1)) {
    const size_t word = slots_[slot] - 1;
    if (hashes_[word] != word_hash) continue;
    const int8_t* row = rows_.data() + word * topics_;
    for (size_t t = 0; t < topics_; ++t) sums[t] += row[t];
    return;
  }
}

void TopicTable::to_probabilities(const std::array<int32_t, kTopicsMax>& sums, int words,
                                  std::array<float, kTopicsMax>& out) const {
  out.fill(0);
  if (topics_ == 0) return;
  const float scale = kSharpness * kStep / std::sqrt(static_cast<float>(std::max(words, 1)));
  const int32_t best = *std::max_element(sums.begin(), sums.begin() + static_cast<long>(topics_));
  float total = 0;
  for (size_t t = 0; t < topics_; ++t) total += out[t] = std::exp(scale * static_cast<float>(sums[t] - best));
  for (size_t t = 0; t < topics_; ++t) out[t] /= total;
}

Result<TopicTable> TopicTable::train(std::span<const std::string> texts, std::span<const uint32_t> topic_of,
                                     size_t topics, size_t words_max) {
  if (topics < 2 || topics > kTopicsMax)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("expected 2 to {} topics, got {}", kTopicsMax, topics));
  if (words_max == 0 || words_max > kTopicWordsMax)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("expected 1 to {} words, got {}", kTopicWordsMax, words_max));
  std::unordered_map<uint32_t, std::vector<float>> counts;  // texts of each topic that have the word
  std::vector<double> total(topics);
  double all = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    Words words;
    visit_words(std::string_view(texts[i]).substr(0, kScoredBytesMax), words);
    std::sort(words.hashes.begin(), words.hashes.end());
    words.hashes.erase(std::unique(words.hashes.begin(), words.hashes.end()), words.hashes.end());
    for (const uint32_t hash : words.hashes) {
      auto& row = counts[hash];
      if (row.empty()) row.resize(topics);
      row[topic_of[i]] += 1;
    }
    total[topic_of[i]] += static_cast<double>(words.hashes.size());
    all += static_cast<double>(words.hashes.size());
  }
  struct Word {
    uint32_t hash;
    double information;  // what its rows tell of the topic, summed over its texts, in nats
    std::vector<int8_t> row;
  };
  std::vector<Word> kept;
  for (const auto& [hash, row] : counts) {
    const double seen = std::accumulate(row.begin(), row.end(), 0.0);
    if (seen < 2) continue;  // one text alone says nothing
    const double background = seen / all;
    Word word{hash, 0, std::vector<int8_t>(topics)};
    for (size_t t = 0; t < topics; ++t) {
      const double p = (row[t] + kPriorWords * background) / (total[t] + kPriorWords);
      const double value = std::log(p / background);
      word.information += row[t] * value;
      word.row[t] = static_cast<int8_t>(std::clamp(std::lround(value / kStep), -127L, 127L));
    }
    kept.push_back(std::move(word));
  }
  std::sort(kept.begin(), kept.end(), [](const Word& a, const Word& b) {
    return a.information != b.information ? a.information > b.information : a.hash < b.hash;
  });
  if (kept.empty())
    return make_error(ErrorCode::kInvalidArgument, "expected texts that share words, got none");
  kept.resize(std::min(kept.size(), words_max));
  std::sort(kept.begin(), kept.end(), [](const Word& a, const Word& b) { return a.hash < b.hash; });
  TopicTable table;
  table.topics_ = topics;
  for (const Word& word : kept) {
    table.hashes_.push_back(word.hash);
    table.rows_.insert(table.rows_.end(), word.row.begin(), word.row.end());
  }
  return parse(table.to_bytes());
}

}  // namespace hedge::route
