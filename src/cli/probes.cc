#include "cli/probes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/hash.h"
#include "cli/kernel_level.h"
#include "cli/models/store.h"
#include "gguf/file.h"
#include "model/config.h"
#include "os/file.h"
#include "route/probe_train.h"

namespace hedge::cli {
namespace {

constexpr size_t kFingerprintBytes = 4096;  // of each tensor
// Answers at once: for so many rows a weight is unpacked once (model::kDecodeRowsMax).
constexpr int kSlots = 8;
constexpr int kContextTokens = 4096;

}  // namespace

route::ProbeModel probe_model(const gguf::File& file, const model::Config& config) {
  route::ProbeModel model;
  model.architecture = config.architecture;
  model.layers = static_cast<uint32_t>(config.layers);
  model.dim = static_cast<uint32_t>(config.dim);
  model.vocab = static_cast<uint32_t>(config.vocab);
  model.fingerprint = kFnvStart;
  for (const gguf::Tensor& tensor : file.tensors()) {
    model.fingerprint = fnv1a(tensor.name, model.fingerprint);
    const size_t bytes = std::min(kFingerprintBytes, tensor.size_bytes);
    model.fingerprint = fnv1a({reinterpret_cast<const char*>(tensor.data), bytes}, model.fingerprint);
  }
  return model;
}

Result<route::Probe> read_probe(const std::string& path) {
  HEDGE_TRY_SET(const std::string bytes, os::read_file(path, route::Probe::kBytesMax));
  return route::Probe::parse(bytes);
}

Result<route::Thresholds> read_thresholds(const std::string& path) {
  HEDGE_TRY_SET(const std::string text, os::read_file(path, route::Thresholds::kBytesMax));
  return route::Thresholds::parse(text);
}

Result<std::shared_ptr<const route::Probe>> find_probe(const std::string& which, const gguf::File& file,
                                                       const model::Config& config) {
  std::shared_ptr<const route::Probe> none;
  if (which == "off") return none;
  const route::ProbeModel model = probe_model(file, config);
  if (which != "auto") {
    HEDGE_TRY_SET(route::Probe probe, read_probe(which));
    HEDGE_TRY(probe.check(model));
    return std::make_shared<const route::Probe>(std::move(probe));
  }
  for (const std::string_view bytes : route::default_probes()) {
    HEDGE_TRY_SET(route::Probe probe, route::Probe::parse(bytes));
    if (probe.model == model) return std::make_shared<const route::Probe>(std::move(probe));
  }
  return none;
}

ProbeLoader probe_loader(std::string which, route::ReadAt when, std::shared_ptr<const route::Probe>& found) {
  return [which = std::move(which), when, &found](
             const gguf::File& file,
             const model::Config& config) -> Result<std::shared_ptr<const chat::StateProbe>> {
    HEDGE_TRY_SET(found, find_probe(which, file, config));
    return found == nullptr ? nullptr : route::make_reader(found, when);
  };
}

Result<std::shared_ptr<const route::Thresholds>> find_thresholds(const std::string& path,
                                                                 const route::Probe& probe) {
  const uint64_t hash = fnv1a(probe.to_bytes());
  if (!path.empty()) {
    HEDGE_TRY_SET(route::Thresholds thresholds, read_thresholds(path));
    if (thresholds.probe == hash) return std::make_shared<const route::Thresholds>(std::move(thresholds));
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("the thresholds in '{}' were made with the probe {:016x}, this one is {:016x}; "
                    "`hedge route calibrate` makes some",
                    path, thresholds.probe, hash));
  }
  for (const std::string_view text : route::default_thresholds()) {
    HEDGE_TRY_SET(route::Thresholds thresholds, route::Thresholds::parse(text));
    if (thresholds.probe == hash) return std::make_shared<const route::Thresholds>(std::move(thresholds));
  }
  return std::shared_ptr<const route::Thresholds>();
}

Status require_probe(const std::shared_ptr<const route::Probe>& probe, const engine::Engine& engine) {
  if (probe != nullptr) return {};
  const model::Config& config = engine.config();
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("there is no default probe for {} ({} layers of {}, {} tokens); fit one with "
                                "`hedge route probe train` and name it with --probe",
                                engine.file().path(), config.layers, config.dim, config.vocab));
}

Result<std::unique_ptr<engine::Engine>> load_probe_engine(const std::string& model, int threads,
                                                          ProbeLoader loader) {
  HEDGE_TRY_SET(const ModelStore store, ModelStore::from_environment());
  HEDGE_TRY_SET(const std::string path, store.resolve(model));
  HEDGE_TRY(choose_kernel_level());
  HEDGE_TRY_SET(const std::unique_ptr<gguf::File> file, gguf::File::open(path));
  HEDGE_TRY_SET(const model::Config config, model::read_config(*file));
  engine::Options options;
  options.threads = threads;
  options.slots = kSlots;
  options.speculation = "off";
  options.context_tokens = std::min(kContextTokens, config.context);
  options.state_blocks = route::default_probe_blocks(config.layers);
  options.probe = std::move(loader);
  return engine::Engine::load(path, options);
}

}  // namespace hedge::cli
