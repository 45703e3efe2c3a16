// What may name a session, in a body or a header.
#pragma once

#include <string>
#include <string_view>

#include "api/call.h"
#include "base/result.h"

namespace hedge::api {

// 1 to kSessionBytesMax bytes of UTF-8 without control characters; an empty one means "none given" and
// passes.
Status check_session_id(std::string_view session, const std::string& field);

// The header x-hedge-session: names the session where the body does not.
Status apply_session_header(Call& call, std::string_view header);

}  // namespace hedge::api
