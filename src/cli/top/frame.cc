#include "cli/top/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/utf8.h"
#include "cli/numbers.h"
#include "cli/terminal.h"

namespace hedge::cli {
namespace {

constexpr int kBarMax = 30;
constexpr double kTight = 0.9;  // from here on a budget or memory is shown as nearly full

enum class Ink { kPlain, kBold, kDim, kGood, kWarn, kBad, kLocal, kUpstream };

const char* ansi_of(Ink ink) {
  switch (ink) {
    case Ink::kPlain:
      return "";
    case Ink::kBold:
      return "\x1b[1m";
    case Ink::kDim:
      return "\x1b[2m";
    case Ink::kGood:
      return "\x1b[32m";
    case Ink::kWarn:
      return "\x1b[33m";
    case Ink::kBad:
      return "\x1b[31m";
    case Ink::kLocal:
      return "\x1b[36m";
    case Ink::kUpstream:
      return "\x1b[35m";
  }
  return "";
}

int character_columns(char32_t c) {
  struct Range {
    char32_t first, last;
  };
  constexpr Range kCombining[] = {{0x300, 0x36f}, {0x200b, 0x200f}, {0xfe00, 0xfe0f}};
  constexpr Range kWide[] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
                             {0xf900, 0xfaff}, {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                             {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};
  const auto holds = [c](const Range& range) { return c >= range.first && c <= range.last; };
  if (std::any_of(std::begin(kCombining), std::end(kCombining), holds)) return 0;
  return std::any_of(std::begin(kWide), std::end(kWide), holds) ? 2 : 1;
}

// A row that is cut where the terminal ends.
class Line {
 public:
  explicit Line(const FrameStyle& style) : style_(style) {}

  // `text` as it is shown: printable() where it comes from outside.
  Line& add(std::string_view text, Ink ink = Ink::kPlain) {
    std::string kept;
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const int columns = character_columns(utf8_next(text, at));
      if (used_ + columns > style_.columns) {
        used_ = style_.columns;  // a wide character that does not fit ends the row
        break;
      }
      used_ += columns;
      kept += text.substr(begin, at - begin);
    }
    if (kept.empty()) return *this;
    const bool coloured = style_.colour && ink != Ink::kPlain;
    out_ += coloured ? ansi_of(ink) + kept + "\x1b[0m" : kept;
    return *this;
  }
  Line& pad_to(int column) {
    if (used_ < column) add(std::string(static_cast<size_t>(column - used_), ' '));
    return *this;
  }
  // The filled part of `width` columns.
  Line& bar(double share, int width, Ink ink) {
    const int filled = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * width));
    add(blocks(filled, style_.ascii ? "#" : "█"), ink);
    return add(blocks(width - filled, style_.ascii ? "." : "░"), Ink::kDim);
  }
  static std::string blocks(int count, std::string_view block) {
    std::string out;
    for (int i = 0; i < count; ++i) out += block;
    return out;
  }
  int left() const { return style_.columns - used_; }
  std::string take() { return std::move(out_); }

 private:
  const FrameStyle& style_;
  std::string out_;
  int used_ = 0;
};

class Frame {
 public:
  Frame(const Watch& watch, const FrameStyle& style) : watch_(watch), s_(watch.now()), style_(style) {}

  std::vector<std::string> draw(std::string_view url, std::string_view trouble);

 private:
  Line line() const { return Line(style_); }
  Line label(std::string_view name) const {
    Line out = line();
    out.add(name, Ink::kBold).pad_to(11);
    return out;
  }
  void put(Line line) { lines_.push_back(line.take()); }
  int bar_width(const Line& line) const { return std::clamp(line.left() - 2, 0, kBarMax); }

  void header(std::string_view url);
  void requests();
  void speed();
  void answers();
  void times();
  void running(size_t rows);
  void upstream();
  void budget(const server::BudgetStatus& budget);
  void reasons(size_t rows);
  void memory();
  void device();

  const Watch& watch_;
  const server::StatusReport& s_;
  const FrameStyle& style_;
  std::vector<std::string> lines_;
};

void Frame::header(std::string_view url) {
  Line out = line();
  out.add(fmt::format("hedge {}  ", printable(s_.version)), Ink::kBold);
  out.add(printable(s_.model));
  out.add(fmt::format("  up {}  ", span_of(s_.uptime_s)));
  out.add(printable(url), Ink::kDim).add(fmt::format("  context {}", grouped(s_.context_tokens)));
  put(std::move(out));
}

void Frame::requests() {
  Line out = label("requests");
  out.add(fmt::format("{} of {} answers running", s_.http.answers_running, s_.http.answers_max));
  out.add(fmt::format(", {} waiting", s_.engine.queued), s_.engine.queued > 0 ? Ink::kWarn : Ink::kPlain);
  out.add(fmt::format(", {} served", grouped(s_.http.requests)));
  out.add(fmt::format(", {} failed", grouped(s_.http.failed)), s_.http.failed > 0 ? Ink::kBad : Ink::kPlain);
  out.add(fmt::format(", {} refused", grouped(s_.http.refused)));
  put(std::move(out));
}

void Frame::speed() {
  Line out = label("tokens/s");
  out.add(fmt::format("{:.1f} here", watch_.local_tps()), Ink::kLocal);
  if (s_.upstream) out.add(fmt::format("  {:.1f} upstream", watch_.upstream_tps()), Ink::kUpstream);
  out.add("  ");
  const std::deque<double>& speeds = watch_.speeds();
  const auto width = static_cast<size_t>(std::clamp(out.left() - 14, 0, 60));
  const size_t shown = std::min(width, speeds.size());
  if (shown < 2) return put(std::move(out));
  const auto first = speeds.end() - static_cast<ptrdiff_t>(shown);
  const double peak = *std::max_element(first, speeds.end());
  constexpr std::array<std::string_view, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::array<std::string_view, 8> kAscii = {"_", ".", ":", "-", "=", "+", "*", "#"};
  std::string line_of_blocks;
  for (auto it = first; it != speeds.end(); ++it) {
    const double height = peak > 0 ? *it / peak * 7 : 0;
    line_of_blocks += (style_.ascii ? kAscii : kBlocks)[static_cast<size_t>(std::lround(height))];
  }
  out.add(line_of_blocks, Ink::kLocal).add(fmt::format("  peak {:.1f}", peak), Ink::kDim);
  put(std::move(out));
}

void Frame::answers() {
  const auto local = static_cast<double>(s_.router.local), up = static_cast<double>(s_.router.upstream),
             mixed = static_cast<double>(s_.router.mixed);
  const double all = local + up + mixed;
  Line out = label("answers");
  if (all == 0) {
    put(std::move(out.add("none yet", Ink::kDim)));
    return;
  }
  out.add(fmt::format("{} here", percent(local / all)), Ink::kLocal);
  out.add(fmt::format("  {} upstream", percent(up / all)), Ink::kUpstream);
  out.add(fmt::format("  {} both", percent(mixed / all)));
  out.add(fmt::format("  of {}  ", grouped(static_cast<int64_t>(all))));
  const int width = bar_width(out);
  const int here = static_cast<int>(std::lround(local / all * width));
  const int both = std::min(width - here, static_cast<int>(std::lround(mixed / all * width)));
  out.add(Line::blocks(here, style_.ascii ? "#" : "█"), Ink::kLocal);
  out.add(Line::blocks(both, style_.ascii ? "+" : "▒"));
  out.add(Line::blocks(width - here - both, style_.ascii ? "=" : "█"), Ink::kUpstream);
  put(std::move(out));
  Line more = label("");
  more.add(fmt::format("handed over {} first, {} mid; races {}, won {}; kept private {}",
                       s_.router.escalated_first, s_.router.escalated_mid, s_.router.races,
                       s_.router.races_won, s_.router.kept_private));
  if (s_.router.failed > 0) more.add(fmt::format("; failed {}", s_.router.failed), Ink::kBad);
  put(std::move(more));
}

void Frame::times() {
  const server::RecentAnswers& r = s_.recent;
  if (r.local + r.upstream + r.mixed == 0) return;
  Line out = label(span_of(static_cast<double>(r.window_s)));
  out.add(fmt::format("first text {} (p95 {}), whole answer {} (p95 {})", milliseconds(r.first_text_p50_ms),
                      milliseconds(r.first_text_p95_ms), milliseconds(r.total_p50_ms),
                      milliseconds(r.total_p95_ms)));
  put(std::move(out));
}

void Frame::running(size_t rows) {
  Line out = line();
  out.add("RUNNING HERE", Ink::kBold);
  out.add(fmt::format("  {} of {} slots", s_.running.size(), s_.slots));
  if (s_.engine.queued > 0) out.add(fmt::format(", {} waiting", s_.engine.queued), Ink::kWarn);
  put(std::move(out));
  if (rows == 0 || s_.running.empty()) return;
  put(std::move(line().add(
      fmt::format("  {:<9}{:>8}{:>9}{:>8}{:>8}{:>9}", "", "prompt", "cached", "answer", "tok/s", "age"),
      Ink::kDim)));
  const size_t shown = s_.running.size() <= rows - 1 ? s_.running.size() : rows >= 2 ? rows - 2 : 0;
  for (size_t i = 0; i < shown; ++i) {
    const engine::Running& r = s_.running[i];
    const bool reads = r.answer_tokens == 0;
    Line row = line();
    row.add(fmt::format("  {:<9}", reads ? "reads" : "writes"), reads ? Ink::kWarn : Ink::kGood);
    const double age_ms = r.age_seconds * 1000;
    row.add(fmt::format("{:>8}{:>9}{:>8}{:>8.1f}{:>9}", grouped(static_cast<int64_t>(r.prompt_tokens)),
                        grouped(static_cast<int64_t>(r.cached_tokens)),
                        grouped(static_cast<int64_t>(r.answer_tokens)), r.tokens_per_second,
                        age_ms < 60'000 ? milliseconds(age_ms) : span_of(r.age_seconds)));
    if (reads && r.prompt_tokens > 0) {
      const double share = static_cast<double>(r.prompt_read) / static_cast<double>(r.prompt_tokens);
      row.add("  ").bar(share, std::min(bar_width(row), 12), Ink::kWarn);
    }
    put(std::move(row));
  }
  if (shown < s_.running.size())
    put(std::move(line().add(fmt::format("  and {} more", s_.running.size() - shown), Ink::kDim)));
}

void Frame::upstream() {
  Line out = line();
  out.add("UPSTREAM", Ink::kBold);
  if (!s_.upstream) {
    put(std::move(out.add("  none: everything is answered here")));
    return;
  }
  const server::UpstreamStatus& u = *s_.upstream;
  out.add(fmt::format("  {}", printable(u.name)));
  if (u.available) {
    out.add("  takes requests", Ink::kGood);
  } else {
    out.add(fmt::format("  not available: {}", u.why.empty() ? "it did not say why" : printable(u.why)),
            Ink::kBad);
  }
  out.add(fmt::format("  {}", printable(u.model)), Ink::kDim);
  put(std::move(out));
  Line more = line();
  more.add(fmt::format("  {} requests, ", grouped(u.requests)));
  more.add(fmt::format("{} failed", grouped(u.failures)), u.failures > 0 ? Ink::kBad : Ink::kPlain);
  more.add(fmt::format(", breaker opened {} time{}", u.breaker_opened, u.breaker_opened == 1 ? "" : "s"));
  if (u.first_text_p50_ms > 0) {
    more.add(fmt::format("; first text {} (p95 {})", milliseconds(u.first_text_p50_ms),
                         milliseconds(u.first_text_p95_ms)));
  }
  put(std::move(more));
}

void Frame::budget(const server::BudgetStatus& b) {
  Line out = line();
  out.add(b.tenant.empty() ? "  today" : fmt::format("  {}", printable(b.tenant))).pad_to(11);
  out.add(" " + grouped(b.tokens));
  if (b.tokens_max > 0) out.add(" of " + grouped(b.tokens_max));
  out.add(" tokens");
  if (b.money > 0 || b.money_max > 0) out.add(fmt::format(", money {}", money(b.money)));
  if (b.money_max > 0) out.add(" of " + money(b.money_max));
  if (b.tokens_beyond > 0) out.add(fmt::format(", {} beyond", grouped(b.tokens_beyond)), Ink::kBad);
  double share = 0;
  if (b.tokens_max > 0) share = static_cast<double>(b.tokens) / static_cast<double>(b.tokens_max);
  if (b.money_max > 0) share = std::max(share, b.money / b.money_max);
  if (b.tokens_max > 0 || b.money_max > 0) {
    const Ink ink = share >= 1 ? Ink::kBad : share >= kTight ? Ink::kWarn : Ink::kGood;
    out.add("  ").bar(share, std::min(bar_width(out) - 6, 20), ink).add(" " + percent(share));
  } else {
    out.add("  no limit", Ink::kDim);
  }
  put(std::move(out));
}

void Frame::reasons(size_t rows) {
  const auto& all = s_.recent.reasons;
  if (rows == 0 || all.empty()) return;
  put(std::move(
      line()
          .add("WHY", Ink::kBold)
          .add(fmt::format("  last {}", span_of(static_cast<double>(s_.recent.window_s))), Ink::kDim)));
  size_t wide = 0;
  const size_t shown = all.size() <= rows - 1 ? all.size() : rows >= 2 ? rows - 2 : 0;
  for (size_t i = 0; i < shown; ++i) wide = std::max(wide, printable(all[i].name).size());
  for (size_t i = 0; i < shown; ++i) {
    Line row = line();
    row.add("  " + printable(all[i].name)).pad_to(static_cast<int>(std::min<size_t>(wide, 40)) + 3);
    row.add(fmt::format("{:>6}  ", grouped(all[i].count)));
    const double share = static_cast<double>(all[i].count) / static_cast<double>(all[0].count);
    const auto filled = static_cast<int>(std::lround(share * std::max(bar_width(row), 0)));
    row.add(Line::blocks(filled, style_.ascii ? "#" : "█"), Ink::kLocal);
    put(std::move(row));
  }
  if (shown < all.size())
    put(std::move(line().add(fmt::format("  and {} more", all.size() - shown), Ink::kDim)));
}

void Frame::memory() {
  const engine::Counters& e = s_.engine;
  const auto bytes = [](auto n) { return human_bytes(static_cast<uint64_t>(n)); };
  Line out = label("memory");
  out.add(fmt::format("{}; KV {} of {}", bytes(s_.device.resident_bytes), bytes(e.kv_bytes_used),
                      bytes(e.kv_bytes_max)));
  if (e.kv_disk_bytes > 0) out.add(fmt::format(", disk {}", bytes(e.kv_disk_bytes)));
  if (e.prompt_tokens > 0) {
    out.add(fmt::format("; prompts {} cached", percent(static_cast<double>(e.cached_tokens) /
                                                       static_cast<double>(e.prompt_tokens))));
  }
  put(std::move(out));
}

void Frame::device() {
  const server::DeviceStatus& d = s_.device;
  std::vector<std::string> parts;
  if (d.temperature_c) parts.push_back(fmt::format("{:.0f} C", *d.temperature_c));
  if (d.battery_percent) parts.push_back(fmt::format("battery {:.0f} %", *d.battery_percent));
  if (d.on_battery) parts.emplace_back(*d.on_battery ? "on battery" : "on mains");
  if (d.online) parts.emplace_back(*d.online ? "online" : "offline: no route leads out");
  if (parts.empty()) return;
  put(std::move(label("device").add(fmt::format("{}", fmt::join(parts, ", ")))));
}

std::vector<std::string> Frame::draw(std::string_view url, std::string_view trouble) {
  header(url);
  if (!trouble.empty()) put(std::move(line().add(printable(trouble), Ink::kBad)));
  requests();
  speed();
  answers();
  times();
  memory();
  device();
  // What is left is shared: running answers first, then tenants, then reasons.
  const size_t rows = static_cast<size_t>(std::max(style_.rows, 1)) - (style_.with_keys ? 1 : 0);
  const auto left = [&](size_t kept) {
    return rows > lines_.size() + kept ? rows - lines_.size() - kept : 0;
  };
  const size_t budgets = s_.upstream ? s_.budgets.size() : 0;
  const size_t reasons_least = s_.recent.reasons.empty() ? 0 : 3;
  lines_.emplace_back();
  running(std::min(left(3 + budgets + reasons_least), s_.running.size() + 1));
  upstream();
  for (size_t i = 0; i < budgets && left(reasons_least) > 0; ++i) budget(s_.budgets[i]);
  reasons(left(0));
  if (lines_.size() > rows) lines_.resize(rows);
  if (style_.with_keys) {
    lines_.resize(rows);
    put(std::move(line().add("q quits", Ink::kDim)));
  }
  return std::move(lines_);
}

}  // namespace

void Watch::add(server::StatusReport report, double at_s) {
  const auto local = [](const server::StatusReport& s) {
    return static_cast<double>(s.engine.completion_tokens);
  };
  const auto up = [](const server::StatusReport& s) {
    return s.upstream ? static_cast<double>(s.upstream->completion_tokens) : 0.0;
  };
  const bool same = seen_ && report.uptime_s >= now_.uptime_s && local(report) >= local(now_) && at_s > at_s_;
  if (same) {
    local_tps_ = (local(report) - local(now_)) / (at_s - at_s_);
    upstream_tps_ = std::max(0.0, up(report) - up(now_)) / (at_s - at_s_);
    speeds_.push_back(local_tps_ + upstream_tps_);
    if (speeds_.size() > kSamplesMax) speeds_.pop_front();
  } else {
    speeds_.clear();
    local_tps_ = upstream_tps_ = 0;
    for (const engine::Running& running : report.running) local_tps_ += running.tokens_per_second;
  }
  now_ = std::move(report);
  at_s_ = at_s;
  seen_ = true;
}

int columns_of(std::string_view text) {
  int columns = 0;
  for (size_t at = 0; at < text.size();) columns += character_columns(utf8_next(text, at));
  return columns;
}

std::vector<std::string> frame_of(const Watch& watch, std::string_view url, std::string_view trouble,
                                  const FrameStyle& style) {
  return Frame(watch, style).draw(url, trouble);
}

}  // namespace hedge::cli
