#include "cli/report/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hedge::cli {
namespace {

constexpr double kTop = 14;        // above the plot
constexpr double kLegend = 26;     // of a row of the legend
constexpr double kRow = 30;        // of a row with a name
constexpr double kNamesMax = 210;  // longest names are cut
constexpr double kTextRoom = 170;  // beside bars
constexpr double kPlotHeight = 230;
constexpr double kBaseline = 4;  // from a text's middle down to its baseline

double widest(const std::vector<std::string>& texts) {
  double width = 0;
  for (const std::string& text : texts) width = std::max(width, text_width(text));
  return width;
}

std::string text_of(const Format& format, double value) {
  return format ? format(value) : fmt::format("{:g}", value);
}

// How high the rows are that legend() will need.
double legend_height(const std::vector<std::string>& names, double left) {
  double x = left, rows = 1;
  for (const std::string& name : names) {
    const double width = 18 + text_width(fit_text(name, kNamesMax)) + 18;
    if (x + width > kChartWidth && x > left) {
      x = left;
      ++rows;
    }
    x += width;
  }
  return names.size() < 2 ? 0 : rows * kLegend;
}

void legend(Svg& svg, const std::vector<std::string>& names, double left, double top) {
  if (names.size() < 2) return;
  double x = left, y = top + kLegend / 2;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string name = fit_text(names[i], kNamesMax);
    const double width = 18 + text_width(name) + 18;
    if (x + width > kChartWidth && x > left) {
      x = left;
      y += kLegend;
    }
    svg.rect(x, y - 6, 12, 12, series_class(i));
    svg.text(x + 18, y + kBaseline, name);
    x += width;
  }
}

// Rules and texts of the y axis, which stand left of `left`.
void y_axis(Svg& svg, const Scale& scale, const std::vector<double>& ticks, const Format& format, double left,
            double right) {
  for (const double tick : ticks) {
    const double y = scale.at(tick);
    svg.line(left, y, right, y, "rule");
    svg.text(left - 8, y + kBaseline, text_of(format, tick), "dim", Anchor::kEnd);
  }
}

std::vector<std::string> texts_of(const std::vector<double>& ticks, const Format& format) {
  std::vector<std::string> texts;
  for (const double tick : ticks) texts.push_back(text_of(format, tick));
  return texts;
}

// The x axis; texts that would touch the one before them are left out.
void x_axis(Svg& svg, const Scale& scale, const std::vector<double>& ticks, const Format& format, double top,
            double bottom) {
  double taken = -1e9;
  for (const double tick : ticks) {
    const double x = scale.at(tick);
    svg.line(x, top, x, bottom, "rule");
    const std::string text = text_of(format, tick);
    const double half = text_width(text) / 2;
    if (x - half < taken + 8) continue;
    svg.text(x, bottom + 18, text, "dim", Anchor::kMiddle);
    taken = x + half;
  }
}

}  // namespace

Svg draw_columns(const ChartHead& head, const Columns& data) {
  std::vector<double> sums(data.labels.size(), 0);
  for (const auto& series : data.values) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += series[i];
  }
  const double most = data.as_shares || sums.empty() ? 1 : *std::max_element(sums.begin(), sums.end());
  const std::vector<double> ticks = nice_ticks(0, most, 4);
  const double left = std::min(widest(texts_of(ticks, data.format)) + 14, kNamesMax);
  const double over = legend_height(data.series, left);
  const double top = over + kTop, bottom = top + kPlotHeight, right = kChartWidth - 8;
  Svg svg(head.id, kChartWidth, bottom + 30, head.title, head.description);
  legend(svg, data.series, left, 0);
  const Scale y{0, ticks.back(), bottom, top};
  y_axis(svg, y, ticks, data.format, left, right);
  const double step = (right - left) / static_cast<double>(std::max<size_t>(data.labels.size(), 1));
  const double gap = std::min(step * 0.2, 6.0);
  const double width = std::min(step - gap, 80.0);
  double taken = -1e9;
  for (size_t i = 0; i < data.labels.size(); ++i) {
    const double x = left + step * static_cast<double>(i) + (step - width) / 2;
    double below = 0;
    for (size_t s = 0; s < data.values.size(); ++s) {
      const double part = data.values[s][i];
      if (part <= 0 || sums[i] <= 0) continue;
      const double scale = data.as_shares ? 1 / sums[i] : 1;
      const double from = y.at(below * scale), to = y.at((below + part) * scale);
      std::string tip = fmt::format("{}, {}: {}", data.labels[i], data.series[s],
                                    text_of(data.format, data.as_shares ? part / sums[i] : part));
      if (data.as_shares) tip += fmt::format(" of {:g}", sums[i]);
      svg.rect(x, to, width, from - to, series_class(s), tip);
      below += part;
    }
    const double middle = x + width / 2, half = text_width(data.labels[i]) / 2;
    if (middle - half < taken + 10 || middle + half > kChartWidth) continue;
    svg.text(middle, bottom + 18, data.labels[i], "dim", Anchor::kMiddle);
    taken = middle + half;
  }
  svg.line(left, bottom, right, bottom, "axis");
  return svg;
}

Svg draw_bars(const ChartHead& head, const Bars& data) {
  std::vector<std::string> names;
  double most = 0;
  for (const Bars::Row& row : data.rows) {
    names.push_back(fit_text(row.name, kNamesMax));
    most = std::max(most, row.value);
  }
  const double left = widest(names) + 14, right = kChartWidth - kTextRoom;
  Svg svg(head.id, kChartWidth, static_cast<double>(data.rows.size()) * kRow + kTop, head.title,
          head.description);
  const Scale x{0, most > 0 ? most : 1, left, right};
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const Bars::Row& row = data.rows[i];
    const double y = kTop / 2 + kRow * (static_cast<double>(i) + 0.5);
    svg.text(left - 10, y + kBaseline, names[i], "ink", Anchor::kEnd);
    const double end = x.at(row.value);
    svg.rect(left, y - 9, std::max(end - left, row.value > 0 ? 1.5 : 0.0), 18, series_class(row.series));
    svg.text(end + 8, y + kBaseline, fit_text(row.text, kChartWidth - end - 10));
  }
  svg.line(left, kTop / 2, left, kTop / 2 + kRow * static_cast<double>(data.rows.size()), "axis");
  return svg;
}

Svg draw_ranges(const ChartHead& head, const Ranges& data) {
  std::vector<std::string> names, texts;
  double lo = data.lo, hi = data.hi;
  bool first = !data.fixed;
  for (const Ranges::Row& row : data.rows) {
    names.push_back(fit_text(row.name, kNamesMax));
    texts.push_back(row.text);
    for (const double value : row.values) {
      if (data.fixed || (data.log && value <= 0)) continue;
      lo = first ? value : std::min(lo, value);
      hi = first ? value : std::max(hi, value);
      first = false;
    }
  }
  const std::vector<double> ticks =
      data.log ? log_ticks(lo, hi) : nice_ticks(data.fixed ? lo : std::min(lo, 0.0), hi, 5);
  const double left = widest(names) + 22;
  const double right = kChartWidth - std::min(widest(texts) + 26, kChartWidth * 0.45);
  const double top = kTop, bottom = top + kRow * static_cast<double>(data.rows.size());
  Svg svg(head.id, kChartWidth, bottom + (data.axis.empty() ? 28 : 46), head.title, head.description);
  const Scale x{ticks.front(), ticks.back(), left, right, data.log};
  x_axis(svg, x, ticks, data.format, top, bottom);
  if (!data.axis.empty()) svg.text((left + right) / 2, bottom + 38, data.axis, "dim", Anchor::kMiddle);
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const Ranges::Row& row = data.rows[i];
    const double y = top + kRow * (static_cast<double>(i) + 0.5);
    svg.text(left - 14, y + kBaseline, names[i], "ink", Anchor::kEnd);
    if (!row.values.empty()) {
      const std::string line_css = fmt::format("l{} wide", row.series % kSeriesColours);
      svg.line(x.at(row.values.front()), y, x.at(row.values.back()), y, line_css);
      for (size_t v = 0; v < row.values.size(); ++v)
        svg.circle(x.at(row.values[v]), y, v == row.marked ? 6 : 3.5, series_class(row.series),
                   text_of(data.format, row.values[v]));
    }
    svg.text(right + 18, y + kBaseline, fit_text(row.text, kChartWidth - right - 18));
  }
  return svg;
}

namespace {

// A name beside its point: where it touches no other name and no point, as far as that goes.
class Names {
 public:
  explicit Names(double right) : right_(right) {}

  void block(double x, double y, double radius) {
    boxes_.push_back({x - radius, y - radius, x + radius, y + radius});
  }

  void block_box(double x1, double y1, double x2, double y2) { boxes_.push_back({x1, y1, x2, y2}); }

  void place(Svg& svg, double x, double y, double radius, const std::string& name) {
    const double width = text_width(name) + 4;
    struct Place {
      double x, y;
    };
    const double near = radius + 6;
    const Place places[] = {
        {x + near, y - 7},         {x - near - width, y - 7}, {x - width / 2, y - near - 14},
        {x - width / 2, y + near}, {x + near, y + 8},         {x + near, y - 22},
        {x - near - width, y + 8}, {x - near - width, y - 22}};
    const Place* best = &places[0];
    double least = 1e300;
    for (const Place& place : places) {
      const Box box{place.x, place.y, place.x + width, place.y + 14};
      double cost = box.x2 > right_ || box.x1 < 0 || box.y1 < 0 ? 1e6 : 0;
      for (const Box& other : boxes_) cost += overlap(box, other);
      if (cost < least) {
        least = cost;
        best = &place;
      }
    }
    boxes_.push_back({best->x, best->y, best->x + width, best->y + 14});
    svg.text(best->x + 2, best->y + 11, name);
  }

 private:
  struct Box {
    double x1, y1, x2, y2;
  };
  static double overlap(const Box& a, const Box& b) {
    const double x = std::min(a.x2, b.x2) - std::max(a.x1, b.x1),
                 y = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
    return x > 0 && y > 0 ? x * y : 0;
  }
  const double right_;
  std::vector<Box> boxes_;
};

}  // namespace

Svg draw_points(const ChartHead& head, const Points& data) {
  double x_hi = data.diagonal ? 1 : 0, y_hi = x_hi, y_lo = 0;
  for (const Points::Point& point : data.points) {
    x_hi = std::max(x_hi, point.x);
    y_hi = std::max({y_hi, point.y, point.y_hi});
    y_lo = std::min({y_lo, point.y, point.y_hi > point.y_lo ? point.y_lo : point.y});
  }
  const std::vector<double> x_ticks = nice_ticks(0, x_hi, 5), y_ticks = nice_ticks(y_lo, y_hi, 5);
  const double left = widest(texts_of(y_ticks, data.y_format)) + 18, right = kChartWidth - 30;
  const double top = 34, bottom = top + kPlotHeight + 30;
  Svg svg(head.id, kChartWidth, bottom + 46, head.title, head.description);
  svg.text(4, 16, data.y_axis, "dim");
  const Scale x{x_ticks.front(), x_ticks.back(), left, right},
      y{y_ticks.front(), y_ticks.back(), bottom, top};
  y_axis(svg, y, y_ticks, data.y_format, left, right);
  x_axis(svg, x, x_ticks, data.x_format, top, bottom);
  svg.text((left + right) / 2, bottom + 38, data.x_axis, "dim", Anchor::kMiddle);
  svg.line(left, bottom, right, bottom, "axis");
  if (data.diagonal) svg.path({{x.at(0), y.at(0)}, {x.at(1), y.at(1)}}, "dashed");
  Names names(kChartWidth);
  names.block_box(0, bottom - 2, kChartWidth, bottom + 46);  // the axis
  std::vector<std::pair<double, double>> way;
  for (const Points::Point& point : data.points) {
    way.emplace_back(x.at(point.x), y.at(point.y));
    names.block(way.back().first, way.back().second, point.radius);
  }
  if (data.joined && way.size() > 1) svg.path(way, "l0 wide");
  for (size_t i = 0; i < data.points.size(); ++i) {
    const Points::Point& point = data.points[i];
    if (point.y_hi > point.y_lo) {
      svg.line(way[i].first, y.at(point.y_lo), way[i].first, y.at(point.y_hi),
               fmt::format("l{} wide", point.series % kSeriesColours));
    }
    svg.circle(way[i].first, way[i].second, point.radius, series_class(point.series),
               point.tip.empty() ? point.name : point.tip);
  }
  for (size_t i = 0; i < data.points.size(); ++i) {
    if (!data.points[i].name.empty())
      names.place(svg, way[i].first, way[i].second, data.points[i].radius, data.points[i].name);
  }
  return svg;
}

}  // namespace hedge::cli
