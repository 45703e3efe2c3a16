// The kinds of charts that reports are made of. Pure: data to drawing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/report/svg.h"

namespace hedge::cli {

using Format = std::function<std::string(double)>;  // a value as text

// What every chart has. `id` is its name in the page and of its file.
struct ChartHead {
  std::string id;
  std::string title;
  std::string description;
};

inline constexpr double kChartWidth = 760;

// One column per place on the x axis, its parts on each other.
struct Columns {
  std::vector<std::string> labels;
  std::vector<std::string> series;
  std::vector<std::vector<double>> values;  // [series][label]
  bool as_shares = false;                   // each column is drawn as a whole
  Format format;
};
Svg draw_columns(const ChartHead& head, const Columns& data);

// One row per name, a bar from zero.
struct Bars {
  struct Row {
    std::string name;
    double value = 0;
    size_t series = 0;
    std::string text;  // beside the bar
  };
  std::vector<Row> rows;
};
Svg draw_bars(const ChartHead& head, const Bars& data);

// One row per name, values on a common axis: quantiles, or a value within its interval.
struct Ranges {
  struct Row {
    std::string name;
    std::vector<double> values;  // rising; the line goes from the first to the last
    size_t marked = 0;           // drawn as the large dot
    size_t series = 0;
    std::string text;  // at the right
  };
  std::vector<Row> rows;
  bool log = false;
  double lo = 0, hi = 1;  // of the axis, where `fixed`; else from the values
  bool fixed = false;
  std::string axis;
  Format format;
};
Svg draw_ranges(const ChartHead& head, const Ranges& data);

// Named points in a plane, in their order joined by a line where `joined`.
struct Points {
  struct Point {
    double x = 0, y = 0;
    double radius = 6;
    size_t series = 0;
    std::string name;  // beside it; may be empty
    std::string tip;
    double y_lo = 0, y_hi = 0;  // an interval, where y_hi > y_lo
  };
  std::vector<Point> points;
  bool joined = false;
  bool diagonal = false;  // x and y are both 0 to 1, and equal where all is well
  std::string x_axis, y_axis;
  Format x_format, y_format;
};
Svg draw_points(const ChartHead& head, const Points& data);

}  // namespace hedge::cli
