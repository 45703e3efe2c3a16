// What the commands of `hedge route` share about the session database: it is never made, only read where it
// is.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "cli/config/settings.h"
#include "route/cost.h"

namespace hedge::cli {

// "36h" or "7d" in milliseconds.
Result<int64_t> parse_since(const std::string& text);

// The speeds that the newest decision of the last week was taken with; nothing where there is none.
Result<std::optional<route::Speeds>> recorded_speeds(const Settings& settings);

}  // namespace hedge::cli
