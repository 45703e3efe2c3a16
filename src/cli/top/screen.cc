#include "cli/top/screen.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <string_view>

namespace hedge::cli {
namespace {

// Alternate buffer, cursor off, no wrapping at the right edge; and back. xterm's control sequences.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
constexpr std::string_view kLeave = "\x1b[?7h\x1b[?25h\x1b[?1049l";
// Terminals that know "synchronized output" show a frame when it is complete; others pass these over.
constexpr std::string_view kBeginFrame = "\x1b[?2026h\x1b[H";
constexpr std::string_view kEndFrame = "\x1b[J\x1b[?2026l";

// What a signal handler needs.
termios g_before;
termios g_while;
std::atomic<bool> g_entered{false};
static_assert(std::atomic<bool>::is_always_lock_free, "touched by a signal handler");

bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// Both are called in signal handlers: write() and tcsetattr() may be.
void enter() {
  if (g_entered.exchange(true)) return;
  tcsetattr(STDIN_FILENO, TCSANOW, &g_while);
  (void)write_all(kEnter);
}

void leave() {
  if (!g_entered.exchange(false)) return;
  (void)write_all(kLeave);
  tcsetattr(STDIN_FILENO, TCSANOW, &g_before);
}

// SA_RESETHAND has put the default back: the signal does again what it does.
void on_end(int signal) {
  leave();
  raise(signal);
}

void on_stop(int) {
  const int kept = errno;
  leave();
  raise(SIGSTOP);
  enter();  // continued
  errno = kept;
}

void on_resize(int) {}  // wakes the wait for a key

constexpr int kEnding[] = {SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

void handle(int signal, void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

ScreenSize screen_size() {
  ScreenSize size;
  winsize found = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) == 0 && found.ws_col > 0 && found.ws_row > 0)
    return {found.ws_col, found.ws_row};
  const char* columns = std::getenv("COLUMNS");
  if (const int wanted = columns == nullptr ? 0 : std::atoi(columns); wanted >= 20 && wanted <= 1000)
    size.columns = wanted;
  return size;
}

Screen::Screen() {
  tcgetattr(STDIN_FILENO, &g_before);
  g_while = g_before;
  g_while.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  g_while.c_cc[VMIN] = 0;
  g_while.c_cc[VTIME] = 0;
  for (const int signal : kEnding) handle(signal, on_end, SA_RESETHAND | SA_NODEFER);
  handle(SIGTSTP, on_stop, 0);
  handle(SIGWINCH, on_resize, 0);
  enter();
}

Screen::~Screen() {
  leave();
  for (const int signal : kEnding) handle(signal, SIG_DFL, 0);
  handle(SIGTSTP, SIG_DFL, 0);
  handle(SIGWINCH, SIG_DFL, 0);
}

bool Screen::draw(const std::vector<std::string>& lines) {
  std::string out(kBeginFrame);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\r\n";
    out += lines[i];
    out += "\x1b[K";
  }
  out += kEndFrame;
  return write_all(out);
}

int Screen::key(Milliseconds limit) {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  if (poll(&input, 1, static_cast<int>(limit.count())) <= 0) return 0;
  char bytes[16];
  const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
  if (count <= 0) return (input.revents & (POLLHUP | POLLERR)) != 0 ? 'q' : 0;
  return static_cast<unsigned char>(bytes[0]);
}

}  // namespace hedge::cli
