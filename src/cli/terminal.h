// What the commands share towards the person at the terminal: messages, sizes, progress, interrupts. Answers
// and data go to stdout, all else to stderr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

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

// `text` as it may stand in a message or a table: control characters, broken UTF-8 and marks that turn the
// direction of writing must not drive the terminal, and become \x1b, U+FFFD and \u202e; a newline becomes \n.
// The characters in `kept` stay.
std::string printable(std::string_view text, std::string_view kept = {});

// A piece of an answer, to standard output, at once. On a terminal it is printable() but for newlines and
// tabs: what a model writes must not drive it. Anywhere else it is what the model wrote. False when it cannot
// be written.
bool print_answer(std::string_view piece);

// Puts /dev/null where standard input, output or error are closed, so that no file that is opened later gets
// their numbers and what is meant for the terminal. Writing to a closed standard output stays an error.
void open_standard_streams();
// Flushes standard output. When something of it could not be written, says so on stderr (not when its reader
// has gone) and returns kExitFailed in place of kExitOk; otherwise returns `status`.
int close_output(int status);

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

// "answering: 1200 of 5240" on stderr: redrawn in place on a terminal, a new line per tenth of the way
// otherwise.
class ProgressCounter {
 public:
  explicit ProgressCounter(std::string label) : label_(std::move(label)) {}
  ~ProgressCounter();
  ProgressCounter(const ProgressCounter&) = delete;
  ProgressCounter& operator=(const ProgressCounter&) = delete;

  void show(size_t done, size_t total);

 private:
  const std::string label_;
  size_t tenth_ = 0;
  bool shown_ = false;
};

}  // namespace hedge::cli
