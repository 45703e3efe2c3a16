// Who may talk to the server: API key, Host and Origin. Pure functions.
#pragma once

#include <optional>
#include <string_view>

#include "server/http.h"
#include "server/server.h"

namespace hedge::server {

// Equal, in a time that does not depend on where they differ (their lengths may show).
bool equal_constant_time(std::string_view a, std::string_view b);

// The key comes as "Authorization: Bearer KEY" or "x-api-key: KEY"; SDKs differ.
bool has_key(const HttpRequest& request, std::string_view key);

// Whose key came with the request: a tenant's name; empty for the server's own key, or where nobody has one.
// Nothing: the key is missing or wrong. Looks at all keys, whichever fits.
std::optional<std::string_view> tenant_of(const HttpRequest& request, const Options& options);

// Whether a Host header names this machine's loopback: localhost, 127.x.x.x or [::1], with any port. A page
// whose name was re-bound to 127.0.0.1 sends its own name here.
bool is_loopback_host(std::string_view host);

// A browser says where a page comes from. Only the page that this server itself served may use it; no CORS is
// offered.
bool is_foreign_origin(std::string_view origin, std::string_view host);

}  // namespace hedge::server
