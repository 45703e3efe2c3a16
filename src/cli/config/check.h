// What the parts of a configuration must be beside each other, and what only the machine can tell
// (environment variables, key files): checked before anything is loaded.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/config/settings.h"

namespace hedge::cli {

bool is_loopback(const std::string& host);

// That the parts of [policy] that are names are known ones.
Status check_policy(const Settings& settings);
// settings_from() with a policy that is right.
Result<Settings> policy_from(const std::string& config_path, const std::string& data_dir);

// Reads the server's API key from the variable or file that is named, where it was not given itself.
Status find_api_key(Settings& settings);

// Finds the server's API key where it is to be found, then checks all but whether a model is named, the files
// included that are read later. An error says where the value came from.
Status complete_and_check(Settings& settings);
Status check_model_named(const Settings& settings);

}  // namespace hedge::cli
