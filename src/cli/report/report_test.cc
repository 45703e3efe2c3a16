#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/feedback_file.h"
#include "cli/report/page.h"
#include "cli/test_util.h"
#include "route/situation.h"

namespace hedge::cli {
namespace {

// Enough of XML to see that tags are closed in order and that attributes are quoted. The end-to-end test
// parses reports with Python's parser.
std::string xml_problem(std::string_view text) {
  std::vector<std::string> open;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '>') return "a bare '>'";
    if (text[at] != '<') continue;
    const size_t end = text.find('>', at);
    if (end == std::string_view::npos) return "a tag that never ends";
    std::string_view tag = text.substr(at + 1, end - at - 1);
    at = end;
    if (tag.starts_with('!')) continue;
    const std::string name(tag.substr(0, tag.find_first_of(" /\n", 1)));
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "quotes in " + name;
    if (tag.find('<') != std::string_view::npos) return "a '<' in " + name;
    if (name.starts_with('/')) {
      if (open.empty() || "/" + open.back() != name) return name + " closes what is not open";
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : open.back() + " stays open";
}

chat::Trace trace_of(int64_t created_ms, std::string route, double p_wrong, int id) {
  route::Situation situation;
  situation.facts.has_upstream = situation.facts.upstream_available = situation.facts.upstream_can_read =
      true;
  situation.facts.hops_left = true;
  situation.rule.prompt_tokens = situation.load.prompt_tokens = 100;
  situation.gain.value = 0.5;
  chat::Trace trace;
  trace.id = "hd-" + std::to_string(id);
  trace.route = std::move(route);
  trace.reasons = {trace.route == "local" ? "confidence.ok" : "confidence.first"};
  trace.facts = route::facts_of(situation);
  trace.facts.push_back({"answer_tokens", "", 50, false});
  trace.facts.push_back({"first_text_ms", "", 100.0 + id % 50, false});
  if (trace.route != "local") {
    trace.upstream_tokens = 150;
    trace.upstream_nanos = 2'000'000;
    trace.tenant = id % 2 == 0 ? "office" : "";
    trace.facts.push_back({"upstream_text_ms", "", 300, false});
  } else if (p_wrong >= 0) {
    trace.steps.push_back({10, "confidence.probe", "", p_wrong, 0.5});
  }
  trace.total_ms = 1000 + id;
  trace.created_ms = created_ms;
  return trace;
}

route::Policy priced() {
  route::Policy policy;
  policy.prices.upstream_in = 1;
  policy.prices.upstream_out = 10;
  return policy;
}

constexpr int64_t kStartMs = 1'700'000'000'000;

TEST(Ticks, HoldTheirRangeInNiceSteps) {
  EXPECT_EQ(nice_ticks(0, 1, 5), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(nice_ticks(0, 7, 4), (std::vector<double>{0, 2, 4, 6, 8}));
  EXPECT_EQ(nice_ticks(0, 100, 4).back(), 100);
  for (const double hi : {1e-9, 0.37, 1.0, 12.0, 99.9, 12345.0, 1e15}) {
    for (const double lo : {0.0, -hi, hi / 3}) {
      const auto ticks = nice_ticks(lo, hi, 5);
      EXPECT_LE(ticks.front(), lo + 1e-9 * hi);
      EXPECT_GE(ticks.back(), hi * (1 - 1e-9));
      EXPECT_GE(ticks.size(), 3U);
      EXPECT_LE(ticks.size(), 12U);
    }
  }
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  for (const auto& [lo, hi] :
       {std::pair(nan, nan), std::pair(0.0, inf), std::pair(3.0, 3.0), std::pair(0.0, 0.0)}) {
    for (const double tick : nice_ticks(lo, hi, 5)) EXPECT_TRUE(std::isfinite(tick));
    EXPECT_GE(nice_ticks(lo, hi, 5).size(), 2U);
  }
  EXPECT_EQ(log_ticks(30, 4000), (std::vector<double>{10, 100, 1000, 10000}));
  EXPECT_EQ(log_ticks(120, 900), (std::vector<double>{100, 200, 500, 1000}));
  EXPECT_GE(log_ticks(0, 0).size(), 2U);
}

TEST(ScaleTest, ClampsAndTakesLogarithms) {
  const Scale linear{0, 10, 100, 200};
  EXPECT_EQ(linear.at(5), 150);
  EXPECT_EQ(linear.at(-5), 100);
  EXPECT_EQ(linear.at(1e300), 200);
  EXPECT_EQ(linear.at(std::nan("")), 100);
  const Scale log{1, 100, 0, 2, true};
  EXPECT_NEAR(log.at(10), 1, 1e-12);
  EXPECT_EQ(log.at(0), 0);
  EXPECT_EQ((Scale{3, 3, 7, 9}).at(3), 7);
}

TEST(SvgTest, WhatComesFromOutsideStaysText) {
  const std::string bad = "<script>&\"'\x01\xff]]></svg>";
  Svg svg("id", 10, 10, bad, bad);
  svg.text(1, 2, bad);
  svg.rect(0, 0, 1, 1, "s0", bad);
  const std::string text = svg.file_text();
  EXPECT_EQ(xml_problem(text), "") << text;
  EXPECT_EQ(text.find("<script>"), std::string::npos);
  EXPECT_EQ(text.find('\x01'), std::string::npos);
  EXPECT_NE(text.find("&lt;script&gt;&amp;&quot;"), std::string::npos);
  EXPECT_NE(text.find("role=\"img\" aria-labelledby=\"id-title id-desc\""), std::string::npos);
  EXPECT_EQ(fit_text("short", 100), "short");
  const std::string cut = fit_text(std::string(5000, 'w'), 100);
  EXPECT_LE(text_width(cut), 100);
  EXPECT_TRUE(cut.ends_with("..."));
}

TEST(SharesAndTimes, MatchPublishedValues) {
  Share share{81, 263};  // Newcombe (1998), table I: 0.2553 to 0.3662
  EXPECT_NEAR(share.lo(), 0.2553, 1e-4);
  EXPECT_NEAR(share.hi(), 0.3662, 1e-4);
  EXPECT_EQ(Share().lo(), 0);
  EXPECT_EQ(Share().hi(), 1);
  Mean mean;
  for (const double x : {2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0}) mean.add(x);
  EXPECT_NEAR(mean.mean, 5, 1e-12);
  EXPECT_NEAR(mean.squares, 32, 1e-12);
  Times times;
  for (int i = 1; i <= 1000; ++i) times.add(i);
  EXPECT_NEAR(times.quantile(0.5), 500, 6);
  EXPECT_NEAR(times.quantile(0.99), 990, 11);
  times.add(std::nan(""));
  times.add(-1);
  times.add(1e300);
  EXPECT_EQ(times.count(), 1001);
  EXPECT_GT(times.quantile(1), 1e8);
}

TEST(TimelineTest, GrowsItsSpansAndLosesNothing) {
  Timeline<RouteCounts> timeline(60'000);
  int64_t at = kStartMs, count = 0;
  for (int64_t step = 1000; at < kStartMs + int64_t{4} * 365 * 86'400'000; step += step / 50 + 1, ++count) {
    ++timeline.at(at).by_route[0];
    ASSERT_LE(timeline.spans().size(), Timeline<RouteCounts>::kSpans + 1);
    at += step;
  }
  int64_t sum = 0;
  for (const auto& [begin, counts] : timeline.spans()) {
    EXPECT_EQ(begin % timeline.span_ms(), 0);
    sum += counts.by_route[0];
  }
  EXPECT_EQ(sum, count);
  EXPECT_GT(timeline.span_ms(), int64_t{86'400'000});
}

TEST(TallyTest, AddsUpWhatTheTracesSay) {
  Labels labels;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(labels.set("hd-" + std::to_string(i), i % 4 != 0));
  const route::Policy policy = priced();
  Tally tally(policy, labels);
  for (int i = 0; i < 200; ++i) {
    const std::string route = i % 2 == 0 ? "local" : i % 4 == 1 ? "upstream" : "mixed";
    tally.add(trace_of(kStartMs + i * 3'600'000LL, route, 0.25, i));
  }
  chat::Trace broken = trace_of(kStartMs + 201 * 3'600'000LL, "upstream", -1, 1000);
  broken.reasons = {"cancelled"};
  tally.add(broken);
  EXPECT_EQ(tally.answers(), 200);
  EXPECT_EQ(tally.broken_off(), 1);
  EXPECT_EQ(tally.replayed(), 200);
  EXPECT_EQ(tally.routes()[0].answers, 100);
  EXPECT_EQ(tally.routes()[1].answers, 50);
  EXPECT_EQ(tally.routes()[0].labelled.count, 50);
  EXPECT_EQ(tally.routes()[0].labelled.hits, 25);  // every fourth of all is every second of these
  EXPECT_NEAR(tally.routes()[0].right.mean, 0.75, 1e-12);
  EXPECT_EQ(tally.calibration()[2].wrong.count, 50);
  EXPECT_EQ(tally.calibration()[2].wrong.hits, 25);
  EXPECT_EQ(tally.predictions(), 100);
  EXPECT_EQ(tally.upstream_first().count(), 100);
  // Recorded: half went up; local-only: none and no cost; upstream-first: all.
  ASSERT_EQ(tally.policies().size(), 6U);
  EXPECT_EQ(tally.policies()[0].up, 100);
  EXPECT_NEAR(tally.policies()[0].gain, 50, 1e-9);
  EXPECT_EQ(tally.policies()[0].spend.nanos, 100 * (100 * 1000 + 50 * 10'000));
  for (const PolicyResult& result : tally.policies()) {
    if (result.name == "local-only") {
      EXPECT_EQ(result.up, 0);
      EXPECT_EQ(result.spend.nanos, 0);
    }
    if (result.name == "upstream-first") {
      EXPECT_EQ(result.up, 200);
    }
  }
  int64_t office = 0;
  for (const auto& [begin, spend] : tally.spend().spans()) {
    if (spend.by_tenant.size() > 1) office += spend.by_tenant[1].tokens;
  }
  EXPECT_EQ(tally.tenants(), (std::vector<std::string>{"", "office"}));
  EXPECT_EQ(office, 150);  // only the answer that was broken off has an even number
}

TEST(TallyTest, IsBoundedWhateverTheLogHolds) {
  Labels labels;
  Tally tally(priced(), labels);
  for (int i = 0; i < 2000; ++i) {
    chat::Trace trace = trace_of(kStartMs + i * 86'400'000LL, "local", -1, i);
    trace.tenant = "t" + std::to_string(i);
    trace.reasons = {"reason." + std::to_string(i)};
    trace.route = i % 3 == 0 ? "nonsense" : "local";
    tally.add(trace);
  }
  EXPECT_EQ(tally.tenants().size(), Tally::kTenantsMax);
  EXPECT_EQ(tally.tenants().back(), "other");
  EXPECT_EQ(tally.reasons().size(), Tally::kReasonsMax + 1);
  EXPECT_EQ(tally.reasons().at("other"), 2000 - static_cast<int64_t>(Tally::kReasonsMax));
}

TEST(Page, IsWellFormedAndSaysWhatIsThere) {
  Labels labels;
  for (int i = 0; i < 300; ++i) labels.set("hd-" + std::to_string(i), i % 3 != 0);
  const route::Policy policy = priced();
  Tally tally(policy, labels);
  for (int i = 0; i < 300; ++i) {
    chat::Trace trace =
        trace_of(kStartMs + i * 600'000LL, i % 5 == 0 ? "upstream" : "local", (i % 10) / 10.0, i);
    if (i == 7) trace.reasons = {"<b>&\"odd\""};
    if (i % 5 == 0) trace.tenant = "<tenant>";
    tally.add(trace);
  }
  const auto sections = sections_of(tally);
  ASSERT_EQ(sections.size(), 7U);
  for (const Section& section : sections) {
    EXPECT_FALSE(section.charts.empty()) << section.id;
    for (const Svg& chart : section.charts) EXPECT_EQ(xml_problem(chart.file_text()), "") << section.id;
  }
  const std::string page = html_of(tally, sections, {"7d", 0, 300, 0});
  EXPECT_EQ(xml_problem(page), "");
  for (const char* said : {"300 answers", "Who answered", "ECE", "cheapest-sufficient", "99th percentile",
                           "&lt;tenant&gt;", "&lt;b&gt;", "(prefers-color-scheme: dark)"})
    EXPECT_NE(page.find(said), std::string::npos) << said;
  for (const char* absent : {"http://127", "src=", "<script", "@import", "url("})
    EXPECT_EQ(page.find(absent), std::string::npos) << absent;
  const auto json = nlohmann::json::parse(json_of(tally, {"7d", 0, 300, 0}));
  EXPECT_EQ(json["routes"]["local"]["answers"], 240);
  EXPECT_EQ(json["policies"].size(), 6U);
}

TEST(Page, SaysPlainlyWhatIsNotKnown) {
  Labels labels;
  Tally empty(priced(), labels);
  const std::string nothing = html_of(empty, sections_of(empty), {"7d", 0, 0, 0});
  EXPECT_EQ(xml_problem(nothing), "");
  EXPECT_NE(nothing.find("hedge serve"), std::string::npos);
  EXPECT_TRUE(nlohmann::json::accept(json_of(empty, {"7d", 0, 0, 0})));
  Tally bare(priced(), labels);
  chat::Trace trace;
  trace.id = "hd-1";
  trace.route = "local";
  trace.created_ms = kStartMs;
  bare.add(trace);
  const std::string page = html_of(bare, sections_of(bare), {"7d", 0, 0, 0});
  EXPECT_EQ(xml_problem(page), "");
  for (const char* said :
       {"Nothing is known", "Not enough data", "Nothing can be replayed", "No answer used"})
    EXPECT_NE(page.find(said), std::string::npos) << said;
}

TEST(Feedback, IsAppendedReadAndMixedWithLabels) {
  const TempFolder folder;
  const std::string path = folder.path() + "/" + kFeedbackFile;
  Labels labels;
  int64_t left_out = 0;
  ASSERT_TRUE(read_feedback(path, labels, left_out).ok());  // no file is no feedback
  ASSERT_TRUE(append_feedback(path, "hd-1", route::Signal::kThumbsUp).ok());
  ASSERT_TRUE(append_feedback(path, "hd-2", route::Signal::kRegenerate).ok());
  ASSERT_TRUE(append_feedback(path, "hd-1", route::Signal::kThumbsDown).ok());
  const std::string said = read_whole(path);
  ASSERT_TRUE(append_feedback(path, "hd-1", route::Signal::kThumbsDown).ok());
  ASSERT_TRUE(append_feedback(path, "hd-2", route::Signal::kRegenerate).ok());
  EXPECT_EQ(read_whole(path), said) << "a vote that is repeated changes nothing";
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 3) << "one that differs is a line of its own";
  folder.write(kFeedbackFile, read_whole(path) + R"({"id":"hd-)");  // a line that was not finished
  ASSERT_TRUE(read_feedback(path, labels, left_out).ok());
  EXPECT_EQ(labels.size(), 2U);
  EXPECT_EQ(labels.find("hd-1"), false);  // the last word counts
  EXPECT_EQ(labels.find("hd-2"), false);
  EXPECT_FALSE(labels.find("hd-3").has_value());
  ASSERT_TRUE(
      parse_labels("{\"id\":\"a\",\"correct\":true}\r\n\n{\"id\":\"b\",\"correct\":0}", "f", labels, left_out)
          .ok());
  EXPECT_EQ(labels.find("a"), true);
  EXPECT_EQ(labels.find("b"), false);
  for (const char* bad :
       {"x", "[]", "{}", R"({"id":3,"correct":true})", R"({"id":"a"})", R"({"id":"a","correct":2})",
        R"({"id":"a","signal":"meh"})", R"({"id":"a","signal":1})"}) {
    const Status read = parse_labels("\n" + std::string(bad), "labels.jsonl", labels, left_out);
    ASSERT_FALSE(read.ok()) << bad;
    EXPECT_TRUE(read.error().detail.starts_with("labels.jsonl:2: ")) << read.error().detail;
  }
}

}  // namespace
}  // namespace hedge::cli
