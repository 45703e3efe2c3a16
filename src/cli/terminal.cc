#include "cli/terminal.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

namespace hedge::cli {
namespace {

constexpr int kInterruptsUntilCut = 3;
constexpr Milliseconds kRedraw{100};

std::atomic<int> g_interrupts{0};
static_assert(std::atomic<int>::is_always_lock_free, "touched by a signal handler");

void on_interrupt(int) {
  if (g_interrupts.fetch_add(1) + 1 >= kInterruptsUntilCut) _exit(kExitInterrupted);
}

}  // namespace

bool stdin_is_terminal() { return isatty(STDIN_FILENO) != 0; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) != 0; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) != 0; }

int fail(const Error& error) {
  std::fflush(stdout);
  // Details may quote a file's own words; its control characters must not drive the terminal.
  std::string text = error.detail;
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  fmt::print(stderr, "hedge: {}\n", text);
  return error.code == ErrorCode::kCancelled ? kExitInterrupted : kExitFailed;
}

std::string human_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.95 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_count(uint64_t count) {
  const double value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.2f}B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.1f}M", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.1f}k", value / 1e3);
  return std::to_string(count);
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a blocked read returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return g_interrupts.load() > 0; }
void clear_interrupt() { g_interrupts.store(0); }

void Progress::start(std::string label) {
  finish();
  label_ = std::move(label);
  started_ = SteadyClock::now();
  drawn_ = {};
  fifths_ = 0;
  last_done_ = last_total_ = 0;
  open_ = true;
  if (enabled_ && !stderr_is_terminal()) fmt::print(stderr, "{}\n", label_);
}

void Progress::update(uint64_t done_bytes, uint64_t total_bytes) {
  last_done_ = done_bytes;
  last_total_ = total_bytes;
  if (!enabled_ || !open_) return;
  if (stderr_is_terminal()) {
    const auto now = SteadyClock::now();
    if (now - drawn_ < kRedraw) return;
    drawn_ = now;
    draw(done_bytes, total_bytes);
  } else if (total_bytes > 0) {
    const int fifths =
        static_cast<int>(5.0 * static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
    if (fifths <= fifths_ || fifths >= 5) return;
    fifths_ = fifths;
    draw(done_bytes, total_bytes);
  }
}

void Progress::finish() {
  if (!open_) return;
  open_ = false;
  if (!enabled_ || last_done_ == 0) return;
  draw(last_done_, last_total_);
  if (stderr_is_terminal()) fmt::print(stderr, "\n");
}

void Progress::draw(uint64_t done_bytes, uint64_t total_bytes) {
  const double seconds = seconds_since(started_);
  std::string line = total_bytes > 0 ? fmt::format("{:3.0f} %  {} of {}",
                                                   std::min(100.0, 100.0 * static_cast<double>(done_bytes) /
                                                                       static_cast<double>(total_bytes)),
                                                   human_bytes(done_bytes), human_bytes(total_bytes))
                                     : human_bytes(done_bytes);
  if (seconds > 0.2)
    line +=
        fmt::format("  {}/s", human_bytes(static_cast<uint64_t>(static_cast<double>(done_bytes) / seconds)));
  if (stderr_is_terminal()) {
    fmt::print(stderr, "\r\033[K{}  {}", label_, line);
    std::fflush(stderr);
  } else {
    fmt::print(stderr, "  {}\n", line);
  }
}

}  // namespace hedge::cli
