// Reads lines from a terminal with editing and a history that lasts (libedit). For the one thread that talks
// to the person.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace hedge::cli {

class LineEditor {
 public:
  enum class Outcome { kLine, kInterrupted, kEnd };

  // Before the first one is made. kUnavailable when libedit is not installed.
  static Status load();

  // The history is read from and appended to `history_path`; a file that cannot be used only costs the
  // history.
  explicit LineEditor(std::string history_path);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // The line without its newline. kInterrupted on Ctrl-C, kEnd on Ctrl-D at an empty line.
  Outcome read(const std::string& prompt, std::string& line);
  // Makes `entry` reachable with the arrow keys, now and in later runs.
  void remember(const std::string& entry);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hedge::cli
