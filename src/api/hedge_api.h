// Hedge's own endpoints: decisions and sessions. Pure functions to JSON text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "chat/trace.h"

namespace hedge::api {

struct SessionTurn {
  chat::Message message;
  std::vector<chat::Segment> segments;  // of an assistant's turn
  std::string decision;                 // of an assistant's turn
  int64_t created_ms = 0;
};

struct SessionEntry {
  std::string id;
  std::string tenant;
  bool is_private = false;
  int64_t created_ms = 0;
  int64_t turns = 0;
  int64_t upstream_tokens = 0;
  int64_t upstream_nanos = 0;  // billionths of the prices' currency
};
// GET /v1/hedge/sessions: the newest first.
std::string sessions_body(const std::vector<SessionEntry>& sessions);

// GET /v1/hedge/decisions/ID: the hedge object with every step.
std::string decision_body(const chat::Trace& trace);
// GET /v1/hedge/sessions/ID
// {"signal": "thumbs_down"}: the signal's name; what it may be is the router's matter.
Result<std::string> parse_feedback(std::string_view body);
std::string feedback_body(const std::string& decision, const std::string& signal);
std::string session_body(const std::string& id, bool is_private, const std::vector<SessionTurn>& turns);

}  // namespace hedge::api
