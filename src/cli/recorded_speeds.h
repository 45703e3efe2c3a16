// The session database read for the commands of `hedge route`: it is never made, only read where it is.
#pragma once

#include <optional>

#include "base/result.h"
#include "cli/config/settings.h"
#include "route/cost.h"

namespace hedge::cli {

// The speeds that the newest decision of the last week was taken with; nothing where there is none.
Result<std::optional<route::Speeds>> recorded_speeds(const Settings& settings);

}  // namespace hedge::cli
