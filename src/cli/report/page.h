// A report of the decisions: charts with their figures as text, as one HTML page that needs nothing else, as
// SVG files, and as JSON. Pure.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/report/charts.h"
#include "cli/report/tally.h"

namespace hedge::cli {

// A chart with what it says in words and numbers.
struct Section {
  std::string id;
  std::string title;
  std::string text;                             // how to read it; plain text
  std::vector<Svg> charts;                      // none where nothing is known
  std::vector<std::vector<std::string>> table;  // the first row is the head; none: no rows
};

struct ReportFacts {
  std::string since;       // as the user said it
  int64_t unreadable = 0;  // rows of a later program
  int64_t labels = 0, labels_left_out = 0;
};

std::vector<Section> sections_of(const Tally& tally);
std::string html_of(const Tally& tally, const std::vector<Section>& sections, const ReportFacts& facts);
std::string json_of(const Tally& tally, const ReportFacts& facts);

}  // namespace hedge::cli
