// Private to api/: the `hedge` object of an answer.
#pragma once

#include "api/json_reader.h"
#include "chat/trace.h"

namespace hedge::api {

// {"id","session","route","reasons","segments"}
OrderedJson hedge_object(const chat::Trace& trace);

}  // namespace hedge::api
