// Which probe belongs to a model: that of a file, or the one that travels inside the program.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "route/probe_reader.h"
#include "route/thresholds.h"

namespace hedge::gguf {
class File;
}
namespace hedge::model {
struct Config;
}

namespace hedge::cli {

// Which model it is: shape, and a hash over the first bytes of its tensors.
route::ProbeModel probe_model(const gguf::File& file, const model::Config& config);

// `which`: "auto", the program's own probe for this model, null where it has none; "off", null; else the path
// of a file from `hedge route probe train`, an error when it was fitted on another model.
Result<std::shared_ptr<const route::Probe>> find_probe(const std::string& which, const gguf::File& file,
                                                       const model::Config& config);

// A file from `hedge route probe train`.
Result<route::Probe> read_probe(const std::string& path);

// For engine::Options::probe: find_probe() when the model is open; what it found is put into `found`, which
// outlives the load.
using ProbeLoader =
    std::function<Result<std::shared_ptr<const chat::StateProbe>>(const gguf::File&, const model::Config&)>;
ProbeLoader probe_loader(std::string which, route::ReadAt when, std::shared_ptr<const route::Probe>& found);

// A file from `hedge route calibrate`.
Result<route::Thresholds> read_thresholds(const std::string& path);

// The thresholds of the file `path`, an error when they belong to another probe; with an empty path the
// program's own for that probe, null where it has none.
Result<std::shared_ptr<const route::Thresholds>> find_thresholds(const std::string& path,
                                                                 const route::Probe& probe);

// The error that the program has no probe for this model, when there is none.
Status require_probe(const std::shared_ptr<const route::Probe>& probe, const engine::Engine& engine);

// An engine for answering many questions: with that probe, or without a loader keeping the states that one
// would be fitted to. `model`: a name or a path.
Result<std::unique_ptr<engine::Engine>> load_probe_engine(const std::string& model, int threads,
                                                          ProbeLoader loader);

}  // namespace hedge::cli
