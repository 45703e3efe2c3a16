#include "cli/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/utf8.h"

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
  // Details may quote a file's own words.
  fmt::print(stderr, "hedge: {}\n", printable(error.detail));
  return error.code == ErrorCode::kCancelled ? kExitInterrupted : kExitFailed;
}

std::string printable(std::string_view text, std::string_view kept) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = utf8_next(text, at);
    const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    const bool turns_direction = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    if (c < 0x80 && kept.find(static_cast<char>(c)) != std::string_view::npos) {
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (control) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (turns_direction) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else if (c == U'\uFFFD') {
      utf8_append(out, c);
    } else {
      out += text.substr(begin, at - begin);
    }
  }
  return out;
}

bool print_answer(std::string_view piece) {
  const std::string shown = stdout_is_terminal() ? printable(piece, "\n\t") : std::string(piece);
  return std::fwrite(shown.data(), 1, shown.size(), stdout) == shown.size() && std::fflush(stdout) == 0;
}

void open_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest free number is this one. Only standard error becomes writable: what is lost there was not
    // asked for.
    [[maybe_unused]] const int opened = open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

int close_output(int status) {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  const int reason = errno;
  if (flushed && std::ferror(stdout) == 0) return status;
  std::clearerr(stdout);
  // A reader that has had enough (`| head`) is no news, and the signal that tells others so may be ignored
  // here.
  pollfd reader{STDOUT_FILENO, POLLOUT, 0};
  const bool reader_gone = reason == EPIPE || (poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR) != 0);
  if (!reader_gone) {
    fmt::print(stderr, "hedge: cannot write standard output{}{}\n", reason == 0 ? "" : ": ",
               reason == 0 ? "" : std::strerror(reason));
  }
  return status == kExitOk ? kExitFailed : status;
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

ProgressCounter::~ProgressCounter() {
  if (shown_ && stderr_is_terminal()) fmt::print(stderr, "\r\033[K");
}

void ProgressCounter::show(size_t done, size_t total) {
  const size_t tenth = done * 10 / std::max<size_t>(total, 1);
  if (!stderr_is_terminal() && tenth == tenth_) return;
  tenth_ = tenth;
  shown_ = true;
  if (stderr_is_terminal()) {
    fmt::print(stderr, "\r\033[K{}: {} of {}", label_, done, total);
  } else {
    fmt::print(stderr, "hedge: {}: {} of {}\n", label_, done, total);
  }
  std::fflush(stderr);
}

}  // namespace hedge::cli
