#include "api/session_id.h"

#include <fmt/format.h>

#include <algorithm>
namespace hedge::api {

Status check_session_id(std::string_view session, const std::string& field) {
  if (session.size() > kSessionBytesMax) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected at most {} bytes, got {}", field, kSessionBytesMax, session.size()), field);
  }
  const bool plain = std::all_of(session.begin(), session.end(), [](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || std::string_view("._:-").find(c) != std::string_view::npos;
  });
  if (!plain) {
    return make_error(ErrorCode::kInvalidArgument, field + ": expected letters, digits and any of . _ : -",
                      field);
  }
  return {};
}

Status apply_session_header(Call& call, std::string_view header) {
  HEDGE_TRY(check_session_id(header, "x-hedge-session"));
  if (header.empty()) return {};
  for (chat::Request& request : call.requests) {
    // Two names for one session: guessing could take a turn out of a private one.
    if (!request.routing.session.empty() && request.routing.session != header) {
      return make_error(ErrorCode::kInvalidArgument,
                        "x-hedge-session: expected the session that hedge.session names, got another one",
                        "x-hedge-session");
    }
    request.routing.session = header;
  }
  return {};
}

}  // namespace hedge::api
