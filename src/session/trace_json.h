// How traces and segments lie in the database: JSON text, so that a person can read them with the sqlite3
// program and a later version can add fields. Private to this folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "chat/trace.h"

namespace hedge::session {

std::string encode_segments(const std::vector<chat::Segment>& segments);
Result<std::vector<chat::Segment>> decode_segments(std::string_view json);  // kCorrupt

std::string encode_trace(const chat::Trace& trace);
Result<chat::Trace> decode_trace(std::string_view json);  // kCorrupt; absent fields keep their defaults

// A message's tool calls; none: the empty text.
std::string encode_tool_calls(const std::vector<chat::ToolCall>& calls);
Result<std::vector<chat::ToolCall>> decode_tool_calls(std::string_view text);

}  // namespace hedge::session
