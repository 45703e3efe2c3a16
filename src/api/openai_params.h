// Private to api/: the fields that OpenAI's chat and text completions share.
#pragma once

#include <string>
#include <vector>

#include "api/call.h"
#include "api/json_reader.h"
#include "chat/request.h"

namespace hedge::api {

// Everything but what is asked: sampling, limits, stops, model, routing, n, stream. Errors go into the
// reader.
void read_common(Reader& reader, Call& call, chat::Request& request);

// A field that would change the answer and that Hedge cannot honour is a 400 that names it; silence would be
// a lie. Fields that change nothing (user, metadata, store, ...) need only be of the right type; unknown ones
// are ignored, as other servers do.
// `takes_tools`: the fields of read_tools() are read elsewhere.
void reject_unsupported(Reader& reader, bool takes_tools);

// Null when the field is absent, or of another type, which the reader then knows. `types` are letters:
// b(oolean), n(umber), s(tring), a(rray), o(bject).
const Json* find_of_type(Reader& reader, const char* name, std::string_view types);

// `messages` into request.messages; a last message of the assistant becomes assistant_prefix unless
// continue_final_message is false.
void read_conversation(const Json& body, Reader& reader, chat::Request& request);

// Every prompt n times; the choices of one prompt get seeds in sequence, else all would be equal.
void expand_choices(Call& call, std::vector<chat::Request> prompts);

}  // namespace hedge::api
