// What `hedge top` shows: a pure function from a server's status to lines of text.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "server/status.h"

namespace hedge::cli {

// What was seen so far; at most kSamplesMax speeds are kept.
class Watch {
 public:
  static constexpr size_t kSamplesMax = 240;

  // `at_s`: a steady clock's seconds. A server that counts less than before is another one: the speeds begin
  // anew.
  void add(server::StatusReport report, double at_s);

  const server::StatusReport& now() const { return now_; }
  double local_tps() const { return local_tps_; }
  double upstream_tps() const { return upstream_tps_; }
  const std::deque<double>& speeds() const { return speeds_; }  // both together, oldest first

 private:
  server::StatusReport now_;
  bool seen_ = false;
  double at_s_ = 0;
  double local_tps_ = 0, upstream_tps_ = 0;
  std::deque<double> speeds_;
};

struct FrameStyle {
  int columns = 80;
  int rows = 24;
  bool colour = false;
  bool ascii = false;      // no block characters
  bool with_keys = false;  // the last row says which keys there are
};

// At most `rows` lines of at most `columns` columns; with colours they hold ANSI sequences, each line ends in
// its plain state. `trouble`: why nothing newer is shown; empty: all is well.
std::vector<std::string> frame_of(const Watch& watch, std::string_view url, std::string_view trouble,
                                  const FrameStyle& style);

// How many columns a terminal needs for a text: characters of East Asia and emoji take two, marks that
// combine none.
int columns_of(std::string_view text);

}  // namespace hedge::cli
