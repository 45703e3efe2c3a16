// Private to api/: the `hedge` object of an answer.
#pragma once

#include "api/json_reader.h"
#include "chat/trace.h"

namespace hedge::api {

// {"id","session","route","reasons","segments"}; "path" where the request came through a server, and
// "upstream", the same without "session", where a Hedge further up worked on the answer
OrderedJson hedge_object(const chat::Trace& trace);

}  // namespace hedge::api
