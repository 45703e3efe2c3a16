#include "session/ids.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "session/store.h"

namespace hedge::session {
namespace {

bool is_id_byte(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == ':' || c == '-';
}

Result<std::string> make_random_id(std::string_view prefix) {
  unsigned char bytes[8];
  // Up to 256 bytes come whole; EINTR is possible only before the system's pool is first filled.
  ssize_t got = -1;
  do {
    got = getrandom(bytes, sizeof(bytes), 0);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof(bytes))) {
    return make_error(ErrorCode::kIo, std::string("getrandom: ") + std::generic_category().message(errno));
  }
  constexpr char kHex[] = "0123456789abcdef";
  std::string id(prefix);
  for (const unsigned char byte : bytes) {
    id += kHex[byte >> 4];
    id += kHex[byte & 15];
  }
  return id;
}

}  // namespace

Status check_session_id(std::string_view id) {
  if (!id.empty() && id.size() <= kSessionIdBytesMax && std::all_of(id.begin(), id.end(), is_id_byte))
    return {};
  const std::string limit = std::to_string(kSessionIdBytesMax);
  const std::string got = id.size() > kSessionIdBytesMax || id.empty()
                              ? std::to_string(id.size()) + " characters"
                              : "another character";
  return make_error(ErrorCode::kInvalidArgument, "expected 1 to " + limit + " of [A-Za-z0-9._:-], got " + got,
                    "hedge.session");
}

Result<std::string> make_session_id() { return make_random_id("s-"); }
Result<std::string> make_decision_id() { return make_random_id("hd-"); }

}  // namespace hedge::session
