#include "model/model.h"

#include <sched.h>

#include "kernels/dispatch.h"

namespace hedge::model {
namespace {

int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

namespace {

// Errors name the file: a machine may hold many.
Error name_file(Error error, const std::string& path) {
  if (error.detail.find(path) == std::string::npos) error.detail = path + ": " + error.detail;
  return error;
}

}  // namespace

Result<std::unique_ptr<Model>> Model::load(const std::string& path, int threads) {
  Result<std::unique_ptr<Model>> model = load_file(path, threads);
  if (!model.ok()) return name_file(std::move(model).error(), path);
  return model;
}

Result<std::unique_ptr<Model>> Model::load_file(const std::string& path, int threads) {
  std::unique_ptr<Model> model(new Model(kernels::active()));
  HEDGE_TRY_SET(model->file_, gguf::File::open(path));
  HEDGE_TRY_SET(model->config_, read_config(*model->file_));
  HEDGE_TRY_SET(model->weights_, load_weights(*model->file_, model->config_));
  model->team_ = std::make_unique<os::Team>(threads > 0 ? threads : usable_cores());
  return model;
}

}  // namespace hedge::model
