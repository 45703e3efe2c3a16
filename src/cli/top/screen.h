// The terminal as a screen: the alternate buffer, no echo, no cursor; all of it put back at the end, also
// when a signal stops, ends or crashes the process. One at a time, as there is one terminal.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"

namespace hedge::cli {

struct ScreenSize {
  int columns = 80;
  int rows = 24;
};

// Of the terminal at standard output; where it does not say, $COLUMNS, else 80 by 24.
ScreenSize screen_size();

class Screen {
 public:
  // REQUIRES: standard input and output are a terminal. catch_interrupts() came before.
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // One write, so that nothing flickers. False when the terminal has gone.
  bool draw(const std::vector<std::string>& lines);
  // The next key, or 0 after `limit`, a changed size or an interrupt. A key that sends several bytes is 0x1b.
  int key(Milliseconds limit);
};

}  // namespace hedge::cli
