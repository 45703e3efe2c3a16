// Private to this folder: the parts of the configuration that are no single values, [[policy.rules]] and
// [tenants.NAME]. Errors begin "WHERE:LINE: ", name the rule and the key, and say what would be right.
#pragma once

#include <string>
#include <string_view>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/result.h"
#include "cli/config/settings.h"

namespace hedge::cli {

Status read_rules(std::string_view where, const toml::node& node, Settings& settings);
Status read_tenants(std::string_view where, const toml::node& node, Settings& settings);

// A text as TOML writes it, with its quotes.
std::string toml_quoted(const std::string& text);
// Both parts as the file has them; empty without any.
std::string rules_text(const Settings& settings);
std::string tenants_text(const Settings& settings);

// What to say of a node's type: "a string", "an integer", ...
const char* toml_type_name(toml::node_type type);

}  // namespace hedge::cli
