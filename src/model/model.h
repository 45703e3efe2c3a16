// A model ready to compute: the mapped file, its config and weights, and the team of threads. Load once, then
// make as many Forwards as there are owners.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "gguf/file.h"
#include "kernels/table.h"
#include "model/config.h"
#include "model/forward.h"
#include "model/weights.h"
#include "os/team.h"

namespace hedge::model {

class Model {
 public:
  // threads 0: all cores this process may use.
  static Result<std::unique_ptr<Model>> load(const std::string& path, int threads);

  const gguf::File& file() const { return *file_; }
  const Config& config() const { return config_; }
  const Weights& weights() const { return weights_; }
  const kernels::Table& table() const { return table_; }
  os::Team& team() { return *team_; }

  std::unique_ptr<Forward> make_forward(int rows_max, int outputs_max, int context_tokens) {
    return Forward::create(config_, weights_, table_, *team_, rows_max, outputs_max, context_tokens);
  }

 private:
  static Result<std::unique_ptr<Model>> load_file(const std::string& path, int threads);
  explicit Model(const kernels::Table& table) : table_(table) {}
  std::unique_ptr<gguf::File> file_;
  Config config_;
  Weights weights_;
  const kernels::Table& table_;
  std::unique_ptr<os::Team> team_;
};

}  // namespace hedge::model
