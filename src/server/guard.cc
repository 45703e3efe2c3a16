#include "server/guard.h"

#include <algorithm>
#include <cctype>

namespace hedge::server {
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "127." and three more numbers of at most three digits; the resolver is never asked.
bool is_loopback_v4(std::string_view host) {
  if (!host.starts_with("127.")) return false;
  int parts = 0;
  while (true) {
    const size_t dot = host.find('.');
    const std::string_view part = host.substr(0, dot);
    if (part.empty() || part.size() > 3 || !all_digits(part)) return false;
    ++parts;
    if (dot == std::string_view::npos) return parts == 4;
    host.remove_prefix(dot + 1);
  }
}

}  // namespace

bool equal_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned char>(a[i] ^ other);
  }
  return difference == 0;
}

bool has_key(const HttpRequest& request, std::string_view key) {
  constexpr std::string_view kBearer = "bearer ";
  std::string_view authorization = request.authorization;
  if (authorization.size() > kBearer.size() &&
      equal_ignoring_case(authorization.substr(0, kBearer.size()), kBearer)) {
    authorization.remove_prefix(kBearer.size());
    if (equal_constant_time(authorization, key)) return true;
  }
  return equal_constant_time(request.api_key, key);
}

std::optional<std::string_view> tenant_of(const HttpRequest& request, const Options& options) {
  if (options.api_key.empty() && options.tenants.empty()) return "";
  std::optional<std::string_view> found;
  if (!options.api_key.empty() && has_key(request, options.api_key)) found = "";
  for (const TenantKey& tenant : options.tenants) {
    if (has_key(request, tenant.key) && !found) found = tenant.name;
  }
  return found;
}

bool is_loopback_host(std::string_view host) {
  std::string_view name = host;
  std::string_view port;
  if (host.starts_with("[")) {
    const size_t close = host.find(']');
    if (close == std::string_view::npos) return false;
    name = host.substr(0, close + 1);
    port = host.substr(close + 1);
  } else if (const size_t colon = host.find(':'); colon != std::string_view::npos) {
    name = host.substr(0, colon);
    port = host.substr(colon);
  }
  if (!port.empty() && (port[0] != ':' || !all_digits(port.substr(1)))) return false;
  return equal_ignoring_case(name, "localhost") || name == "[::1]" || is_loopback_v4(name);
}

bool is_foreign_origin(std::string_view origin, std::string_view host) {
  if (origin.empty()) return false;
  const size_t scheme_end = origin.find("://");
  if (scheme_end == std::string_view::npos) return true;  // "null"
  return !equal_ignoring_case(origin.substr(scheme_end + 3), host);
}

}  // namespace hedge::server
