// Where the sessions of a configuration are kept.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "cli/config/settings.h"
#include "session/store.h"

namespace hedge::cli {

// The folder of what is as private as the conversations: their database, the KV cache's disk tier, what was
// learned. Not made here.
Result<std::string> data_folder(const Settings& settings);
// [session] store, or hedge.db in that folder.
std::string store_address(const Settings& settings, const std::string& data_folder);
// The same for messages and logs: without a password.
std::string printable_address(const std::string& address);
// kNotFound, and where it was looked for, when the store is a file that was never made.
Status find_recorded(const Settings& settings);
// The store, which is not made here; the error of find_recorded().
Result<std::unique_ptr<session::Store>> open_recorded(const Settings& settings);

}  // namespace hedge::cli
