#include "cli/report/page.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/numbers.h"

namespace hedge::cli {
namespace {

constexpr double kPerNano = 1e-9;

std::string utc_minute(int64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(std::clamp<int64_t>(unix_ms / 1000, 0, 253402300799));
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::gmtime(seconds));
}

constexpr const char* kPageStyle = R"(
:root { color-scheme: light dark; --ground:#ffffff; --text:#1b1f24; --soft:#5b636d; --edge:#d5dae0; }
@media (prefers-color-scheme: dark) { :root { --ground:#14171a; --text:#e8eaed; --soft:#a5adb8; --edge:#3a4048; } }
body { background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, "DejaVu Sans", Verdana, sans-serif;
  max-width: 800px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0.2em; } h2 { font-size: 1.15em; margin: 2.2em 0 0.3em; }
p { margin: 0.4em 0 0.8em; max-width: 48em; } .soft { color: var(--soft); }
svg { max-width: 100%; height: auto; display: block; margin: 0.6em 0; }
table { border-collapse: collapse; font-size: 0.92em; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 0.2em 0.9em; border-bottom: 1px solid var(--edge); }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th { font-weight: 600; }
summary { cursor: pointer; color: var(--soft); } .scroll { overflow-x: auto; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
)";

constexpr size_t kOpenRows = 9;  // longer tables are folded

std::string table_html(const Section& section) {
  const auto& table = section.table;
  if (table.size() < 2) return {};
  std::string rows;
  for (size_t i = 0; i < table.size(); ++i) {
    rows += "<tr>";
    for (const std::string& cell : table[i])
      rows += fmt::format("<{0}>{1}</{2}>", i == 0 ? "th scope=\"col\"" : "td", xml_escape(cell),
                          i == 0 ? "th" : "td");
    rows += "</tr>\n";
  }
  return fmt::format(
      "<details{}><summary>Figures</summary><div class=\"scroll\"><table>\n{}</table></div></details>\n",
      table.size() <= kOpenRows ? " open=\"open\"" : "", rows);
}

std::string head_text(const Tally& tally, const ReportFacts& facts) {
  std::string out = fmt::format("{} answers, {} to {} UTC (the last {}).", grouped(tally.answers()),
                                utc_minute(tally.first_ms()), utc_minute(tally.last_ms()), facts.since);
  if (tally.broken_off() > 0)
    out += fmt::format(" {} more were broken off and count for tokens and money alone.",
                       grouped(tally.broken_off()));
  if (tally.without_facts() > 0)
    out += fmt::format(" {} have no facts on record and are not replayed.", grouped(tally.without_facts()));
  if (facts.unreadable > 0) out += fmt::format(" {} could not be read.", grouped(facts.unreadable));
  if (facts.labels > 0) out += fmt::format(" {} votes and labels were read.", grouped(facts.labels));
  if (facts.labels_left_out > 0)
    out += fmt::format(" {} labels more than {} were left out.", grouped(facts.labels_left_out),
                       grouped(Labels::kMax));
  return out;
}

}  // namespace

std::string html_of(const Tally& tally, const std::vector<Section>& sections, const ReportFacts& facts) {
  std::string body;
  if (sections.empty()) {
    body = fmt::format(
        "<p>No answer is on record for the last {}. <code>hedge serve</code> records every decision; a look "
        "further back is "
        "<code>hedge route report --since 30d</code>.</p>\n",
        xml_escape(facts.since));
  } else {
    body = fmt::format("<p class=\"soft\">{} No text of any prompt or answer is in here.</p>\n",
                       xml_escape(head_text(tally, facts)));
  }
  for (const Section& section : sections) {
    body += fmt::format("<section aria-labelledby=\"{0}-h\">\n<h2 id=\"{0}-h\">{1}</h2>\n<p>{2}</p>\n",
                        section.id, xml_escape(section.title), xml_escape(section.text));
    for (const Svg& chart : section.charts) body += chart.inline_text();
    body += table_html(section) + "</section>\n";
  }
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta "
      "charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Hedge: what went "
      "where</title>\n"
      "<style>{}{}</style>\n</head>\n<body>\n<h1>What went where</h1>\n{}</body>\n</html>\n",
      kPageStyle, svg_style(), body);
}

std::string json_of(const Tally& tally, const ReportFacts& facts) {
  using Json = nlohmann::ordered_json;
  const auto times = [](const Times& t) {
    return Json{{"count", t.count()},
                {"p50_ms", t.quantile(0.5)},
                {"p90_ms", t.quantile(0.9)},
                {"p99_ms", t.quantile(0.99)}};
  };
  const auto share = [](const Share& s) {
    return s.count == 0 ? Json()
                        : Json{{"count", s.count}, {"share", s.value()}, {"lo", s.lo()}, {"hi", s.hi()}};
  };
  Json out = {{"since", facts.since},
              {"answers", tally.answers()},
              {"broken_off", tally.broken_off()},
              {"without_facts", tally.without_facts()},
              {"unreadable", facts.unreadable},
              {"labels", facts.labels},
              {"first_ms", tally.first_ms()},
              {"last_ms", tally.last_ms()}};
  for (size_t i = 0; i < kRouteNames.size(); ++i) {
    const Tally::Route& route = tally.routes()[i];
    Json predicted;
    if (route.right.count > 0)
      predicted = {
          {"count", route.right.count}, {"mean", route.right.mean}, {"half_width", route.right.half_width()}};
    out["routes"][std::string(kRouteNames[i])] = {{"answers", route.answers},
                                                  {"right", share(route.labelled)},
                                                  {"right_predicted", predicted},
                                                  {"first_text", times(route.first_text)},
                                                  {"total", times(route.total)}};
  }
  out["upstream_first_text"] = times(tally.upstream_first());
  out["over_time"] = {{"span_ms", tally.over_time().span_ms()}, {"spans", Json::array()}};
  for (const auto& [begin, counts] : tally.over_time().spans()) {
    out["over_time"]["spans"].push_back({{"begin_ms", begin},
                                         {"local", counts.by_route[0]},
                                         {"upstream", counts.by_route[1]},
                                         {"mixed", counts.by_route[2]}});
  }
  out["calibration"] = Json::array();
  for (const Tally::Bin& bin : tally.calibration()) {
    if (bin.wrong.count > 0) {
      out["calibration"].push_back(
          {{"predicted", bin.predicted / static_cast<double>(bin.wrong.count)}, {"wrong", share(bin.wrong)}});
    }
  }
  out["policies"] = Json::array();
  for (const PolicyResult& result : tally.policies()) {
    out["policies"].push_back({{"name", result.name},
                               {"answers", result.spend.answers},
                               {"gone_up", result.up},
                               {"expected_gain", result.gain},
                               {"tokens", result.spend.tokens},
                               {"money", static_cast<double>(result.spend.nanos) * kPerNano}});
  }
  out["reasons"] = Json::object();
  for (const auto& [name, count] : tally.reasons()) out["reasons"][name] = count;
  out["spend"] = {{"span_ms", tally.spend().span_ms()}, {"spans", Json::array()}};
  for (const auto& [begin, sums] : tally.spend().spans()) {
    for (size_t i = 0; i < sums.by_tenant.size(); ++i) {
      const Spend& sum = sums.by_tenant[i];
      if (sum.answers == 0) continue;
      out["spend"]["spans"].push_back({{"begin_ms", begin},
                                       {"tenant", tally.tenants()[i]},
                                       {"answers", sum.answers},
                                       {"tokens", sum.tokens},
                                       {"money", static_cast<double>(sum.nanos) * kPerNano}});
    }
  }
  return out.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hedge::cli
