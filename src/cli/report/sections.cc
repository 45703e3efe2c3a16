// What the sections of a report draw and say.
#include "cli/report/page.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/numbers.h"

namespace hedge::cli {
namespace {

constexpr int64_t kMinuteMs = 60'000, kHourMs = 60 * kMinuteMs, kDayMs = 24 * kHourMs;
constexpr double kPerNano = 1e-9;
constexpr int64_t kEnoughLabels = 30;  // fewer make no calibration curve
constexpr size_t kReasonsShown = 15;
constexpr std::array kQuantiles = {0.5, 0.9, 0.99};

std::string utc(int64_t unix_ms, const char* form) {
  const auto seconds = static_cast<std::time_t>(std::clamp<int64_t>(unix_ms / 1000, 0, 253402300799));
  return fmt::format(fmt::runtime(fmt::format("{{:{}}}", form)), fmt::gmtime(seconds));
}

// The beginning of a span of this length.
std::string span_label(int64_t unix_ms, int64_t span_ms) {
  return utc(unix_ms, span_ms >= kDayMs ? "%Y-%m-%d" : span_ms >= kHourMs ? "%m-%d %H:%M" : "%H:%M");
}

std::string count_text(double value) {
  return value == std::floor(value) ? grouped(static_cast<int64_t>(value)) : fmt::format("{:g}", value);
}

std::string interval_text(double lo, double hi) { return fmt::format("{} to {}", percent(lo), percent(hi)); }

std::string span_name(int64_t span_ms) {
  const bool days = span_ms >= kDayMs;
  const bool hours = !days && span_ms >= kHourMs;
  const int64_t count = span_ms / (days ? kDayMs : hours ? kHourMs : kMinuteMs);
  const char* const unit = days ? "day" : hours ? "hour" : "minute";
  return count == 1 ? unit : fmt::format("{} {}s", count, unit);
}

// The spans from the first to the last, those without answers included.
template <typename Sum>
std::vector<int64_t> span_begins(const Timeline<Sum>& timeline) {
  std::vector<int64_t> out;
  if (timeline.spans().empty()) return out;
  const int64_t last = timeline.spans().rbegin()->first;
  for (int64_t at = timeline.spans().begin()->first; at <= last; at += timeline.span_ms()) out.push_back(at);
  return out;
}

Section route_section(const Tally& tally) {
  Section out{"routes", "Who answered", "", {}, {}};
  const int64_t span_ms = tally.over_time().span_ms();
  out.text = fmt::format("Share of the answers that were written here, upstream, or by both, per {} (UTC).",
                         span_name(span_ms));
  Columns columns;
  columns.series = {"local", "upstream", "mixed"};
  columns.values.resize(columns.series.size());
  columns.as_shares = true;
  columns.format = percent;
  const auto& spans = tally.over_time().spans();
  for (const int64_t begin : span_begins(tally.over_time())) {
    columns.labels.push_back(span_label(begin, span_ms));
    const auto found = spans.find(begin);
    for (size_t i = 0; i < columns.values.size(); ++i)
      columns.values[i].push_back(found == spans.end() ? 0 : static_cast<double>(found->second.by_route[i]));
  }
  out.table = {{"route", "answers", "share"}};
  std::string words;
  for (size_t i = 0; i < kRouteNames.size(); ++i) {
    const int64_t count = tally.routes()[i].answers;
    const std::string share = percent(static_cast<double>(count) / static_cast<double>(tally.answers()));
    out.table.push_back({std::string(kRouteNames[i]), grouped(count), share});
    words += fmt::format("{}{} {}", i == 0 ? "" : ", ", kRouteNames[i], share);
  }
  out.charts.push_back(draw_columns({out.id, out.title, words + "."}, columns));
  return out;
}

Section quality_section(const Tally& tally) {
  Section out{"quality", "How good the answers were", "", {}, {}};
  Ranges ranges;
  ranges.fixed = true;
  ranges.format = percent;
  ranges.axis = "answers that were right";
  out.table = {{"route", "source", "right", "95 % interval", "answers known", "of"}};
  bool voted = false, guessed = false;
  for (size_t i = 0; i < kRouteNames.size(); ++i) {
    const Tally::Route& route = tally.routes()[i];
    if (route.answers == 0) continue;
    const std::string name(kRouteNames[i]);
    if (route.labelled.count > 0) {
      voted = true;
      const Share& share = route.labelled;
      out.table.push_back({name, "votes and labels", percent(share.value()),
                           interval_text(share.lo(), share.hi()), grouped(share.count),
                           grouped(route.answers)});
      ranges.rows.push_back({name + ", said",
                             {share.lo(), share.value(), share.hi()},
                             1,
                             i,
                             fmt::format("{} of {} known", percent(share.value()), grouped(share.count))});
    }
    if (route.right.count > 0) {
      guessed = true;
      const double mean = route.right.mean, half = route.right.half_width();
      const double lo = std::max(0.0, mean - half), hi = std::min(1.0, mean + half);
      out.table.push_back({name, "the probe's own probability", percent(mean), interval_text(lo, hi),
                           grouped(route.right.count), grouped(route.answers)});
      ranges.rows.push_back({name + ", predicted",
                             {lo, mean, hi},
                             1,
                             i,
                             fmt::format("{} of {} predicted", percent(mean), grouped(route.right.count))});
    }
    if (route.labelled.count == 0 && route.right.count == 0)
      out.table.push_back({name, "nothing is known", "", "", "0", grouped(route.answers)});
  }
  if (voted || guessed) {
    out.text =
        "Share of right answers with its 95 % interval. \"Said\" is what votes and labels say (thumbs up is "
        "right; thumbs "
        "down, regenerate, edit and escalate are wrong), so it is about those who said something. "
        "\"Predicted\" is the mean "
        "of the probe's own probability for local answers; it is as good as its calibration below.";
    std::string words;
    for (const Ranges::Row& row : ranges.rows) words += fmt::format("{}: {}. ", row.name, row.text);
    out.charts.push_back(draw_ranges({out.id, out.title, words}, ranges));
  } else {
    out.text =
        "Nothing is known: no decision has a vote, a label or a recorded probability. Votes come with POST "
        "/v1/hedge/decisions/ID/feedback, labels with --labels FILE.jsonl.";
  }
  return out;
}

Section calibration_section(const Tally& tally) {
  Section out{"calibration", "Whether the predicted probabilities are right", "", {}, {}};
  int64_t labelled = 0;
  double error = 0;
  Points points;
  points.diagonal = points.joined = true;
  points.x_axis = "predicted probability that the local answer is wrong";
  points.y_axis = "share that was wrong";
  points.x_format = points.y_format = percent;
  out.table = {{"predicted", "answers", "mean prediction", "were wrong", "95 % interval"}};
  for (const Tally::Bin& bin : tally.calibration()) labelled += bin.wrong.count;
  for (size_t i = 0; i < Tally::kBins; ++i) {
    const Tally::Bin& bin = tally.calibration()[i];
    if (bin.wrong.count == 0) continue;
    const double mean = bin.predicted / static_cast<double>(bin.wrong.count);
    const double weight = static_cast<double>(bin.wrong.count) / static_cast<double>(labelled);
    error += weight * std::abs(mean - bin.wrong.value());
    const std::string range =
        interval_text(static_cast<double>(i) / Tally::kBins, static_cast<double>(i + 1) / Tally::kBins);
    out.table.push_back({range, grouped(bin.wrong.count), percent(mean), percent(bin.wrong.value()),
                         interval_text(bin.wrong.lo(), bin.wrong.hi())});
    Points::Point point;
    point.x = mean;
    point.y = bin.wrong.value();
    point.radius = 4 + 10 * std::sqrt(weight);
    point.y_lo = bin.wrong.lo();
    point.y_hi = bin.wrong.hi();
    point.name = grouped(bin.wrong.count);
    point.tip = fmt::format("{} answers: predicted {}, were wrong {}", bin.wrong.count, percent(mean),
                            percent(bin.wrong.value()));
    points.points.push_back(std::move(point));
  }
  if (labelled < kEnoughLabels) {
    out.text = fmt::format(
        "Not enough data: {} local answers have a predicted probability, {} of them a vote or label; a curve "
        "needs {}.",
        grouped(tally.predictions()), grouped(labelled), kEnoughLabels);
    out.table.clear();
    return out;
  }
  out.text = fmt::format(
      "Of local answers that the probe called wrong with a probability, the share that was wrong, with 95 % "
      "intervals and "
      "the number of answers; on the dashed line both are equal. Mean distance (ECE, {} bins): {:.3f} over "
      "{} answers.",
      Tally::kBins, error, grouped(labelled));
  out.charts.push_back(draw_points({out.id, out.title, out.text}, points));
  return out;
}

Section cost_section(const Tally& tally) {
  Section out{"cost", "Cost against quality, policy by policy", "", {}, {}};
  if (tally.replayed() == 0) {
    out.text = "Nothing can be replayed: no decision has its facts on record.";
    return out;
  }
  const bool priced = std::any_of(tally.policies().begin(), tally.policies().end(),
                                  [](const PolicyResult& result) { return result.spend.nanos > 0; });
  const auto answers = static_cast<double>(tally.replayed());
  Points points;
  points.x_axis = priced ? "money per 1,000 answers" : "upstream tokens per answer (no price is set)";
  points.y_axis = "expected gain per answer over answering everything here";
  points.x_format = count_text;
  points.y_format = [](double value) { return fmt::format("{:g}", std::round(value * 1e6) / 1e6); };
  out.table = {{"policy", "gone up", "expected gain", "tokens", "money"}};
  std::string words;
  for (size_t i = 0; i < tally.policies().size(); ++i) {
    const PolicyResult& result = tally.policies()[i];
    const double spent = static_cast<double>(result.spend.nanos) * kPerNano;
    const double gain = result.gain / answers;
    const std::string up = percent(static_cast<double>(result.up) / answers);
    out.table.push_back({result.name, up, fmt::format("{:.4f}", gain), grouped(result.spend.tokens),
                         priced ? money(spent) : "-"});
    Points::Point point;
    point.x = priced ? spent / answers * 1000 : static_cast<double>(result.spend.tokens) / answers;
    point.y = gain;
    point.series = i;
    point.name = result.name;
    point.tip = fmt::format("{}: {} gone up, gain {:.4f}", result.name, up, gain);
    points.points.push_back(std::move(point));
    words += fmt::format("{}: {} gone up, expected gain {:.4f}. ", result.name, up, gain);
  }
  out.text = fmt::format(
      "The {} decisions that have their facts on record, taken again under other policies at the prices of "
      "this "
      "configuration. The gain is what was expected of each answer that goes up (prompt score or prior), not "
      "a measured "
      "one. Where an answer went upstream at once, nobody knows whether the local model would have been "
      "unsure; under a "
      "policy that begins here it counts as local.",
      grouped(tally.replayed()));
  out.charts.push_back(draw_points({out.id, out.title, words}, points));
  return out;
}

void add_times(Section& out, Ranges& ranges, const std::string& name, const Times& times, size_t series) {
  if (times.count() == 0) return;
  std::vector<double> values;
  std::vector<std::string> row = {name};
  for (const double share : kQuantiles) {
    values.push_back(times.quantile(share));
    row.push_back(milliseconds(values.back()));
  }
  row.push_back(grouped(times.count()));
  ranges.rows.push_back({name, values, 0, series, fmt::format("{} / {} / {}", row[1], row[2], row[3])});
  out.table.push_back(std::move(row));
}

Section latency_section(const Tally& tally) {
  Section out{"latency", "How long answers took", "", {}, {}};
  out.text =
      "From the request to the first text, and to the end of the answer: median (large dot), 90th and 99th "
      "percentile, right "
      "to 1 %. \"upstream alone\" is from asking the upstream to its first text, hand-overs in mid-answer "
      "included.";
  Ranges ranges;
  ranges.log = true;
  ranges.format = milliseconds;
  out.table = {{"", "p50", "p90", "p99", "answers"}};
  for (size_t i = 0; i < kRouteNames.size(); ++i)
    add_times(out, ranges, fmt::format("{}, first text", kRouteNames[i]), tally.routes()[i].first_text, i);
  add_times(out, ranges, "upstream alone, first text", tally.upstream_first(), 4);
  for (size_t i = 0; i < kRouteNames.size(); ++i)
    add_times(out, ranges, fmt::format("{}, whole answer", kRouteNames[i]), tally.routes()[i].total, i);
  std::string words;
  for (const Ranges::Row& row : ranges.rows) words += fmt::format("{}: {}. ", row.name, row.text);
  out.charts.push_back(draw_ranges({out.id, out.title, words}, ranges));
  return out;
}

Section reason_section(const Tally& tally) {
  Section out{"reasons", "What decided", "", {}, {}};
  out.text =
      "The gates, rules and signals that decided, as they stand in the traces (docs/routing.md explains the "
      "names). An answer "
      "can have several.";
  std::vector<std::pair<std::string, int64_t>> all(tally.reasons().begin(), tally.reasons().end());
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  Bars bars;
  out.table = {{"reason", "answers", "share"}};
  std::string words;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto& [name, count] = all[i];
    const std::string share = percent(static_cast<double>(count) / static_cast<double>(tally.answers()));
    out.table.push_back({name, grouped(count), share});
    if (i >= kReasonsShown) continue;
    bars.rows.push_back(
        {name, static_cast<double>(count), 0, fmt::format("{}  ({})", grouped(count), share)});
    words += fmt::format("{}: {}. ", name, grouped(count));
  }
  if (all.size() > kReasonsShown)
    out.text += fmt::format(" The {} most frequent are drawn; the table has all.", kReasonsShown);
  out.charts.push_back(draw_bars({out.id, out.title, words}, bars));
  return out;
}

Section spend_section(const Tally& tally) {
  Section out{"spend", "Upstream tokens and money", "", {}, {}};
  std::vector<Spend> totals(tally.tenants().size());
  for (const auto& [begin, sums] : tally.spend().spans()) {
    for (size_t i = 0; i < sums.by_tenant.size(); ++i) totals[i] += sums.by_tenant[i];
  }
  Spend all;
  for (const Spend& total : totals) all += total;
  if (all.tokens == 0) {
    out.text = "No answer used an upstream token.";
    return out;
  }
  const int64_t span_ms = tally.spend().span_ms();
  const auto tenant_name = [&](size_t i) {
    return tally.tenants()[i].empty() ? "(no tenant)" : tally.tenants()[i];
  };
  const std::vector<int64_t> begins = span_begins(tally.spend());
  std::vector<size_t> shown;  // tenants that spent something
  for (size_t i = 0; i < totals.size(); ++i) {
    if (totals[i].tokens > 0) shown.push_back(i);
  }
  out.table = {{"day", "tenant", "answers", "tokens", "money"}};
  Columns tokens, paid;
  tokens.format = count_text;
  paid.format = count_text;
  tokens.values.resize(shown.size());
  paid.values.resize(shown.size());
  for (const size_t i : shown) tokens.series.push_back(tenant_name(i));
  paid.series = tokens.series;
  for (const int64_t begin : begins) {
    tokens.labels.push_back(span_label(begin, span_ms));
    const auto found = tally.spend().spans().find(begin);
    for (size_t s = 0; s < shown.size(); ++s) {
      Spend sum;
      if (found != tally.spend().spans().end() && shown[s] < found->second.by_tenant.size())
        sum = found->second.by_tenant[shown[s]];
      const double its_money = static_cast<double>(sum.nanos) * kPerNano;
      tokens.values[s].push_back(static_cast<double>(sum.tokens));
      paid.values[s].push_back(its_money);
      if (sum.tokens > 0) {
        out.table.push_back({tokens.labels.back(), tenant_name(shown[s]), grouped(sum.answers),
                             grouped(sum.tokens), sum.nanos > 0 ? money(its_money) : "-"});
      }
    }
  }
  paid.labels = tokens.labels;
  const std::string total = fmt::format("{} tokens, money {}", grouped(all.tokens),
                                        money(static_cast<double>(all.nanos) * kPerNano));
  out.text = fmt::format(
      "Per {} (UTC) and tenant, as upstreams reported them and at the prices of their time, answers that "
      "were broken off included. In all: {}.",
      span_name(span_ms), total);
  out.charts.push_back(
      draw_columns({"tokens", "Upstream tokens", "Upstream tokens per day. In all: " + total + "."}, tokens));
  if (all.nanos > 0)
    out.charts.push_back(draw_columns({"money", "Money", "Money per day. In all: " + total + "."}, paid));
  return out;
}

}  // namespace

std::vector<Section> sections_of(const Tally& tally) {
  if (tally.answers() == 0) return {};
  return {route_section(tally),   quality_section(tally), calibration_section(tally), cost_section(tally),
          latency_section(tally), reason_section(tally),  spend_section(tally)};
}

}  // namespace hedge::cli
