#include "privacy/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "privacy/detect.h"
#include "privacy/scan.h"
#include "privacy/tagger.h"

namespace hedge::privacy {
namespace {

constexpr size_t kWidth = 24;           // floats of a row; [kLabelCount] are used
constexpr uint32_t kSightingsMin = 3;   // a feature seen less often is left out
constexpr size_t kDictionaryBits = 23;  // 8 million slots
constexpr float kWeightMax = 6.0f;      // what a byte of 127 stands for, at most
constexpr uint32_t kNone = ~0u;
constexpr double kBloomBitsPerWord = 9;

using Row = std::array<float, kWidth>;

struct Sequence {
  std::vector<Token> tokens;
  std::vector<uint8_t> labels;
};

// Features by key: first their sightings, then the rows of those seen often enough.
class Dictionary {
 public:
  Dictionary() : keys_(size_t{1} << kDictionaryBits), values_(keys_.size()) {}

  void count(uint32_t key) {
    const size_t slot = slot_of(key);
    if (keys_[slot] == 0) {
      if (used_ * 10 > keys_.size() * 8) return;  // full enough: what is new now is rare
      keys_[slot] = key;
      ++used_;
    }
    ++values_[slot];
  }
  // Sets every value to its row, or to kNone. Returns the keys and sightings by row.
  void number_rows(std::vector<uint32_t>& keys, std::vector<uint32_t>& sightings) {
    for (size_t slot = 0; slot < keys_.size(); ++slot) {
      if (keys_[slot] == 0) continue;
      if (values_[slot] < kSightingsMin) {
        values_[slot] = kNone;
        continue;
      }
      keys.push_back(keys_[slot]);
      sightings.push_back(values_[slot]);
      values_[slot] = static_cast<uint32_t>(keys.size() - 1);
    }
  }
  uint32_t row(uint32_t key) const {
    const size_t slot = slot_of(key);
    return keys_[slot] == 0 ? kNone : values_[slot];
  }
  void forget(uint32_t key) { values_[slot_of(key)] = kNone; }

 private:
  size_t slot_of(uint32_t key) const {
    size_t slot = key * 2654435769u >> (32 - kDictionaryBits);
    while (keys_[slot] != 0 && keys_[slot] != key) slot = (slot + 1) & (keys_.size() - 1);
    return slot;
  }
  std::vector<uint32_t> keys_, values_;
  size_t used_ = 0;
};

size_t type_index(std::string_view type) {
  for (size_t i = 0; i < kTaggedTypeCount; ++i) {
    if (kTaggedTypes[i] == type) return i;
  }
  return kTaggedTypeCount;
}

// Words of every list, each once, in a filter with kBloomBitsPerWord bits for each.
std::vector<uint8_t> build_bloom(const WordLists& lists) {
  constexpr struct {
    std::string_view kind;
    uint32_t list;
  } kKinds[] = {{"first", 0},  {"last", 1},   {"city", 2}, {"country", 3},
                {"region", 3}, {"street", 4}, {"job", 6},  {"word", 7}};
  std::vector<std::pair<uint32_t, uint32_t>> words;
  std::array<Token, 16> tokens;
  for (const auto& [kind, list] : kKinds) {
    const auto entries = lists.kinds.find(kind);
    if (entries == lists.kinds.end()) continue;
    for (const WordLists::Entry& entry : entries->second) {
      size_t position = 0;
      const size_t count = read_tokens(entry.value, {}, position, tokens);
      for (size_t i = 0; i < count; ++i) {
        if (tokens[i].kind == TokenKind::kWord && tokens[i].chars >= 2)
          words.emplace_back(tokens[i].word, list);
      }
    }
  }
  for (const std::string_view nationality : nationalities()) {
    size_t position = 0;
    const size_t count = read_tokens(nationality, {}, position, tokens);
    for (size_t i = 0; i < count; ++i) words.emplace_back(tokens[i].word, 5);
    words.emplace_back(word_hash(std::string(nationality) + "s"), 5);
  }
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  size_t bytes = 1024;
  while (static_cast<double>(bytes) * 8 < kBloomBitsPerWord * static_cast<double>(words.size())) bytes *= 2;
  std::vector<uint8_t> bits(bytes);
  const auto bit_count = static_cast<uint32_t>(bytes * 8);
  for (const auto& [word, list] : words) {
    for (int probe = 0; probe < kBloomProbes; ++probe) {
      const uint32_t bit = bloom_bit(word, list, probe, bit_count);
      bits[bit / 8] = static_cast<uint8_t>(bits[bit / 8] | 1u << (bit % 8));
    }
  }
  return bits;
}

class Trainer {
 public:
  Trainer(const TrainData& data, const TrainOptions& options)
      : data_(data), options_(options), rng_(options.seed) {}

  Result<std::string> run() {
    bloom_ = build_bloom(data_.lists);
    make_sequences();
    if (sequences_.empty())
      return make_error(ErrorCode::kInvalidArgument, "expected texts to learn from, got none");
    count_features();
    say(fmt::format("{} sequences, {} features", sequences_.size(), keys_.size()));
    for (int epoch = 0; epoch < options_.epochs; ++epoch)
      run_epoch(epoch, options_.epochs + options_.prune_epochs);
    prune();
    for (int epoch = 0; epoch < options_.prune_epochs; ++epoch)
      run_epoch(options_.epochs + epoch, options_.epochs + options_.prune_epochs);
    return write();
  }

 private:
  void say(std::string_view text) const {
    if (options_.progress) options_.progress(text);
  }

  void add(const Example& example) {
    const std::vector<Span> spans = detect(example.text);
    std::vector<FoundSpan> found;
    found_spans(spans, found);
    const BloomView bloom{bloom_};
    const bool unlisted = rng_.uniform() < options_.unlisted;
    std::array<Token, kWindowTokens> tokens;
    for (size_t position = 0; position < example.text.size();) {
      const size_t count = read_tokens(example.text, found, position, tokens);
      if (count == 0) break;
      Sequence sequence;
      sequence.tokens.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(count));
      sequence.labels.assign(count, 0);
      size_t mark = 0;
      size_t last_mark = ~size_t{0};
      for (size_t i = 0; i < count; ++i) {
        Token& token = sequence.tokens[i];
        while (mark < example.marks.size() && example.marks[mark].end <= token.begin) ++mark;
        const bool marked = mark < example.marks.size() && example.marks[mark].begin <= token.begin;
        if (token.kind == TokenKind::kWord) {
          token.lists = bloom.lists_of(token.word);
          if (marked && unlisted && rng_.uniform() < 0.8) token.lists &= kListEnglish;
        }
        if (!marked || token.kind == TokenKind::kFound) continue;
        const size_t type = type_index(example.marks[mark].type);
        if (type == kTaggedTypeCount) continue;
        const bool begins = mark != last_mark || i == 0 || sequence.labels[i - 1] == 0;
        sequence.labels[i] = static_cast<uint8_t>(begin_label(type) + (begins ? 0 : 1));
        last_mark = mark;
      }
      sequences_.push_back(std::move(sequence));
    }
  }

  void make_sequences() {
    Augmenter augmenter(data_.lists, data_.marked, options_.seed + 1);
    for (const Example& example : data_.marked) {
      add(example);
      // What cannot vary is not worth many copies.
      const int copies = example.marks.empty() ? 2 : options_.copies;
      for (int i = 0; i < copies; ++i) add(augmenter.vary(example));
    }
    for (const Example& example : data_.clean) add(example);
    for (const std::string& text : data_.templates) {
      const int fills = text.find("{{") == std::string::npos ? 3 : options_.fills;
      for (int i = 0; i < fills; ++i) add(augmenter.fill(text, -1));
    }
  }

  void count_features() {
    std::array<uint32_t, kFeaturesMax> features;
    for (const Sequence& sequence : sequences_) {
      find_facts(sequence.tokens, facts_);
      for (size_t i = 0; i < sequence.tokens.size(); ++i) {
        const size_t count = extract_features(sequence.tokens, facts_, i, features);
        for (size_t f = 0; f < count; ++f) dictionary_.count(features[f]);
      }
    }
    dictionary_.number_rows(keys_, sightings_);
    weights_.assign(keys_.size(), Row{});
    squares_.assign(keys_.size(), Row{});
  }

  void run_epoch(int epoch, int epochs) {
    std::vector<size_t> order(sequences_.size());
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng_.below(i)]);
    double loss = 0;
    size_t tokens = 0;
    for (const size_t index : order) {
      loss += step(sequences_[index]);
      tokens += sequences_[index].tokens.size();
    }
    say(fmt::format("epoch {} of {}: loss {:.4f} per token", epoch + 1, epochs,
                    loss / static_cast<double>(tokens)));
  }

  void update(Row& weights, Row& squares, const Row& gradient) const {
    const auto rate = static_cast<float>(options_.rate);
    const auto l2 = static_cast<float>(options_.l2);
    for (size_t k = 0; k < kWidth; ++k) {
      const float g = gradient[k] + l2 * weights[k];
      squares[k] += g * g;
      weights[k] -= rate * g / std::sqrt(squares[k] + 1e-6f);
    }
  }

  // One gradient step; returns the negative log-likelihood.
  double step(const Sequence& sequence) {
    const size_t n = sequence.tokens.size();
    find_facts(sequence.tokens, facts_);
    for (size_t i = 0; i < n; ++i) {
      std::array<uint32_t, kFeaturesMax> features;
      const size_t count = extract_features(sequence.tokens, facts_, i, features);
      Row score{};
      row_counts_[i] = 0;
      for (size_t f = 0; f < count; ++f) {
        const uint32_t row = dictionary_.row(features[f]);
        if (row == kNone || rng_.uniform() < options_.dropout) continue;
        rows_[i][row_counts_[i]++] = row;
        for (size_t k = 0; k < kWidth; ++k) score[k] += weights_[row][k];
      }
      float top = score[0];
      for (size_t k = 1; k < kLabelCount; ++k) top = std::max(top, score[k]);
      const bool fixed = sequence.tokens[i].kind == TokenKind::kFound;
      for (size_t k = 0; k < kWidth; ++k) {
        emit_[i][k] = k >= kLabelCount || (fixed && k > 0) ? 0 : std::exp(score[k] - top);
      }
      score_[i] = score;
      top_[i] = top;
    }
    for (size_t a = 0; a <= kLabelCount; ++a) {
      for (size_t b = 0; b < kWidth; ++b) {
        const bool allowed = b < kLabelCount && (a == kLabelCount ? !continues(b) : may_follow(a, b));
        moves_[a][b] = allowed ? std::exp(transitions_[a][b]) : 0;
      }
    }
    // Forward, scaled to sum 1 per token.
    double log_z = 0;
    for (size_t i = 0; i < n; ++i) {
      Row alpha{};
      if (i == 0) {
        alpha = moves_[kLabelCount];
      } else {
        for (size_t a = 0; a < kLabelCount; ++a) {
          const float p = alpha_[i - 1][a];
          for (size_t b = 0; b < kWidth; ++b) alpha[b] += p * moves_[a][b];
        }
      }
      float sum = 0;
      for (size_t b = 0; b < kWidth; ++b) sum += alpha[b] *= emit_[i][b];
      sum = std::max(sum, 1e-30f);
      for (size_t b = 0; b < kWidth; ++b) alpha[b] /= sum;
      alpha_[i] = alpha;
      log_z += std::log(sum) + top_[i];
    }
    double gold = 0;
    for (size_t i = 0; i < n; ++i) {
      const size_t before = i == 0 ? kLabelCount : sequence.labels[i - 1];
      gold += static_cast<double>(score_[i][sequence.labels[i]] + transitions_[before][sequence.labels[i]]);
    }
    // Backward, and the gradient on the way.
    Row beta{};
    std::fill(beta.begin(), beta.begin() + kLabelCount, 1.0f);
    for (auto& row : move_gradient_) row.fill(0);
    for (size_t i = n; i-- > 0;) {
      Row marginal{};
      float sum = 0;
      for (size_t k = 0; k < kLabelCount; ++k) sum += marginal[k] = alpha_[i][k] * beta[k];
      for (size_t k = 0; k < kLabelCount; ++k) marginal[k] /= std::max(sum, 1e-30f);
      marginal[sequence.labels[i]] -= 1;
      for (size_t r = 0; r < row_counts_[i]; ++r)
        update(weights_[rows_[i][r]], squares_[rows_[i][r]], marginal);
      Row weighted{};
      for (size_t k = 0; k < kWidth; ++k) weighted[k] = beta[k] * emit_[i][k];
      Row earlier{};
      if (i == 0) {
        for (size_t k = 0; k < kLabelCount; ++k) move_gradient_[kLabelCount][k] += marginal[k];
        break;
      }
      float total = 0;
      for (size_t a = 0; a < kLabelCount; ++a) {
        float dot = 0;
        for (size_t b = 0; b < kWidth; ++b) dot += moves_[a][b] * weighted[b];
        earlier[a] = dot;
        total += alpha_[i - 1][a] * dot;
      }
      total = std::max(total, 1e-30f);
      for (size_t a = 0; a < kLabelCount; ++a) {
        const float p = alpha_[i - 1][a] / total;
        for (size_t b = 0; b < kWidth; ++b) move_gradient_[a][b] += p * moves_[a][b] * weighted[b];
      }
      move_gradient_[sequence.labels[i - 1]][sequence.labels[i]] -= 1;
      float scale = 0;
      for (size_t a = 0; a < kLabelCount; ++a) scale = std::max(scale, earlier[a]);
      for (size_t a = 0; a < kLabelCount; ++a) beta[a] = earlier[a] / std::max(scale, 1e-30f);
    }
    for (size_t a = 0; a <= kLabelCount; ++a)
      update(transitions_[a], transition_squares_[a], move_gradient_[a]);
    return log_z - gold;
  }

  // Keeps the rows that move the scores of the data most.
  void prune() {
    if (keys_.size() <= options_.rows_max) return;
    std::vector<std::pair<double, size_t>> strength(keys_.size());
    for (size_t row = 0; row < keys_.size(); ++row) {
      double sum = 0;
      for (const float w : weights_[row]) sum += static_cast<double>(w) * static_cast<double>(w);
      strength[row] = {sum * std::sqrt(static_cast<double>(sightings_[row])), row};
    }
    std::nth_element(strength.begin(), strength.begin() + options_.rows_max, strength.end(),
                     std::greater<>());
    for (size_t i = options_.rows_max; i < strength.size(); ++i) {
      dictionary_.forget(keys_[strength[i].second]);
      weights_[strength[i].second] = Row{};
    }
  }

  std::string write() const {
    std::vector<size_t> kept;
    float top = 0;
    for (size_t row = 0; row < keys_.size(); ++row) {
      float most = 0;
      for (const float w : weights_[row]) most = std::max(most, std::abs(w));
      if (most > 0) kept.push_back(row);
      top = std::max(top, most);
    }
    const float scale = std::min(top * static_cast<float>(1 - options_.dropout), kWeightMax) / 127;
    // A row stands for all features of a token here, for a part of them while training.
    const auto whole = static_cast<float>(1 - options_.dropout);
    const auto quantize = [scale](float w, float limit) {
      return std::lround(std::clamp(w / scale, -limit, limit));
    };
    WeightsHeader header{};
    std::memcpy(header.magic, kWeightsMagic, sizeof(kWeightsMagic));
    header.feature_version = kFeatureVersion;
    header.label_count = kLabelCount;
    header.slot_count = static_cast<uint32_t>(kept.size() * 4 / 3 + 16);
    header.bloom_bytes = static_cast<uint32_t>(bloom_.size());
    header.scale = scale;
    header.outside_bias = static_cast<float>(options_.outside_bias);
    // The bias goes into every way to "no type".
    std::array<std::array<int16_t, kWidth>, kLabelCount + 1> transitions{};
    for (size_t a = 0; a <= kLabelCount; ++a) {
      for (size_t b = 0; b < kLabelCount; ++b) {
        const float w = transitions_[a][b] - (b == 0 ? header.outside_bias : 0);
        transitions[a][b] = static_cast<int16_t>(quantize(w, 8000));
      }
    }
    std::vector<WeightRow> slots(header.slot_count);
    for (const size_t row : kept) {
      size_t slot = static_cast<size_t>(uint64_t{keys_[row]} * slots.size() >> 32);
      while (slots[slot].key != 0) slot = (slot + 1) % slots.size();
      slots[slot].key = keys_[row];
      for (size_t k = 0; k < kLabelCount; ++k)
        slots[slot].weights[k] = static_cast<int8_t>(quantize(weights_[row][k] * whole, 127));
    }
    std::string out(reinterpret_cast<const char*>(&header), sizeof(header));
    out.append(reinterpret_cast<const char*>(&transitions), sizeof(transitions));
    out.append(reinterpret_cast<const char*>(bloom_.data()), bloom_.size());
    out.append(reinterpret_cast<const char*>(slots.data()), slots.size() * sizeof(WeightRow));
    return out;
  }

  const TrainData& data_;
  const TrainOptions& options_;
  Rng rng_;
  std::vector<uint8_t> bloom_;
  std::vector<Sequence> sequences_;
  Dictionary dictionary_;
  std::vector<uint32_t> keys_, sightings_;  // by row
  std::vector<Row> weights_, squares_;      // by row
  std::array<Row, kLabelCount + 1> transitions_{}, transition_squares_{};
  // Of the sequence in work.
  WindowFacts facts_;
  std::array<std::array<uint32_t, kFeaturesMax>, kWindowTokens> rows_;
  std::array<size_t, kWindowTokens> row_counts_;
  std::array<Row, kWindowTokens> score_, emit_, alpha_;
  std::array<float, kWindowTokens> top_;
  std::array<Row, kLabelCount + 1> moves_, move_gradient_;
};

}  // namespace

Result<std::string> train_tagger(const TrainData& data, const TrainOptions& options) {
  return std::make_unique<Trainer>(data, options)->run();
}

}  // namespace hedge::privacy
