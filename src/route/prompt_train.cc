#include "route/prompt_train.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "route/route_eval.h"

namespace hedge::route {
namespace {

constexpr size_t kOutcomesMin = 50;
constexpr int kFolds = 5;
constexpr size_t kDense = kTopicsMax + kShapes;
constexpr int kIterationsMax = 60;   // of conjugate gradients
constexpr double kTolerance = 1e-3;  // residual over right-hand side; the labels are far noisier

// The grid. Scales are of a group of features whose rows have mean squared length 1; the n-grams' is 1.
constexpr double kRidges[] = {10, 30, 3};
constexpr double kTopicScales[] = {0.5, 0.25};
constexpr double kShapeScales[] = {0.15, 0.6};
// The first of each list and the defaults of Settings stay unless another one explains this much more of the
// gain's variance: below it the choice among 1,500 labels is noise.
constexpr double kWorthChanging = 0.0005;

struct Rows {
  std::vector<size_t> begin{0};     // [rows + 1]
  std::vector<uint32_t> bucket;     // distinct buckets of each row
  std::vector<float> shape, topic;  // [rows, kShapes], [rows, kTopicsMax]
  std::vector<double> weak, strong;
  size_t count() const { return begin.size() - 1; }
};

Rows extract_rows(std::span<const Outcome> outcomes, const TopicTable& topics) {
  class Collect final : public BucketVisitor {
   public:
    explicit Collect(std::vector<uint32_t>& out) : out_(out) {}
    void visit(uint32_t bucket) override { out_.push_back(bucket); }

   private:
    std::vector<uint32_t>& out_;
  };
  Rows rows;
  Collect collect(rows.bucket);
  for (const Outcome& outcome : outcomes) {
    const DenseFeatures dense = extract(outcome.prompt, topics, collect);
    rows.begin.push_back(rows.bucket.size());
    rows.shape.insert(rows.shape.end(), dense.shape.begin(), dense.shape.end());
    rows.topic.insert(rows.topic.end(), dense.topics.begin(), dense.topics.end());
    rows.weak.push_back(outcome.weak);
    rows.strong.push_back(outcome.strong);
  }
  return rows;
}

struct Settings {
  double ridge = 10, topic_scale = 1, shape_scale = 0.3;
};

// A fit over some of the rows. Buckets that none of these has are left out: `column` says where each stands.
class Fit {
 public:
  Fit(const Rows& rows, std::vector<uint32_t> used) : rows_(rows), used_(std::move(used)) {
    const auto n = static_cast<double>(used_.size());
    std::vector<uint32_t> prompts(kBuckets);
    for (const uint32_t r : used_) {
      for (size_t k = rows.begin[r]; k < rows.begin[r + 1]; ++k) ++prompts[rows.bucket[k]];
      gain_ += (rows.strong[r] - rows.weak[r]) / n;
    }
    idf_.resize(kBuckets);
    for (size_t b = 0; b < kBuckets; ++b)
      idf_[b] = static_cast<float>(std::log((n + 1) / (prompts[b] + 1.0)));
    // Mean and deviation of the dense features.
    for (size_t f = 0; f < kDense; ++f) {
      double sum = 0, squares = 0;
      for (const uint32_t r : used_) {
        const double v = dense(r, f);
        sum += v;
        squares += v * v;
      }
      mean_[f] = sum / n;
      deviation_[f] = std::sqrt(std::max(squares / n - mean_[f] * mean_[f], 0.0));
    }
    double topic_squares = 0;
    for (size_t t = 0; t < kTopicsMax; ++t) topic_squares += deviation_[t] * deviation_[t];
    topic_length_ = std::sqrt(topic_squares);
    // The rows as they are multiplied with.
    value_begin_.push_back(0);
    for (const uint32_t r : used_) {
      double norm = 0;
      for (size_t k = rows.begin[r]; k < rows.begin[r + 1]; ++k) {
        const float idf = idf_[rows.bucket[k]];
        norm += double{idf} * idf;
      }
      const auto scale = static_cast<float>(norm > 0 ? 1 / std::sqrt(norm) : 0);
      for (size_t k = rows.begin[r]; k < rows.begin[r + 1]; ++k) {
        column_.push_back(rows.bucket[k]);
        value_.push_back(scale * idf_[rows.bucket[k]]);
      }
      value_begin_.push_back(column_.size());
    }
    weight_.assign(kBuckets + kDense, 0.0f);
  }

  // Ridge regression by conjugate gradients on the normal equations, from the last solution on.
  void solve(const Settings& settings) {
    set_scales(settings);
    const size_t columns = weight_.size();
    std::vector<float> target(used_.size());
    for (size_t i = 0; i < used_.size(); ++i) {
      const uint32_t r = used_[i];
      target[i] = static_cast<float>(rows_.strong[r] - rows_.weak[r] - gain_);
    }
    std::fill(weight_.begin(), weight_.end(), 0.0f);
    std::vector<float> residual(columns), direction(columns), product(columns), forward(used_.size());
    multiply_transposed(target, residual);  // of the weights 0
    direction = residual;
    double length = dot(residual, residual);
    const double stop = length * kTolerance * kTolerance;
    for (int iteration = 0; iteration < kIterationsMax && length > stop && length > 0; ++iteration) {
      multiply(direction, forward);
      multiply_transposed(forward, product);
      for (size_t c = 0; c < columns; ++c) product[c] += static_cast<float>(settings.ridge) * direction[c];
      const double step = length / dot(direction, product);
      for (size_t c = 0; c < columns; ++c) {
        weight_[c] += static_cast<float>(step) * direction[c];
        residual[c] -= static_cast<float>(step) * product[c];
      }
      const double next = dot(residual, residual);
      const auto ratio = static_cast<float>(next / length);
      for (size_t c = 0; c < columns; ++c) direction[c] = residual[c] + ratio * direction[c];
      length = next;
    }
  }

  // The same as PromptScore::score() before its calibration, for any row.
  double predict(uint32_t r) const {
    double product = 0, norm = 0;
    for (size_t k = rows_.begin[r]; k < rows_.begin[r + 1]; ++k) {
      const uint32_t b = rows_.bucket[k];
      product += double{weight_[b]} * idf_[b];
      norm += double{idf_[b]} * idf_[b];
    }
    double raw = gain_ + (norm > 0 ? product / std::sqrt(norm) : 0.0);
    for (size_t f = 0; f < kDense; ++f) raw += weight_[kBuckets + f] * scale_[f] * (dense(r, f) - mean_[f]);
    return raw;
  }

  PromptWeights weights() const {
    PromptWeights out;
    out.labels = static_cast<uint32_t>(used_.size());
    out.weight.assign(weight_.begin(), weight_.begin() + kBuckets);
    out.idf = idf_;
    double intercept = gain_;
    for (size_t t = 0; t < kTopicsMax; ++t) {
      out.topic_weight[t] = static_cast<float>(weight_[kBuckets + t] * scale_[t]);
      intercept -= weight_[kBuckets + t] * scale_[t] * mean_[t];
    }
    for (size_t s = 0; s < kShapes; ++s) {
      out.shape_mean[s] = static_cast<float>(mean_[kTopicsMax + s]);
      out.shape_weight[s] = static_cast<float>(weight_[kBuckets + kTopicsMax + s] * scale_[kTopicsMax + s]);
    }
    out.intercept = static_cast<float>(intercept);
    return out;
  }

 private:
  double dense(uint32_t r, size_t f) const {
    return f < kTopicsMax ? rows_.topic[r * kTopicsMax + f] : rows_.shape[r * kShapes + f - kTopicsMax];
  }

  void set_scales(const Settings& settings) {
    for (size_t f = 0; f < kDense; ++f) {
      const bool is_topic = f < kTopicsMax;
      const double length =
          is_topic ? topic_length_ : deviation_[f] * std::sqrt(static_cast<double>(kShapes));
      const double scale = is_topic ? settings.topic_scale : settings.shape_scale;
      scale_[f] = deviation_[f] > 1e-6 && length > 1e-6 ? scale / length : 0.0;
    }
    dense_.resize(used_.size() * kDense);
    for (size_t i = 0; i < used_.size(); ++i) {
      for (size_t f = 0; f < kDense; ++f)
        dense_[i * kDense + f] = static_cast<float>(scale_[f] * (dense(used_[i], f) - mean_[f]));
    }
  }

  void multiply(const std::vector<float>& x, std::vector<float>& out) const {  // out [rows] = X x
    for (size_t i = 0; i < used_.size(); ++i) {
      float sum = 0;
      for (size_t k = value_begin_[i]; k < value_begin_[i + 1]; ++k) sum += value_[k] * x[column_[k]];
      for (size_t f = 0; f < kDense; ++f) sum += dense_[i * kDense + f] * x[kBuckets + f];
      out[i] = sum;
    }
  }

  void multiply_transposed(const std::vector<float>& x, std::vector<float>& out) const {  // [columns] = X^T x
    std::fill(out.begin(), out.end(), 0.0f);
    for (size_t i = 0; i < used_.size(); ++i) {
      for (size_t k = value_begin_[i]; k < value_begin_[i + 1]; ++k) out[column_[k]] += value_[k] * x[i];
      for (size_t f = 0; f < kDense; ++f) out[kBuckets + f] += dense_[i * kDense + f] * x[i];
    }
  }

  static double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += double{a[i]} * b[i];
    return sum;
  }

  const Rows& rows_;
  std::vector<uint32_t> used_;
  double gain_ = 0;
  std::vector<float> idf_;  // [kBuckets]
  std::array<double, kDense> mean_{}, deviation_{}, scale_{};
  double topic_length_ = 0;
  std::vector<size_t> value_begin_;
  std::vector<uint32_t> column_;
  std::vector<float> value_;
  std::vector<float> dense_;   // [used, kDense]
  std::vector<float> weight_;  // [kBuckets + kDense]
};

// Which fold leaves out each row.
std::vector<int> assign_folds(std::span<const Outcome> outcomes, const TrainOptions& options,
                              bool* by_group) {
  std::map<std::string_view, std::vector<uint32_t>> groups;
  size_t named = 0;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i].group.empty()) continue;
    groups[outcomes[i].group].push_back(static_cast<uint32_t>(i));
    ++named;
  }
  *by_group = options.folds == Folds::kGroup ||
              (options.folds == Folds::kAuto && groups.size() >= kFolds &&
               static_cast<double>(named) <= kGroupLinesMax * static_cast<double>(groups.size()));
  std::vector<std::vector<uint32_t>> units;
  std::vector<bool> taken(outcomes.size());
  if (*by_group) {
    for (auto& [name, members] : groups) {
      for (const uint32_t i : members) taken[i] = true;
      units.push_back(std::move(members));
    }
  }
  for (uint32_t i = 0; i < outcomes.size(); ++i) {
    if (!taken[i]) units.push_back({i});
  }
  Rng rng(options.seed);
  for (size_t i = units.size(); i > 1; --i) std::swap(units[i - 1], units[rng.below(i)]);
  std::vector<int> fold(outcomes.size());
  std::array<size_t, kFolds> size{};
  for (const auto& unit : units) {
    const auto smallest = std::min_element(size.begin(), size.end());
    *smallest += unit.size();
    for (const uint32_t i : unit) fold[i] = static_cast<int>(smallest - size.begin());
  }
  return fold;
}

}  // namespace

Result<PromptWeights> train_prompt_score(std::span<const Outcome> outcomes, const TopicTable& topics,
                                         const TrainOptions& options, TrainReport* report,
                                         const std::function<void(double)>& done) {
  const auto began = SteadyClock::now();
  const size_t n = outcomes.size();
  if (n < kOutcomesMin)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("expected {} outcomes or more, got {}", kOutcomesMin, n));
  const Rows rows = extract_rows(outcomes, topics);
  std::vector<double> gain(n);
  for (size_t i = 0; i < n; ++i) gain[i] = rows.strong[i] - rows.weak[i];
  const double mean = std::accumulate(gain.begin(), gain.end(), 0.0) / static_cast<double>(n);
  double variance = 0;
  for (const double g : gain) variance += (g - mean) * (g - mean);
  if (variance <= 0)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("all {} outcomes have the gain {}: there is nothing to learn", n, mean));
  TrainReport told;
  told.labels = n;
  told.gain = mean;
  const std::vector<int> fold = assign_folds(outcomes, options, &told.by_group);

  std::vector<std::unique_ptr<Fit>> fits;
  for (int f = 0; f < kFolds; ++f) {
    std::vector<uint32_t> used;
    for (uint32_t i = 0; i < n; ++i) {
      if (fold[i] != f) used.push_back(i);
    }
    fits.push_back(std::make_unique<Fit>(rows, std::move(used)));
  }
  std::vector<double> left_out(n);  // predictions by the fold that left the row out
  const auto cross_validate = [&](const Settings& settings) {
    const auto work = [&](int begin, int step) {
      for (int f = begin; f < kFolds; f += step) {
        fits[static_cast<size_t>(f)]->solve(settings);
        for (uint32_t i = 0; i < n; ++i) {
          if (fold[i] == f) left_out[i] = fits[static_cast<size_t>(f)]->predict(i);
        }
      }
    };
    const int threads = std::clamp(options.threads, 1, kFolds);
    std::vector<std::thread> team;
    for (int t = 1; t < threads; ++t) team.emplace_back(work, t, threads);
    work(0, threads);
    for (std::thread& thread : team) thread.join();
    double error = 0;
    for (size_t i = 0; i < n; ++i) error += (gain[i] - left_out[i]) * (gain[i] - left_out[i]);
    return 1 - error / variance;
  };

  // One setting after the other, the ridge first and last: each has one broad optimum.
  Settings best;
  double best_r_squared = -1e9;
  int tried = 0;
  constexpr int kTries = 7;
  const auto search = [&](double Settings::*field, std::span<const double> values, double fixed) {
    Settings at = best;
    for (const double value : values) {
      at.*field = fixed >= 0 ? fixed : value;
      const double r_squared = cross_validate(at);
      if (r_squared > best_r_squared + kWorthChanging) {
        best_r_squared = r_squared;
        best = at;
      }
      if (done) done(std::min(1.0, static_cast<double>(++tried) / kTries));
      if (fixed >= 0) break;
    }
  };
  if (options.topic_scale >= 0) best.topic_scale = options.topic_scale;
  if (options.shape_scale >= 0) best.shape_scale = options.shape_scale;
  search(&Settings::ridge, kRidges, options.ridge > 0 ? options.ridge : -1);
  if (options.topic_scale < 0) search(&Settings::topic_scale, kTopicScales, -1);
  if (options.shape_scale < 0) search(&Settings::shape_scale, kShapeScales, -1);
  cross_validate(best);

  // Calibration: the line through predictions and gains of the lines left out. A slope of nought would make
  // all prompts equal; the order stays, whatever the data say.
  const double center = std::accumulate(left_out.begin(), left_out.end(), 0.0) / static_cast<double>(n);
  double covariance = 0, spread = 0;
  for (size_t i = 0; i < n; ++i) {
    covariance += (left_out[i] - center) * (gain[i] - mean);
    spread += (left_out[i] - center) * (left_out[i] - center);
  }
  const double slope = spread > 0 ? std::clamp(covariance / spread, 0.05, 2.0) : 1.0;

  std::vector<uint32_t> all(n);
  std::iota(all.begin(), all.end(), 0u);
  Fit final_fit(rows, std::move(all));
  final_fit.solve(best);
  PromptWeights weights = final_fit.weights();
  weights.topics_checksum = topics.checksum();
  weights.slope = static_cast<float>(slope);
  weights.offset = static_cast<float>(mean - slope * center);
  told.apgr = apgr_of(left_out, rows.weak, rows.strong, options.seed);
  told.r_squared = best_r_squared;
  told.ridge = best.ridge;
  told.topic_scale = best.topic_scale;
  told.shape_scale = best.shape_scale;
  told.seconds = seconds_since(began);
  if (report != nullptr) *report = told;
  return weights;
}

}  // namespace hedge::route
