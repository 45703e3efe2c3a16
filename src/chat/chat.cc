#include "chat/backend.h"

namespace hedge::chat {

const char* to_string(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
    case Role::kTool:
      return "tool";
  }
  return "user";
}

const char* to_string(Route route) {
  switch (route) {
    case Route::kAuto:
      return "auto";
    case Route::kLocal:
      return "local";
    case Route::kUpstream:
      return "upstream";
  }
  return "auto";
}

const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContentFilter:
      return "content_filter";
    case FinishReason::kToolCalls:
      return "tool_calls";
  }
  return "stop";
}

void append_segment(std::vector<Segment>& segments, const std::string& backend, size_t bytes) {
  if (bytes == 0) return;
  if (segments.empty() || segments.back().backend != backend) segments.push_back(Segment{backend, 0});
  segments.back().bytes += bytes;
}

}  // namespace hedge::chat
