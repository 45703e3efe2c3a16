// Where models lie on this machine and how a MODEL on the command line becomes a file.
//   HOME/models        what `hedge pull` fetched; HOME is $HEDGE_HOME, else $XDG_DATA_HOME/hedge, else
//   ~/.local/share/hedge $HEDGE_MODELS      more folders of GGUF files, separated by ':'; read only
// A model's name is its file's name without ".gguf".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/models/sources.h"

namespace hedge::cli {

struct ModelFile {
  std::string name;
  std::string path;
  uint64_t bytes = 0;
};

class ModelStore {
 public:
  // Folders need not exist. Earlier ones win where two hold the same name.
  ModelStore(std::string home, std::vector<std::string> extra_folders);
  // Reads the environment. kNotFound when there is neither HEDGE_HOME nor a home directory.
  static Result<ModelStore> from_environment();

  const std::string& home() const { return home_; }
  std::string models_folder() const { return home_ + "/models"; }
  std::string sources_path() const { return home_ + "/sources.toml"; }

  // All models in all folders, by name.
  std::vector<ModelFile> list() const;

  // A path (it has a '/' or names an existing file), a name from list(), the name of a source that was
  // pulled, or the unique beginning of a name. kNotFound says what to do: pull it, or which names are near.
  Result<std::string> resolve(std::string_view model) const;

 private:
  std::string home_;
  std::vector<std::string> folders_;
};

// The file's name without folder and ".gguf".
std::string model_name(std::string_view path);

}  // namespace hedge::cli
