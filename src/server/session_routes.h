// Private to server/: the routes of sessions. Who comes with a tenant's key sees that tenant's alone; to
// others they do not exist. The device's own key sees all.
#pragma once

#include <string_view>

#include "server/context.h"
#include "server/http.h"

namespace hedge::server {

// GET /v1/hedge/sessions
Reply list_sessions(Context& context, const HttpRequest& request, std::string_view rest);
// GET /v1/hedge/sessions/ID and .../ID/capsule
Reply get_session(Context& context, const HttpRequest& request, std::string_view rest);
// PUT /v1/hedge/sessions/ID/capsule: a session from another Hedge
Reply put_session(Context& context, const HttpRequest& request, std::string_view rest);
// DELETE /v1/hedge/sessions/ID
Reply delete_session(Context& context, const HttpRequest& request, std::string_view rest);

}  // namespace hedge::server
