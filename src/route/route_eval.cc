#include "route/route_eval.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/rng.h"

namespace hedge::route {
namespace {

constexpr int kEdges = 11;  // of ten deciles

struct Figures {
  double apgr = 0, cpt50 = 0, cpt80 = 0;
  bool defined = false;
};

// numpy.interp(key, ys, xs) for one key, its search included: `ys` need not rise everywhere, and where it
// does not, the published figures depend on how numpy looks.
double interpolate(double key, const std::array<double, kEdges>& ys, const std::array<double, kEdges>& xs) {
  if (key > ys[kEdges - 1]) return xs[kEdges - 1];
  if (key < ys[0]) return xs[0];
  int low = 0, high = kEdges;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (key >= ys[static_cast<size_t>(middle)]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const auto i = static_cast<size_t>(low - 1);
  if (low - 1 >= kEdges - 1) return xs[kEdges - 1];
  const double slope = (xs[i + 1] - xs[i]) / (ys[i + 1] - ys[i]);
  return xs[i] + slope * (key - ys[i]);
}

// `order`: prompts by falling score. The threshold at the j-th edge sends the prompts from rank j (n - 1) /
// 10 upward, the last one nobody.
Figures figures_of(std::span<const uint32_t> order, std::span<const double> weak,
                   std::span<const double> strong) {
  const size_t n = order.size();
  std::array<double, kEdges> x{}, y{};  // rising x
  double sent = 0, weak_sum = 0, strong_sum = 0;
  for (const uint32_t i : order) {
    weak_sum += weak[i];
    strong_sum += strong[i];
  }
  size_t at = 0;
  for (int edge = 0; edge < kEdges; ++edge) {
    const auto j = static_cast<size_t>(kEdges - 1 - edge);
    const size_t rank = (j * (n - 1) + 9) / 10;  // rounded up
    const size_t count = edge == 0 ? 0 : n - rank;
    for (; at < count; ++at) sent += strong[order[at]] - weak[order[at]];
    x[static_cast<size_t>(edge)] = 100.0 * static_cast<double>(count) / static_cast<double>(n);
    y[static_cast<size_t>(edge)] = 100.0 * (weak_sum + sent) / static_cast<double>(n);
  }
  const double low = 100.0 * weak_sum / static_cast<double>(n),
               high = 100.0 * strong_sum / static_cast<double>(n);
  if (!(high > low)) return {};
  double area = 0;
  for (size_t i = 0; i + 1 < kEdges; ++i) area += (x[i + 1] - x[i]) / 100 * (y[i] + y[i + 1]) / 2;
  return {(area - low) / (high - low), interpolate(low + 0.5 * (high - low), y, x),
          interpolate(low + 0.8 * (high - low), y, x), true};
}

// Prompts by falling score, equal ones in random order.
std::vector<uint32_t> order_of(std::span<const double> score, Rng& rng) {
  std::vector<uint64_t> ties(score.size());
  for (uint64_t& tie : ties) tie = rng.next();
  std::vector<uint32_t> order(score.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    if (score[a] != score[b]) return score[a] > score[b];
    return ties[a] != ties[b] ? ties[a] < ties[b] : a < b;
  });
  return order;
}

// Per cent of prompts at the first place where `part` of the gain is won.
double first_crossing(std::span<const uint32_t> order, std::span<const double> weak,
                      std::span<const double> strong, double part) {
  double total = 0;
  for (const uint32_t i : order) total += strong[i] - weak[i];
  double won = 0;
  for (size_t k = 0; k < order.size(); ++k) {
    won += strong[order[k]] - weak[order[k]];
    if (won >= part * total) return 100.0 * static_cast<double>(k + 1) / static_cast<double>(order.size());
  }
  return 100;
}

Interval interval_of(double value, std::vector<double>& draws) {
  if (draws.empty()) return {value, value, value};
  std::sort(draws.begin(), draws.end());
  const auto quantile = [&draws](double q) {
    const double at = q * static_cast<double>(draws.size() - 1);
    const auto i = static_cast<size_t>(at);
    const double rest = at - static_cast<double>(i);
    return i + 1 < draws.size() ? draws[i] * (1 - rest) + draws[i + 1] * rest : draws[i];
  };
  return {value, quantile(0.025), quantile(0.975)};
}

}  // namespace

double apgr_of(std::span<const double> score, std::span<const double> weak, std::span<const double> strong,
               uint64_t seed) {
  if (score.size() < 10) return 0.5;
  Rng rng(seed);
  const Figures figures = figures_of(order_of(score, rng), weak, strong);
  return figures.defined ? figures.apgr : 0.5;
}

Result<RouteEvaluation> evaluate_route(std::span<const double> score, std::span<const double> weak,
                                       std::span<const double> strong, const EvalOptions& options) {
  const size_t n = score.size();
  HEDGE_CHECK(weak.size() == n && strong.size() == n);
  if (n < 10)
    return make_error(ErrorCode::kInvalidArgument, fmt::format("expected 10 prompts or more, got {}", n));
  if (!std::all_of(score.begin(), score.end(), [](double s) { return std::isfinite(s); }))
    return make_error(ErrorCode::kInvalidArgument, "expected scores that are numbers, got one that is not");
  Rng rng(options.seed);
  const std::vector<uint32_t> order = order_of(score, rng);
  RouteEvaluation out;
  out.n = n;
  out.seed = options.seed;
  out.draws = options.draws;
  out.weak_mean = std::accumulate(weak.begin(), weak.end(), 0.0) / static_cast<double>(n);
  out.strong_mean = std::accumulate(strong.begin(), strong.end(), 0.0) / static_cast<double>(n);
  const Figures figures = figures_of(order, weak, strong);
  if (!figures.defined)
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("expected \"strong\" to be better than \"weak\" on average, got {:.4f} and {:.4f}: "
                    "there is no gain to share out",
                    out.strong_mean, out.weak_mean));
  // A draw takes n prompts with replacement; counted, and walked in the order of the scores.
  std::vector<double> apgr, cpt50, cpt80;
  std::vector<uint32_t> times(n), drawn(n);
  for (int draw = 0; draw < options.draws; ++draw) {
    std::fill(times.begin(), times.end(), 0u);
    for (size_t i = 0; i < n; ++i) ++times[rng.below(n)];
    size_t at = 0;
    for (const uint32_t i : order) {
      for (uint32_t k = 0; k < times[i]; ++k) drawn[at++] = i;
    }
    const Figures one = figures_of(drawn, weak, strong);
    if (!one.defined) continue;
    apgr.push_back(one.apgr);
    cpt50.push_back(one.cpt50);
    cpt80.push_back(one.cpt80);
  }
  out.apgr = interval_of(figures.apgr, apgr);
  out.cpt50 = interval_of(figures.cpt50, cpt50);
  out.cpt80 = interval_of(figures.cpt80, cpt80);
  out.first50 = first_crossing(order, weak, strong, 0.5);
  out.first80 = first_crossing(order, weak, strong, 0.8);
  return out;
}

}  // namespace hedge::route
