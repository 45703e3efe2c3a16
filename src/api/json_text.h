// Writes JSON strings without building a document: for the pieces of a stream, one of which is made per
// token.
#pragma once

#include <string>
#include <string_view>

namespace hedge::api {

// Appends `text` with quotes and escapes. Always valid JSON: broken UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);

}  // namespace hedge::api
