#include "route/probe_train.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "base/rng.h"

namespace hedge::route {
namespace {

constexpr size_t kBatch = 64;
constexpr uint32_t kBeforeSources = kProbePrompt | kProbeFirst;
constexpr uint32_t kAnswerSources = kProbePrompt | kProbeAnswer | kProbeFacts;

double sigmoid(double x) { return 1 / (1 + std::exp(-std::clamp(x, -30.0, 30.0))); }

// Examples as standardised inputs. The prompt's come first and stand once for all rows of an example.
struct Table {
  size_t examples = 0, inputs = 0, prompt_inputs = 0;
  std::vector<size_t> first;   // [examples + 1] row of each example's greedy answer; the others follow
  std::vector<float> prompts;  // [examples, prompt_inputs]
  std::vector<float> rest;     // [rows, inputs - prompt_inputs]
  std::vector<float> targets;  // [rows] 1: wrong
  std::vector<float> mean, inv_deviation;

  size_t rest_inputs() const { return inputs - prompt_inputs; }
  void copy_row(size_t example, size_t row, float* out) const {
    std::copy_n(prompts.data() + example * prompt_inputs, prompt_inputs, out);
    std::copy_n(rest.data() + row * rest_inputs(), rest_inputs(), out + prompt_inputs);
  }
  std::vector<float> greedy_row(size_t example) const {
    std::vector<float> row(inputs);
    copy_row(example, first[example], row.data());
    return row;
  }
};

// Which answers of an example are rows.
enum class Rows : uint8_t { kGreedy, kAll };

void add_row(Table& table, const ProbeExample::Answer& answer, uint32_t sources) {
  const auto append = [&](const float* values, size_t count) {
    table.rest.insert(table.rest.end(), values, values + count);
  };
  if ((sources & kProbeAnswer) != 0) append(answer.states.data(), answer.states.size());
  if ((sources & kProbeFirst) != 0) append(answer.facts.data(), TokenFacts::kFirstCount);
  if ((sources & kProbeFacts) != 0) append(answer.facts.data(), TokenFacts::kCount);
  table.targets.push_back(answer.wrong ? 1 : 0);
}

// Brings the columns of `values` [rows, count] to mean 0 and deviation 1 over the rows `judged`.
void standardise(std::vector<float>& values, size_t count, std::span<const size_t> judged, Table& table) {
  std::vector<double> sums(count), squares(count);
  for (const size_t r : judged) {
    for (size_t i = 0; i < count; ++i) {
      const double v = static_cast<double>(values[r * count + i]);
      sums[i] += v;
      squares[i] += v * v;
    }
  }
  const double n = static_cast<double>(judged.size());
  const size_t begin = table.mean.size();
  for (size_t i = 0; i < count; ++i) {
    const double mean = sums[i] / n;
    const double deviation = std::sqrt(std::max(0.0, squares[i] / n - mean * mean));
    table.mean.push_back(static_cast<float>(mean));
    // What never varies tells nothing.
    table.inv_deviation.push_back(deviation > 1e-6 * (1 + std::abs(mean)) ? static_cast<float>(1 / deviation)
                                                                          : 0.0f);
  }
  for (size_t at = 0; at < values.size(); ++at)
    values[at] = (values[at] - table.mean[begin + at % count]) * table.inv_deviation[begin + at % count];
}

Table make_table(std::span<const ProbeExample> examples, uint32_t sources, Rows rows = Rows::kGreedy) {
  Table table;
  table.examples = examples.size();
  std::vector<size_t> all;
  for (const ProbeExample& e : examples) {
    if ((sources & kProbePrompt) != 0)
      table.prompts.insert(table.prompts.end(), e.prompt.begin(), e.prompt.end());
    all.push_back(all.size());
    table.first.push_back(table.targets.size());
    add_row(table, e.answer, sources);
    if (rows == Rows::kGreedy) continue;
    for (const auto* others : {&e.sampled, &e.beginnings})
      for (const ProbeExample::Answer& answer : *others) add_row(table, answer, sources);
  }
  table.prompt_inputs = table.prompts.size() / examples.size();
  table.inputs = table.prompt_inputs + table.rest.size() / table.targets.size();
  // What is new is like the greedy answers.
  if (table.prompt_inputs > 0) standardise(table.prompts, table.prompt_inputs, all, table);
  if (table.rest_inputs() > 0) standardise(table.rest, table.rest_inputs(), table.first, table);
  table.first.push_back(table.targets.size());
  return table;
}

struct Network {
  size_t inputs = 0, hidden = 0;
  std::vector<float> weights;  // [inputs, hidden]
  std::vector<float> biases;   // [hidden]
  std::vector<float> out;      // [hidden]
  float bias = 0;

  double logit(const float* x, std::vector<float>& scratch) const {
    scratch.assign(biases.begin(), biases.end());
    for (size_t i = 0; i < inputs; ++i) {
      const float* w = &weights[i * hidden];
      for (size_t h = 0; h < hidden; ++h) scratch[h] += x[i] * w[h];
    }
    double sum = static_cast<double>(bias);
    for (size_t h = 0; h < hidden; ++h)
      sum += static_cast<double>(out[h]) * static_cast<double>(std::max(0.0f, scratch[h]));
    return sum;
  }
};

// AdamW over one array.
struct Adam {
  explicit Adam(size_t size) : m(size), v(size) {}
  std::vector<float> m, v;

  [[gnu::always_inline]] void step(float* p, const float* g, size_t first, size_t count, float rate,
                                   float decay, float c1, float c2) {
    float* mm = &m[first];
    float* vv = &v[first];
    const float keep = 1 - rate * decay;
    for (size_t i = 0; i < count; ++i) {
      mm[i] += 0.1f * (g[i] - mm[i]);
      vv[i] += 0.001f * (g[i] * g[i] - vv[i]);
      p[i] = p[i] * keep - rate * (mm[i] * c1) / (std::sqrt(vv[i] * c2) + 1e-8f);
    }
  }
};

float normal(Rng& rng) {
  const double u = 1 - rng.uniform(), v = rng.uniform();
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v));
}

// One bit of `rng` per value would do for 0.5 alone; 16 bits make every rate.
void draw_mask(Rng& rng, float rate, float* mask, size_t count) {
  const uint64_t limit = static_cast<uint64_t>(rate * 65536.0f);
  const float scale = 1 / (1 - rate);
  for (size_t i = 0; i < count;) {
    uint64_t bits = rng.next();
    for (int k = 0; k < 4 && i < count; ++k, ++i, bits >>= 16) mask[i] = (bits & 0xffff) < limit ? 0 : scale;
  }
}

// `chosen`: examples; `weights` of all examples.
[[gnu::always_inline]] inline Network fit_loops(const Table& table, std::span<const uint32_t> chosen,
                                                std::span<const float> weights,
                                                const ProbeTrainOptions& options, uint64_t seed) {
  const size_t hidden = static_cast<size_t>(options.hidden);
  Rng rng(seed);
  Network net;
  const size_t inputs = net.inputs = table.inputs;
  net.hidden = hidden;
  net.weights.resize(inputs * hidden);
  net.biases.resize(hidden);
  net.out.resize(hidden);
  const float first_scale = std::sqrt(2.0f / static_cast<float>(inputs));
  const float second_scale = std::sqrt(1.0f / static_cast<float>(hidden));
  for (float& w : net.weights) w = first_scale * normal(rng);
  for (float& w : net.out) w = second_scale * normal(rng);
  Adam adam_weights(inputs * hidden), adam_biases(hidden), adam_out(hidden), adam_bias(1);

  std::vector<uint32_t> order(chosen.begin(), chosen.end());
  // Which of an example's rows is looked at this time.
  const auto look = [&](uint32_t example) {
    const size_t first = table.first[example], others = table.first[example + 1] - first - 1;
    if (others == 0 || rng.uniform() < static_cast<double>(options.whole)) return first;
    return first + 1 + rng.below(others);
  };
  std::vector<float> values(inputs);
  std::array<float, kBatch> targets{};
  std::vector<float> x(kBatch * inputs), a(kBatch * hidden), mask(kBatch * hidden),
      gradient_a(kBatch * hidden), gradient_row(hidden), gradient_biases(hidden), gradient_out(hidden);
  const size_t batches = (order.size() + kBatch - 1) / kBatch;
  const size_t steps = batches * static_cast<size_t>(options.epochs);
  size_t step = 0;
  double beta1 = 1, beta2 = 1;
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    for (size_t begin = 0; begin < order.size(); begin += kBatch, ++step) {
      const size_t count = std::min(kBatch, order.size() - begin);
      draw_mask(rng, options.dropout_input, x.data(), count * inputs);
      draw_mask(rng, options.dropout_hidden, mask.data(), count * hidden);
      for (size_t b = 0; b < count; ++b) {
        const uint32_t example = order[begin + b];
        const size_t row = look(example);
        targets[b] = table.targets[row];
        table.copy_row(example, row, values.data());
        for (size_t i = 0; i < inputs; ++i) x[b * inputs + i] *= values[i];
        std::copy(net.biases.begin(), net.biases.end(), &a[b * hidden]);
      }
      for (size_t i = 0; i < inputs; ++i) {
        const float* w = &net.weights[i * hidden];
        for (size_t b = 0; b < count; ++b) {
          const float v = x[b * inputs + i];
          float* sum = &a[b * hidden];
          for (size_t h = 0; h < hidden; ++h) sum[h] += v * w[h];
        }
      }
      std::fill(gradient_biases.begin(), gradient_biases.end(), 0.0f);
      std::fill(gradient_out.begin(), gradient_out.end(), 0.0f);
      float gradient_bias = 0;
      for (size_t b = 0; b < count; ++b) {
        float* sum = &a[b * hidden];
        const float* m = &mask[b * hidden];
        double logit = static_cast<double>(net.bias);
        for (size_t h = 0; h < hidden; ++h)
          logit += static_cast<double>(std::max(0.0f, sum[h]) * m[h] * net.out[h]);
        const float g = static_cast<float>(sigmoid(logit) - static_cast<double>(targets[b])) *
                        weights[order[begin + b]] / static_cast<float>(count);
        gradient_bias += g;
        for (size_t h = 0; h < hidden; ++h) {
          const float active = sum[h] > 0 ? m[h] : 0.0f;
          gradient_out[h] += g * active * sum[h];
          gradient_a[b * hidden + h] = g * active * net.out[h];
          gradient_biases[h] += gradient_a[b * hidden + h];
        }
      }
      beta1 *= 0.9;
      beta2 *= 0.999;
      const float c1 = static_cast<float>(1 / (1 - beta1)), c2 = static_cast<float>(1 / (1 - beta2));
      const float rate = options.learning_rate *
                         (1 - static_cast<float>(step) / static_cast<float>(std::max<size_t>(steps, 1)));
      for (size_t i = 0; i < inputs; ++i) {
        std::fill(gradient_row.begin(), gradient_row.end(), 0.0f);
        float* sum = gradient_row.data();
        for (size_t b = 0; b < count; ++b) {
          const float v = x[b * inputs + i];
          const float* g = &gradient_a[b * hidden];
          for (size_t h = 0; h < hidden; ++h) sum[h] += v * g[h];
        }
        adam_weights.step(&net.weights[i * hidden], sum, i * hidden, hidden, rate, options.weight_decay, c1,
                          c2);
      }
      adam_biases.step(net.biases.data(), gradient_biases.data(), 0, hidden, rate, 0, c1, c2);
      adam_out.step(net.out.data(), gradient_out.data(), 0, hidden, rate, options.weight_decay, c1, c2);
      adam_bias.step(&net.bias, &gradient_bias, 0, 1, rate, 0, c1, c2);
    }
  }
  return net;
}

#ifdef __x86_64__
[[gnu::target("avx512f")]] Network fit_avx512(const Table& table, std::span<const uint32_t> chosen,
                                              std::span<const float> weights,
                                              const ProbeTrainOptions& options, uint64_t seed) {
  return fit_loops(table, chosen, weights, options, seed);
}
[[gnu::target("avx2,fma")]] Network fit_avx2(const Table& table, std::span<const uint32_t> chosen,
                                             std::span<const float> weights, const ProbeTrainOptions& options,
                                             uint64_t seed) {
  return fit_loops(table, chosen, weights, options, seed);
}
#endif

Network fit(const Table& table, std::span<const uint32_t> chosen, std::span<const float> weights,
            const ProbeTrainOptions& options, uint64_t seed) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return fit_avx512(table, chosen, weights, options, seed);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return fit_avx2(table, chosen, weights, options, seed);
#endif
  return fit_loops(table, chosen, weights, options, seed);
}

// Score to logit(wrong): the share of wrong answers over neighbouring scores, made rising (isotonic
// regression by pooling adjacent violators, Ayer et al. 1955), with lines between.
struct Calibration {
  std::vector<float> knots, knot_logits;
};

constexpr size_t kKnots = 16;
constexpr size_t kPerKnotMin = 20;

Calibration calibrate(std::span<const double> scores, std::span<const ProbeExample> examples) {
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] < scores[b] : a < b; });
  struct Pool {
    double score = 0, wrong = 0, count = 0;
    double share() const { return (wrong + 0.5) / (count + 1); }
  };
  std::vector<Pool> pools;
  const size_t bins = std::clamp<size_t>(order.size() / kPerKnotMin, 2, kKnots);
  for (size_t bin = 0; bin < bins; ++bin) {
    Pool pool;
    for (size_t i = bin * order.size() / bins; i < (bin + 1) * order.size() / bins; ++i) {
      pool.score += scores[order[i]];
      pool.wrong += examples[order[i]].answer.wrong ? 1 : 0;
      pool.count += 1;
    }
    pools.push_back(pool);
    while (pools.size() > 1 && pools[pools.size() - 2].share() >= pools.back().share()) {
      Pool& before = pools[pools.size() - 2];
      before.score += pools.back().score;
      before.wrong += pools.back().wrong;
      before.count += pools.back().count;
      pools.pop_back();
    }
  }
  Calibration calibration;
  for (const Pool& pool : pools) {
    const float knot = static_cast<float>(pool.score / pool.count);
    const float logit = static_cast<float>(std::log(pool.share() / (1 - pool.share())));
    if (!calibration.knots.empty() &&
        (!(knot > calibration.knots.back()) || !(logit > calibration.knot_logits.back())))
      continue;
    calibration.knots.push_back(knot);
    calibration.knot_logits.push_back(logit);
  }
  return calibration;
}

double apply(const Calibration& calibration, double score) {
  ProbeHead head;
  head.knots = calibration.knots;
  head.knot_logits = calibration.knot_logits;
  return head.calibrated(score);
}

// The ensemble as one network, its first layer in 8 bits.
ProbeHead join(const Table& table, uint32_t sources, const std::vector<Network>& nets,
               const Calibration& calibration) {
  ProbeHead head;
  head.sources = sources;
  head.mean = table.mean;
  head.inv_deviation = table.inv_deviation;
  const double share = 1 / static_cast<double>(nets.size());
  double bias = 0;
  for (const Network& net : nets) {
    bias += share * static_cast<double>(net.bias);
    for (size_t h = 0; h < net.hidden; ++h) {
      float largest = 0;
      for (size_t i = 0; i < net.inputs; ++i)
        largest = std::max(largest, std::abs(net.weights[i * net.hidden + h]));
      const float scale = largest / 127;
      for (size_t i = 0; i < net.inputs; ++i) {
        const float w = net.weights[i * net.hidden + h];
        head.weights.push_back(static_cast<int8_t>(scale > 0 ? std::lround(w / scale) : 0));
      }
      head.scales.push_back(scale);
      head.biases.push_back(net.biases[h]);
      head.out.push_back(static_cast<float>(share * static_cast<double>(net.out[h])));
    }
  }
  head.bias = static_cast<float>(bias);
  head.knots = calibration.knots;
  head.knot_logits = calibration.knot_logits;
  return head;
}

// Which part of the groups an example is in: by a hash, so that parts do not depend on the order.
uint32_t part_of(uint32_t group, uint64_t seed, int parts) {
  return static_cast<uint32_t>(Rng(seed ^ (uint64_t{group} << 20)).below(static_cast<uint64_t>(parts)));
}

// Rare kinds of question count more than their number, up to kRareMax times.
constexpr double kRareMax = 3;
std::vector<float> task_weights(std::span<const ProbeExample> examples) {
  std::map<uint32_t, double> counts;
  for (const ProbeExample& e : examples) counts[e.task] += 1;
  const double mean = static_cast<double>(examples.size()) / static_cast<double>(counts.size());
  std::vector<float> weights;
  double sum = 0;
  for (const ProbeExample& e : examples) {
    weights.push_back(
        static_cast<float>(std::clamp(std::sqrt(mean / counts[e.task]), 1 / kRareMax, kRareMax)));
    sum += static_cast<double>(weights.back());
  }
  for (float& w : weights) w *= static_cast<float>(static_cast<double>(weights.size()) / sum);
  return weights;
}

// Runs job(i) for all i below count on so many threads.
void run_jobs(int count, int threads, const std::function<void(int)>& job) {
  std::atomic<int> next{0};
  const auto work = [&] {
    for (int i = next++; i < count; i = next++) job(i);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < std::min(threads, count); ++t) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
}

struct Ensemble {
  Table table;
  std::vector<Network> nets;
  std::vector<double> held_back;  // [examples] calibrated logits of networks that have not seen the group
  Calibration calibration;
};

// The networks of one head. `done` is called after each.
Ensemble fit_ensemble(std::span<const ProbeExample> examples, Table table, uint32_t sources,
                      const ProbeTrainOptions& options, const std::function<void()>& done) {
  Ensemble ensemble;
  ensemble.table = std::move(table);
  ensemble.nets.resize(static_cast<size_t>(options.members));
  const std::vector<float> weights = task_weights(examples);
  std::vector<uint32_t> parts;
  for (const ProbeExample& e : examples) parts.push_back(part_of(e.group, options.seed, options.parts));
  run_jobs(options.members, options.threads, [&](int m) {
    const uint32_t out = static_cast<uint32_t>(m % options.parts);
    std::vector<uint32_t> chosen;
    for (uint32_t r = 0; r < examples.size(); ++r)
      if (parts[r] != out) chosen.push_back(r);
    const uint64_t seed = options.seed * 1000003 + sources * 1009 + static_cast<uint64_t>(m);
    ensemble.nets[static_cast<size_t>(m)] = fit(ensemble.table, chosen, weights, options, seed);
    done();
  });
  std::vector<float> scratch;
  double mean = 0, squares = 0, within = 0;  // of held-back means; of the difference of their networks
  for (uint32_t r = 0; r < examples.size(); ++r) {
    const std::vector<float> row = ensemble.table.greedy_row(r);
    double sum = 0, own_squares = 0;
    int count = 0;
    for (int m = 0; m < options.members; ++m) {
      if (static_cast<uint32_t>(m % options.parts) != parts[r]) continue;
      const double logit = ensemble.nets[static_cast<size_t>(m)].logit(row.data(), scratch);
      sum += logit;
      own_squares += logit * logit;
      ++count;
    }
    const double own_mean = sum / count;
    ensemble.held_back.push_back(own_mean);
    mean += own_mean;
    squares += own_mean * own_mean;
    within += std::max(0.0, own_squares - count * own_mean * own_mean) / (count - 1);
  }
  ensemble.calibration = calibrate(ensemble.held_back, examples);
  for (double& score : ensemble.held_back) score = apply(ensemble.calibration, score);

  // The whole ensemble's mean is less noisy than that of the few networks that an example was held back from:
  // the same rank has a score nearer to the middle.
  const double n = static_cast<double>(examples.size());
  mean /= n;
  const double variance = squares / n - mean * mean, noise = within / n;
  const double few = static_cast<double>(options.members / options.parts), all = options.members;
  const double narrower =
      variance > 0 ? std::sqrt(std::max(1 - (noise / few - noise / all) / variance, 0.1)) : 1;
  for (float& knot : ensemble.calibration.knots)
    knot = static_cast<float>(mean + narrower * (static_cast<double>(knot) - mean));
  return ensemble;
}

// Logistic regression whose intercept is each task's own while it is fitted, so that the weights tell answers
// of one task apart and not the tasks: what carries over to tasks that were never seen. By gradient descent
// with momentum. Over a table without prompts.
Network fit_linear(const Table& table, std::span<const ProbeExample> examples) {
  constexpr int kSteps = 400;
  constexpr double kRate = 1.0, kMomentum = 0.9, kRidge = 0.01;
  std::map<uint32_t, double> intercepts, intercept_gradients, intercept_moves, counts;
  for (const ProbeExample& e : examples) counts[e.task] += 1;
  std::vector<double> w(table.inputs), move(table.inputs), gradient(table.inputs);
  const double n = static_cast<double>(examples.size());
  for (int step = 0; step < kSteps; ++step) {
    std::fill(gradient.begin(), gradient.end(), 0.0);
    intercept_gradients.clear();
    for (size_t r = 0; r < table.examples; ++r) {
      const float* x = &table.rest[r * table.inputs];
      double logit = intercepts[examples[r].task];
      for (size_t i = 0; i < table.inputs; ++i) logit += w[i] * static_cast<double>(x[i]);
      const double d = sigmoid(logit) - (examples[r].answer.wrong ? 1.0 : 0.0);
      for (size_t i = 0; i < table.inputs; ++i) gradient[i] += d * static_cast<double>(x[i]) / n;
      intercept_gradients[examples[r].task] += d / counts[examples[r].task];
    }
    for (size_t i = 0; i < table.inputs; ++i) {
      move[i] = kMomentum * move[i] - 0.1 * kRate * (gradient[i] + kRidge * w[i]);
      w[i] += move[i];
    }
    for (auto& [task, g] : intercept_gradients) {
      double& m = intercept_moves[task];
      m = kMomentum * m - kRate * g;
      intercepts[task] += m;
    }
  }
  // x = relu(x) - relu(-x)
  Network net;
  net.inputs = table.inputs;
  net.hidden = 2;
  for (const double v : w) {
    net.weights.push_back(static_cast<float>(v));
    net.weights.push_back(static_cast<float>(-v));
  }
  net.biases = {0, 0};
  net.out = {1, -1};
  return net;
}

Ensemble fit_unknown(std::span<const ProbeExample> examples, uint32_t sources) {
  Ensemble ensemble;
  ensemble.table = make_table(examples, sources);
  ensemble.nets.push_back(fit_linear(ensemble.table, examples));
  std::vector<float> scratch;
  for (size_t r = 0; r < examples.size(); ++r)
    ensemble.held_back.push_back(ensemble.nets[0].logit(ensemble.table.greedy_row(r).data(), scratch));
  ensemble.calibration = calibrate(ensemble.held_back, examples);
  for (double& score : ensemble.held_back) score = apply(ensemble.calibration, score);
  return ensemble;
}

double squared_distance(const float* a, const float* b, size_t count) {
  float lanes[8] = {};
  for (size_t i = 0; i < count; ++i) {
    const float d = a[i] - b[i];
    lanes[i % 8] += d * d;
  }
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  return sum;
}

// k-means over the prompts' states, begun as k-means++ does (Arthur and Vassilvitskii 2007).
constexpr size_t kRegionExamples = 60;  // per region, about
constexpr size_t kRegionsMost = 48;
constexpr int kMeansRounds = 8;
constexpr double kNearQuantile = 0.99;
constexpr double kFarOverNear = 1.3;

ProbeRegions fit_regions(const Table& table, uint64_t seed) {
  const auto row = [&](size_t example) { return &table.prompts[example * table.inputs]; };
  Rng rng(seed);
  const size_t count = std::clamp<size_t>(table.examples / kRegionExamples, 1, kRegionsMost);
  std::vector<std::vector<float>> centres;
  std::vector<double> nearest(table.examples, std::numeric_limits<double>::infinity());
  size_t chosen = rng.below(table.examples);
  while (centres.size() < count) {
    centres.emplace_back(row(chosen), row(chosen) + table.inputs);
    double total = 0;
    for (size_t r = 0; r < table.examples; ++r) {
      nearest[r] = std::min(nearest[r], squared_distance(row(r), centres.back().data(), table.inputs));
      total += nearest[r];
    }
    double left = rng.uniform() * total;
    chosen = 0;
    while (chosen + 1 < table.examples && (left -= nearest[chosen]) > 0) ++chosen;
  }
  std::vector<size_t> owner(table.examples);
  std::vector<double> members(count);
  for (int round = 0; round < kMeansRounds; ++round) {
    for (size_t r = 0; r < table.examples; ++r) {
      nearest[r] = std::numeric_limits<double>::infinity();
      for (size_t c = 0; c < count; ++c) {
        const double d = squared_distance(row(r), centres[c].data(), table.inputs);
        if (d < nearest[r]) {
          nearest[r] = d;
          owner[r] = c;
        }
      }
    }
    std::fill(members.begin(), members.end(), 0.0);
    std::vector<std::vector<double>> sums(count, std::vector<double>(table.inputs));
    for (size_t r = 0; r < table.examples; ++r) {
      members[owner[r]] += 1;
      for (size_t i = 0; i < table.inputs; ++i) sums[owner[r]][i] += static_cast<double>(row(r)[i]);
    }
    for (size_t c = 0; c < count; ++c) {
      if (members[c] == 0) continue;
      for (size_t i = 0; i < table.inputs; ++i) centres[c][i] = static_cast<float>(sums[c][i] / members[c]);
    }
  }
  ProbeRegions regions;
  regions.mean = table.mean;
  regions.inv_deviation = table.inv_deviation;
  float largest = 0;
  for (const auto& centre : centres)
    for (const float v : centre) largest = std::max(largest, std::abs(v));
  regions.step = largest > 0 ? largest / 127 : 1;
  std::vector<double> squares(count);
  double squares_all = 0;
  for (size_t r = 0; r < table.examples; ++r) {
    squares[owner[r]] += nearest[r];
    squares_all += nearest[r];
  }
  const double radius_all = std::sqrt(squares_all / static_cast<double>(table.examples)) + 1e-3;
  for (size_t c = 0; c < count; ++c) {
    for (const float v : centres[c])
      regions.centres.push_back(static_cast<int8_t>(std::lround(v / regions.step)));
    // A region of few prompts that are nearly the same would find everything else strange.
    const double own = members[c] > 0 ? std::sqrt(squares[c] / members[c]) : radius_all;
    regions.radius.push_back(static_cast<float>(std::max(own, 0.5 * radius_all)));
  }
  std::vector<double> distances;
  for (size_t r = 0; r < table.examples; ++r)
    distances.push_back(std::sqrt(nearest[r]) / static_cast<double>(regions.radius[owner[r]]));
  std::sort(distances.begin(), distances.end());
  const size_t rank = static_cast<size_t>(kNearQuantile * static_cast<double>(distances.size() - 1));
  regions.near = static_cast<float>(std::max(distances[rank], 1e-3));
  regions.far = static_cast<float>(kFarOverNear) * regions.near;
  return regions;
}

// Mean distance of probability and outcome over ten equal bins, weighted by their numbers.
double calibration_error(std::span<const double> logits, std::span<const ProbeExample> examples) {
  double probabilities[10] = {}, outcomes[10] = {};
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = sigmoid(logits[i]);
    const size_t bin = std::min<size_t>(9, static_cast<size_t>(p * 10));
    probabilities[bin] += p;
    outcomes[bin] += examples[i].answer.wrong ? 1 : 0;
  }
  double sum = 0;
  for (int b = 0; b < 10; ++b) sum += std::abs(probabilities[b] - outcomes[b]);
  return sum / static_cast<double>(logits.size());
}

// Share of the sampled answers; without any, of the greedy one.
float sampled_wrong(const ProbeExample& example) {
  if (example.sampled.empty()) return example.answer.wrong ? 1.0f : 0.0f;
  float wrong = 0;
  for (const ProbeExample::Answer& answer : example.sampled) wrong += answer.wrong ? 1.0f : 0.0f;
  return wrong / static_cast<float>(example.sampled.size());
}

Status check_examples(size_t states, std::span<const ProbeExample> examples) {
  const auto bad = [](std::string what) { return make_error(ErrorCode::kInvalidArgument, std::move(what)); };
  if (examples.size() < kProbeExamplesMin)
    return bad(fmt::format("{} labelled answers, expected at least {}", examples.size(), kProbeExamplesMin));
  size_t wrong = 0;
  const auto finite = [](std::span<const float> v) {
    return std::all_of(v.begin(), v.end(), [](float x) { return std::isfinite(x); });
  };
  for (const ProbeExample& e : examples) {
    if (e.prompt.size() != 2 * states)
      return bad(fmt::format("an example has {} state values of its prompt, expected {}", e.prompt.size(),
                             2 * states));
    bool right_size = e.answer.states.size() == states;
    bool all_finite = finite(e.prompt) && finite(e.answer.states) && finite(e.answer.facts);
    for (const auto* others : {&e.sampled, &e.beginnings}) {
      for (const ProbeExample::Answer& answer : *others) {
        right_size = right_size && answer.states.size() == states;
        all_finite = all_finite && finite(answer.states) && finite(answer.facts);
      }
    }
    if (!right_size) return bad(fmt::format("an answer has not {} state values", states));
    if (!all_finite) return bad("an example holds states that are not finite");
    wrong += e.answer.wrong ? 1 : 0;
  }
  constexpr size_t kEachMin = 20;
  if (wrong < kEachMin || examples.size() - wrong < kEachMin) {
    return bad(fmt::format("{} of {} answers are wrong; expected at least {} wrong and {} right ones", wrong,
                           examples.size(), kEachMin, kEachMin));
  }
  return {};
}

}  // namespace

// Where what decides the answer is there, and the shape of the next token does not cover it yet.
std::vector<int> default_probe_blocks(int layers) {
  const int middle = layers * 7 / 15, later = layers * 2 / 3;
  return middle < later ? std::vector<int>{middle, later} : std::vector<int>{later};
}

double within_task_auroc(std::span<const double> scores, std::span<const ProbeExample> examples) {
  std::map<uint32_t, std::vector<uint32_t>> tasks;
  for (uint32_t i = 0; i < examples.size(); ++i) tasks[examples[i].task].push_back(i);
  double sum = 0;
  int count = 0;
  for (auto& [task, rows] : tasks) {
    std::sort(rows.begin(), rows.end(), [&](uint32_t a, uint32_t b) { return scores[a] < scores[b]; });
    double wrong = 0, right = 0, ranks = 0;
    for (size_t i = 0; i < rows.size();) {
      size_t end = i;
      double wrong_here = 0;
      for (; end < rows.size() && scores[rows[end]] == scores[rows[i]]; ++end)
        wrong_here += examples[rows[end]].answer.wrong ? 1 : 0;
      const double right_here = static_cast<double>(end - i) - wrong_here;
      ranks += wrong_here * (right + 0.5 * right_here);
      wrong += wrong_here;
      right += right_here;
      i = end;
    }
    if (wrong == 0 || right == 0) continue;
    sum += ranks / (wrong * right);
    ++count;
  }
  return count == 0 ? 0.5 : sum / count;
}

Result<Probe> train_probe(const ProbeModel& model, const std::vector<int>& blocks,
                          std::span<const ProbeExample> examples, const ProbeTrainOptions& options,
                          const std::function<void(int, int)>& progress, ProbeReport& report) {
  HEDGE_TRY(check_examples(blocks.size() * model.dim, examples));
  // Two networks at least leave out each part: their difference is their noise.
  HEDGE_CHECK(options.parts >= 2 && options.members >= 2 * options.parts);
  std::mutex mutex;
  int done = 0;
  const auto one_done = [&] {
    std::lock_guard lock(mutex);
    if (progress) progress(++done, 2 * options.members);
  };
  Table prompts = make_table(examples, kBeforeSources);
  for (size_t i = 0; i < examples.size(); ++i)
    prompts.targets[i] += options.luck * (sampled_wrong(examples[i]) - prompts.targets[i]);
  const Ensemble before = fit_ensemble(examples, std::move(prompts), kBeforeSources, options, one_done);
  const Ensemble answer = fit_ensemble(examples, make_table(examples, kAnswerSources, Rows::kAll),
                                       kAnswerSources, options, one_done);
  const Ensemble before_unknown = fit_unknown(examples, kProbeFirst);
  const Ensemble answer_unknown = fit_unknown(examples, kProbeFacts);

  Probe probe;
  probe.model = model;
  probe.blocks = blocks;
  probe.regions = fit_regions(make_table(examples, kProbePrompt), options.seed);
  probe.before = join(before.table, kBeforeSources, before.nets, before.calibration);
  probe.answer = join(answer.table, kAnswerSources, answer.nets, answer.calibration);
  probe.before_unknown =
      join(before_unknown.table, kProbeFirst, before_unknown.nets, before_unknown.calibration);
  probe.answer_unknown =
      join(answer_unknown.table, kProbeFacts, answer_unknown.nets, answer_unknown.calibration);

  report = {};
  report.examples = examples.size();
  std::map<uint32_t, int> tasks;
  std::vector<double> logprob;
  for (const ProbeExample& e : examples) {
    ++tasks[e.task];
    report.wrong += (e.answer.wrong ? 1.0 : 0.0) / static_cast<double>(examples.size());
    logprob.push_back(-static_cast<double>(e.answer.facts[TokenFacts::kLogprobSum]));
  }
  report.tasks = tasks.size();
  report.auroc_before = within_task_auroc(before.held_back, examples);
  report.auroc_answer = within_task_auroc(answer.held_back, examples);
  report.auroc_unknown = within_task_auroc(answer_unknown.held_back, examples);
  report.auroc_logprob = within_task_auroc(logprob, examples);
  report.calibration_error = calibration_error(answer.held_back, examples);
  return probe;
}

}  // namespace hedge::route
