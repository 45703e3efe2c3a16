// Server-sent events (WHATWG HTML, section 9.2.6) from bytes that arrive in any pieces. Bounded: a line or an
// event past its limit is an error, so a hostile endpoint cannot make the parser grow. One thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::upstream {

struct SseEvent {
  std::string name;  // of the "event:" field; empty when there was none
  std::string data;  // "data:" lines joined by '\n'
};

// Data of one event. The largest legitimate chunk is one token with 20 log-probabilities (some 4 KiB); 1 MiB
// leaves room for endpoints that send an answer in one piece.
inline constexpr size_t kSseEventBytesMax = 1u << 20;

class SseParser {
 public:
  // Appends the events that `bytes` complete. kCorrupt past a limit; the parser must not be used after that.
  Status push(std::string_view bytes, std::vector<SseEvent>& out);

  // At the end of the body: the event that only its closing empty line is missing from. The standard drops
  // it; endpoints that close right after "data: [DONE]" are common, so the caller decides.
  bool finish(SseEvent& out);

 private:
  Status take_line(std::vector<SseEvent>& out);
  void dispatch(std::vector<SseEvent>& out);

  std::string line_;
  SseEvent event_;
  bool has_data_ = false;
  bool after_cr_ = false;   // the last byte was a CR: a LF right after it belongs to the same line end
  bool first_line_ = true;  // may begin with a byte order mark
};

}  // namespace hedge::upstream
