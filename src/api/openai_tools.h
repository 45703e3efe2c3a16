// Private to api/: OpenAI's tools and the calls of them.
#pragma once

#include "api/json_reader.h"
#include "chat/request.h"

namespace hedge::api {

// `tools`, `tool_choice` and `parallel_tool_calls`; only their outer form is checked, the rest is the
// upstream's matter. Errors go into the reader.
void read_tools(Reader& reader, chat::Request& request);

// `tool_calls` of a message whose role is known.
Status read_tool_calls(Reader& reader, chat::Message& message);

// As OpenAI writes them, with the backend's own members after those that everybody knows; in a stream each is
// numbered.
OrderedJson tool_calls_json(const std::vector<chat::ToolCall>& calls, bool numbered);

}  // namespace hedge::api
