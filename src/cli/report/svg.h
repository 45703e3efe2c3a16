// A small layer for drawings: scales with nice ticks, and SVG elements whose text cannot break out of them.
// Colours are classes ("s0" to "s7", "ink", "dim", ...) that svg_style() defines for light and dark; they can
// be told apart with every kind of colour vision. Lengths are user units of the viewBox, about pixels.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedge::cli {

// From a value to a place. A logarithmic one takes values above zero; smaller ones stand at its beginning.
struct Scale {
  double lo = 0, hi = 1;      // values
  double from = 0, to = 100;  // places
  bool log = false;

  double at(double value) const;  // clamped to [from, to]
};

// Multiples of 1, 2 or 5 times a power of ten that hold [0 or lo, hi]; about `count` of them, the first <= lo
// and the last >= hi. lo == hi, NaN and infinity give a range that can be drawn.
std::vector<double> nice_ticks(double lo, double hi, int count);
// 1, 10, 100 ... around [lo, hi], with 2 and 5 between where those are few. Both are above zero.
std::vector<double> log_ticks(double lo, double hi);

// Text as it may stand between tags and in attributes; control characters and broken UTF-8 become U+FFFD.
std::string xml_escape(std::string_view text);

// About how wide a text is in the font of the drawings (12 units high).
double text_width(std::string_view text);
// Cut with "..." to fit into `width`.
std::string fit_text(std::string_view text, double width);

inline constexpr size_t kSeriesColours = 8;
std::string series_class(size_t index);  // "s0" ... "s7", then again from "s0"

// What defines the classes, for a page's or a drawing's <style>.
std::string svg_style();

enum class Anchor { kStart, kMiddle, kEnd };

class Svg {
 public:
  // `title` and `description` are what a screen reader says; `id` is unique in the page.
  Svg(std::string id, double width, double height, std::string title, std::string description);

  void rect(double x, double y, double width, double height, std::string_view css, std::string_view tip = {});
  void line(double x1, double y1, double x2, double y2, std::string_view css);
  void circle(double x, double y, double radius, std::string_view css, std::string_view tip = {});
  void text(double x, double y, std::string_view text, std::string_view css = "ink",
            Anchor anchor = Anchor::kStart);
  void path(const std::vector<std::pair<double, double>>& points, std::string_view css);

  const std::string& id() const { return id_; }
  // The element for a page; the page has the style.
  std::string inline_text() const;
  // A file of its own.
  std::string file_text() const;

 private:
  std::string text_with(std::string_view style) const;

  const std::string id_, title_, description_;
  const double width_, height_;
  std::string body_;
};

}  // namespace hedge::cli
