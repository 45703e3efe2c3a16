// Where an endpoint is and what opens it: the base URL, checked, and the key from its source. The key never
// leaves this type except as a header; redact() keeps it out of texts that came from outside.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hedge::upstream {

// Scheme http or https, a host, no user, query or fragment. Gives it without "/" or "/v1" at the end, since
// users paste it both ways. `field` names the option in the error.
Result<std::string> normal_base_url(std::string_view url, std::string_view field);

// The first line of the environment variable or the file, without white space around it. The variable wins
// when both are named; neither named is no key. An absent or empty source is an error, and so is a key that
// is no printable ASCII.
Result<std::string> read_key(const std::string& env_name, const std::string& file_path);

// `text` with every occurrence of the key replaced.
std::string redact(std::string text, std::string_view key);

}  // namespace hedge::upstream
