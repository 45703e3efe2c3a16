#include "cli/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/utf8.h"

namespace hedge::cli {
namespace {

// Of DejaVu Sans, the widest of the fonts that are asked for, 12 units high.
constexpr double kWide = 8.4, kMean = 7.3, kNarrow = 4.0;
constexpr size_t kTextBytesMax = 1000;  // longer labels are of no use

// Okabe and Ito (2008), a little darker on white and lighter on black where that is needed for contrast.
struct Colour {
  const char* light;
  const char* dark;
};
constexpr std::array<Colour, kSeriesColours> kSeries = {{{"#0072b2", "#4fa8e0"},
                                                         {"#d55e00", "#f08040"},
                                                         {"#009e73", "#2fc79b"},
                                                         {"#cc79a7", "#e39bc4"},
                                                         {"#e69f00", "#f2b632"},
                                                         {"#56b4e9", "#8fd0f7"},
                                                         {"#7f6a00", "#d9c84a"},
                                                         {"#777777", "#a8a8a8"}}};
struct Ink {
  const char *text, *soft, *rule, *ground;
};
constexpr Ink kLight = {"#1b1f24", "#5b636d", "#dfe3e8", "#ffffff"};
constexpr Ink kDark = {"#e8eaed", "#a5adb8", "#3a4048", "#14171a"};

std::string number(double value) {
  if (!std::isfinite(value)) value = 0;
  std::string out = fmt::format("{:.2f}", value);
  while (out.back() == '0') out.pop_back();
  if (out.back() == '.') out.pop_back();
  return out == "-0" ? "0" : out;
}

std::string tip_of(std::string_view tip) {
  return tip.empty() ? "/>" : fmt::format("><title>{}</title>", xml_escape(tip));
}

}  // namespace

std::string svg_style() {
  // Not with custom properties: many viewers of SVG files do not know them.
  const auto rules = [](bool dark) {
    std::string out;
    for (size_t i = 0; i < kSeries.size(); ++i) {
      const char* const colour = dark ? kSeries[i].dark : kSeries[i].light;
      out +=
          fmt::format(".hedge-svg .s{0} {{ fill: {1}; }} .hedge-svg .l{0} {{ stroke: {1}; }}\n", i, colour);
    }
    const Ink& ink = dark ? kDark : kLight;
    return out +
           fmt::format(
               ".hedge-svg .ink, .hedge-svg .bold {{ fill: {}; }} .hedge-svg .dim {{ fill: {}; }}\n"
               ".hedge-svg .axis, .hedge-svg .dashed {{ stroke: {}; }} .hedge-svg .rule {{ stroke: {}; }}\n"
               ".hedge-svg .ground {{ fill: {}; }}\n",
               ink.text, ink.soft, ink.soft, ink.rule, ink.ground);
  };
  return fmt::format(
      ".hedge-svg {{ font-family: system-ui, \"DejaVu Sans\", Verdana, sans-serif; font-size: 12px; }}\n"
      ".hedge-svg .bold {{ font-weight: 600; }} .hedge-svg .wide {{ stroke-width: 2.5; fill: none; }}\n"
      ".hedge-svg .rule, .hedge-svg .axis {{ stroke-width: 1; }}\n"
      ".hedge-svg .dashed {{ stroke-width: 1; stroke-dasharray: 4 4; fill: none; }}\n"
      "{}@media (prefers-color-scheme: dark) {{\n{}}}\n",
      rules(false), rules(true));
}

double Scale::at(double value) const {
  double share = 0;
  if (log) {
    const double low = std::log(std::max(lo, 1e-300)), high = std::log(std::max(hi, 1e-300));
    share = value > 0 && high > low ? (std::log(value) - low) / (high - low) : 0;
  } else {
    share = hi > lo ? (value - lo) / (hi - lo) : 0;
  }
  if (!std::isfinite(share)) share = 0;
  return from + std::clamp(share, 0.0, 1.0) * (to - from);
}

std::vector<double> nice_ticks(double lo, double hi, int count) {
  if (!std::isfinite(lo)) lo = 0;
  if (!std::isfinite(hi)) hi = lo;
  if (hi < lo) std::swap(lo, hi);
  if (hi - lo <= 1e-12 * std::max({std::abs(lo), std::abs(hi), 1e-300}))
    hi = lo + (lo == 0 ? 1 : std::abs(lo));
  const double rough = (hi - lo) / std::max(count, 1);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = power;
  for (const double times : {1.0, 2.0, 5.0, 10.0}) {
    step = times * power;
    if (step >= rough * (1 - 1e-9)) break;
  }
  std::vector<double> ticks;
  const double first = std::floor(lo / step + 1e-9);
  for (int i = 0; i <= 2 * std::max(count, 1) + 2; ++i) {
    ticks.push_back((first + i) * step);
    if (ticks.back() >= hi - 1e-9 * step) break;
  }
  return ticks;
}

std::vector<double> log_ticks(double lo, double hi) {
  if (!(lo > 0) || !std::isfinite(lo)) lo = 1;
  if (!(hi >= lo) || !std::isfinite(hi)) hi = lo;
  const int first = static_cast<int>(std::floor(std::log10(lo) + 1e-9));
  const int last = std::max(first + 1, static_cast<int>(std::ceil(std::log10(hi) - 1e-9)));
  std::vector<double> ticks;
  for (int power = first; power <= last; ++power) {
    for (const double times : {1.0, 2.0, 5.0}) {
      if (times > 1 && (last - first > 2 || power == last)) continue;
      ticks.push_back(times * std::pow(10.0, power));
    }
  }
  // The ends hug the values.
  while (ticks.size() > 2 && ticks[1] <= lo) ticks.erase(ticks.begin());
  while (ticks.size() > 2 && ticks[ticks.size() - 2] >= hi) ticks.pop_back();
  return ticks;
}

std::string xml_escape(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = utf8_next(text, at);
    const bool control =
        (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0) || c == 0xfffe || c == 0xffff;
    if (control || c == U'\uFFFD') {
      utf8_append(out, U'\uFFFD');
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += text.substr(begin, at - begin);
    }
  }
  return out;
}

double text_width(std::string_view text) {
  double width = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = utf8_next(text, at);
    const bool wide = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == 'm' || c == 'w' || c == '%';
    const bool narrow =
        c == 'i' || c == 'l' || c == 'j' || c == '.' || c == ',' || c == ' ' || c == '|' || c == '\'';
    width += c >= 0x1100 ? 12 : wide ? kWide : narrow ? kNarrow : kMean;
  }
  return width;
}

std::string fit_text(std::string_view text, double width) {
  text = text.substr(0, utf8_complete_prefix(text.substr(0, kTextBytesMax)));
  if (text_width(text) <= width) return std::string(text);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    utf8_next(text, at);
    if (text_width(out) + text_width("...") + kWide > width) break;
    out += text.substr(begin, at - begin);
  }
  return out + "...";
}

std::string series_class(size_t index) { return fmt::format("s{}", index % kSeriesColours); }

Svg::Svg(std::string id, double width, double height, std::string title, std::string description)
    : id_(std::move(id)),
      title_(std::move(title)),
      description_(std::move(description)),
      width_(width),
      height_(height) {}

void Svg::rect(double x, double y, double width, double height, std::string_view css, std::string_view tip) {
  body_ += fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}" class="{}"{})", number(x), number(y),
                       number(std::max(width, 0.0)), number(std::max(height, 0.0)), css, tip_of(tip));
  if (!tip.empty()) body_ += "</rect>";
  body_ += '\n';
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css) {
  body_ += fmt::format(R"(<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>)", number(x1), number(y1),
                       number(x2), number(y2), css);
  body_ += '\n';
}

void Svg::circle(double x, double y, double radius, std::string_view css, std::string_view tip) {
  body_ += fmt::format(R"(<circle cx="{}" cy="{}" r="{}" class="{}"{})", number(x), number(y), number(radius),
                       css, tip_of(tip));
  if (!tip.empty()) body_ += "</circle>";
  body_ += '\n';
}

void Svg::text(double x, double y, std::string_view text, std::string_view css, Anchor anchor) {
  const char* const name = anchor == Anchor::kStart ? "start" : anchor == Anchor::kMiddle ? "middle" : "end";
  body_ += fmt::format(R"(<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>)", number(x), number(y),
                       css, name, xml_escape(text));
  body_ += '\n';
}

void Svg::path(const std::vector<std::pair<double, double>>& points, std::string_view css) {
  std::string way;
  for (const auto& [x, y] : points)
    way += fmt::format("{}{} {}", way.empty() ? "M" : " L", number(x), number(y));
  body_ += fmt::format(R"(<path d="{}" class="{}"/>)", way, css);
  body_ += '\n';
}

std::string Svg::text_with(std::string_view style) const {
  return fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" class="hedge-svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-labelledby="{2}-title {2}-desc">
<title id="{2}-title">{3}</title>
<desc id="{2}-desc">{4}</desc>
{5}{6}</svg>
)",
      number(width_), number(height_), xml_escape(id_), xml_escape(title_), xml_escape(description_), style,
      body_);
}

std::string Svg::inline_text() const { return text_with({}); }

std::string Svg::file_text() const {
  // A file has no page behind it: it brings a ground of its own.
  return text_with(fmt::format("<style>{}</style>\n<rect width=\"100%\" height=\"100%\" class=\"ground\"/>\n",
                               svg_style()));
}

}  // namespace hedge::cli
