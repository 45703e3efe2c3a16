// What the commands share towards the person at the terminal: messages, sizes, progress, interrupts. Answers
// and data go to stdout, all else to stderr.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace hedge::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells have it

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

// "hedge: DETAIL" on stderr. Returns kExitFailed, or kExitInterrupted for kCancelled.
int fail(const Error& error);

// "98.4 MB", "1.2 GB" (decimal, as disks and downloads count).
std::string human_bytes(uint64_t bytes);
// "134.5M", "1.2B".
std::string human_count(uint64_t count);

// From here on SIGINT and SIGTERM only count; a third one ends the process. SIGPIPE is ignored.
void catch_interrupts();
bool interrupted();
void clear_interrupt();

// One line on stderr that grows: redrawn in place on a terminal, a new line per fifth of the way otherwise.
class Progress {
 public:
  explicit Progress(bool enabled) : enabled_(enabled) {}
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void start(std::string label);
  // total 0: not known.
  void update(uint64_t done_bytes, uint64_t total_bytes);
  void finish();

 private:
  void draw(uint64_t done_bytes, uint64_t total_bytes);

  const bool enabled_;
  std::string label_;
  bool open_ = false;
  int fifths_ = 0;
  uint64_t last_done_ = 0, last_total_ = 0;
  SteadyClock::time_point started_{}, drawn_{};
};

}  // namespace hedge::cli
