#include "upstream/sse.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace hedge::upstream {
namespace {

// The longest line holds one whole event and its field name.
constexpr size_t kLineBytesMax = kSseEventBytesMax + 16;

Error too_long(const char* what, size_t limit) {
  return make_error(ErrorCode::kCorrupt,
                    fmt::format("event stream: expected {} of at most {} bytes, got more", what, limit));
}

}  // namespace

Status SseParser::push(std::string_view bytes, std::vector<SseEvent>& out) {
  while (!bytes.empty()) {
    if (after_cr_) {
      after_cr_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = std::min(bytes.find_first_of("\r\n"), bytes.size());
    if (end > kLineBytesMax - line_.size()) return too_long("a line", kLineBytesMax);
    line_.append(bytes.substr(0, end));
    if (end == bytes.size()) break;
    after_cr_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    HEDGE_TRY(take_line(out));
  }
  return {};
}

Status SseParser::take_line(std::vector<SseEvent>& out) {
  std::string_view line = line_;
  if (std::exchange(first_line_, false) && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  if (line.empty()) {
    dispatch(out);
  } else if (line.front() != ':') {
    const size_t colon = line.find(':');
    const std::string_view field = line.substr(0, colon);
    std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (field == "data") {
      if (value.size() + 1 > kSseEventBytesMax - std::min(kSseEventBytesMax, event_.data.size())) {
        return too_long("an event", kSseEventBytesMax);
      }
      if (std::exchange(has_data_, true)) event_.data.push_back('\n');
      event_.data.append(value);
    } else if (field == "event") {
      event_.name.assign(value);
    }
  }
  line_.clear();
  return {};
}

void SseParser::dispatch(std::vector<SseEvent>& out) {
  if (has_data_) out.push_back(std::move(event_));
  event_ = {};
  has_data_ = false;
}

bool SseParser::finish(SseEvent& out) {
  std::vector<SseEvent> events;
  if (!line_.empty() && !take_line(events).ok()) return false;
  dispatch(events);
  if (events.empty()) return false;
  out = std::move(events.back());
  return true;
}

}  // namespace hedge::upstream
