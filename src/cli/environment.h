// What the router is told of this machine: local time, network, power, temperature.
#pragma once

#include <string>

#include "os/sensors.h"
#include "route/prompt_score.h"
#include "route/router.h"

namespace hedge::cli {

// Pure: the facts of a policy's rules from what the sensors say. `metered_interfaces` is the policy's.
route::DeviceFacts device_facts(const os::Sensors& sensors, const std::string& metered_interfaces);

// The sensors are read at most every 250 ms, however many requests come; the clock at each. Thread-safe.
// `learned`, where there is one, outlives what is made.
class LearnedFile;
// `score` too; null: the program's own weights.
route::Environment make_environment(const route::Policy& policy, LearnedFile* learned = nullptr,
                                    const route::PromptScore* score = nullptr);

// Of a file from `hedge route train`; with an empty path the program's own.
Result<route::PromptScore> read_prompt_score(const std::string& path);

}  // namespace hedge::cli
