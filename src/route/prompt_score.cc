#include "route/prompt_score.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/hash.h"

namespace hedge::route {

std::string_view embedded_prompt_weights();  // assets/prompt_score.bin

namespace {

constexpr char kMagic[8] = {'H', 'E', 'D', 'G', 'P', 'S', 'C', '1'};

struct Head {
  char magic[8];
  uint64_t checksum;  // of all that follows it
  uint64_t topics_checksum;
  uint32_t buckets, shapes, topics;
  uint32_t labels;
  float intercept, offset, slope;
  float weight_step, idf_step;  // value of one step of the stored integers
  std::array<float, kShapes> shape_mean, shape_weight;
  std::array<float, kTopicsMax> topic_weight;
};
constexpr size_t kChecked = sizeof(Head::magic) + sizeof(Head::checksum);
constexpr size_t kFileBytes = sizeof(Head) + kBuckets * (sizeof(int16_t) + sizeof(uint8_t));

bool all_finite(const Head& head) {
  const auto finite = [](float value) { return std::isfinite(value); };
  const float singles[] = {head.intercept, head.offset, head.slope, head.weight_step, head.idf_step};
  return std::all_of(std::begin(singles), std::end(singles), finite) &&
         std::all_of(head.shape_mean.begin(), head.shape_mean.end(), finite) &&
         std::all_of(head.shape_weight.begin(), head.shape_weight.end(), finite) &&
         std::all_of(head.topic_weight.begin(), head.topic_weight.end(), finite);
}

}  // namespace

std::string to_bytes(const PromptWeights& weights) {
  Head head;
  std::memset(static_cast<void*>(&head), 0, sizeof(head));
  std::memcpy(head.magic, kMagic, sizeof(kMagic));
  head.topics_checksum = weights.topics_checksum;
  head.buckets = kBuckets;
  head.shapes = kShapes;
  head.topics = kTopicsMax;
  head.labels = weights.labels;
  head.intercept = weights.intercept;
  head.offset = weights.offset;
  head.slope = weights.slope;
  head.shape_mean = weights.shape_mean;
  head.shape_weight = weights.shape_weight;
  head.topic_weight = weights.topic_weight;
  float weight_max = 0, idf_max = 0;
  for (const float w : weights.weight) weight_max = std::max(weight_max, std::abs(w));
  for (const float v : weights.idf) idf_max = std::max(idf_max, v);
  head.weight_step = weight_max > 0 ? weight_max / 32767 : 1;
  head.idf_step = idf_max > 0 ? idf_max / 255 : 1;
  std::vector<int16_t> stored_weights(kBuckets);
  std::vector<uint8_t> stored_idf(kBuckets);
  for (size_t b = 0; b < kBuckets; ++b) {
    stored_weights[b] = static_cast<int16_t>(std::lround(weights.weight[b] / head.weight_step));
    stored_idf[b] = static_cast<uint8_t>(std::lround(weights.idf[b] / head.idf_step));
  }
  std::string bytes(kFileBytes, '\0');
  std::memcpy(bytes.data() + sizeof(head), stored_weights.data(), kBuckets * sizeof(int16_t));
  std::memcpy(bytes.data() + sizeof(head) + kBuckets * sizeof(int16_t), stored_idf.data(), kBuckets);
  std::memcpy(bytes.data(), &head, sizeof(head));
  head.checksum = fnv1a(std::string_view(bytes).substr(kChecked));
  std::memcpy(bytes.data(), &head, sizeof(head));
  return bytes;
}

Result<PromptScore> PromptScore::parse(std::string_view bytes, const TopicTable& topics) {
  const auto corrupt = [](std::string detail) { return make_error(ErrorCode::kCorrupt, std::move(detail)); };
  if (!bytes.starts_with(std::string_view(kMagic, sizeof(kMagic))))
    return corrupt(
        "prompt weights: expected a file that begins with HEDGPSC1, as `hedge route train` writes it");
  if (bytes.size() != kFileBytes)
    return corrupt(fmt::format("prompt weights: expected {} bytes, got {}", kFileBytes, bytes.size()));
  Head head;
  std::memcpy(&head, bytes.data(), sizeof(head));
  if (head.buckets != kBuckets || head.shapes != kShapes || head.topics != kTopicsMax)
    return corrupt(
        fmt::format("prompt weights: expected {} buckets, {} shapes and {} topics, got {}, {} and {}",
                    kBuckets, kShapes, kTopicsMax, head.buckets, head.shapes, head.topics));
  if (fnv1a(bytes.substr(kChecked)) != head.checksum)
    return corrupt("prompt weights: the checksum does not match, the file is damaged");
  if (!all_finite(head)) return corrupt("prompt weights: expected finite numbers");
  if (head.topics_checksum != topics.checksum())
    return make_error(
        ErrorCode::kUnsupported,
        "prompt weights: made by a version of Hedge with another table of topics; train them again");
  PromptWeights weights;
  weights.labels = head.labels;
  weights.topics_checksum = head.topics_checksum;
  weights.intercept = head.intercept;
  weights.offset = head.offset;
  weights.slope = head.slope;
  weights.shape_mean = head.shape_mean;
  weights.shape_weight = head.shape_weight;
  weights.topic_weight = head.topic_weight;
  std::vector<int16_t> stored(kBuckets);
  std::memcpy(stored.data(), bytes.data() + sizeof(head), kBuckets * sizeof(int16_t));
  const auto* idf =
      reinterpret_cast<const uint8_t*>(bytes.data() + sizeof(head) + kBuckets * sizeof(int16_t));
  weights.weight.resize(kBuckets);
  weights.idf.resize(kBuckets);
  for (size_t b = 0; b < kBuckets; ++b) {
    weights.weight[b] = head.weight_step * stored[b];
    weights.idf[b] = head.idf_step * idf[b];
  }
  return PromptScore(weights, topics);
}

const PromptScore& PromptScore::embedded() {
  static const PromptScore score = [] {
    auto parsed = parse(embedded_prompt_weights());
    HEDGE_CHECK(parsed.ok());  // our own bytes
    return std::move(parsed).value();
  }();
  return score;
}

PromptScore::PromptScore(const PromptWeights& weights, const TopicTable& topics)
    : topics_(&topics), buckets_(kBuckets) {
  HEDGE_CHECK(weights.weight.size() == kBuckets && weights.idf.size() == kBuckets);
  for (size_t b = 0; b < kBuckets; ++b)
    buckets_[b] = {weights.weight[b] * weights.idf[b], weights.idf[b] * weights.idf[b]};
  head_ = weights;
  head_.weight = {};
  head_.idf = {};
}

double PromptScore::score(std::string_view prompt) const {
  class Sum final : public BucketVisitor {
   public:
    explicit Sum(const std::vector<Bucket>& buckets) : buckets_(buckets) {}
    void visit(uint32_t bucket) override {
      product += buckets_[bucket].weight_idf;
      norm += buckets_[bucket].idf_squared;
    }
    double product = 0, norm = 0;

   private:
    const std::vector<Bucket>& buckets_;
  };
  Sum sum(buckets_);
  const DenseFeatures dense = extract(prompt, *topics_, sum);
  double raw = head_.intercept + (sum.norm > 0 ? sum.product / std::sqrt(sum.norm) : 0.0);
  for (size_t s = 0; s < kShapes; ++s)
    raw += double{head_.shape_weight[s]} * (dense.shape[s] - head_.shape_mean[s]);
  for (size_t t = 0; t < kTopicsMax; ++t) raw += double{head_.topic_weight[t]} * dense.topics[t];
  return head_.offset + head_.slope * raw;
}

}  // namespace hedge::route
