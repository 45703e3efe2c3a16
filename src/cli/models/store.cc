#include "cli/models/store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "cli/names.h"

namespace hedge::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kModelsMax = 10000;  // files of one folder; a folder with more is not a model folder

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string user_home() {
  std::string home = environment("HOME");
  if (!home.empty()) return home;
  const passwd* user = getpwuid(getuid());
  return user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "";
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

void list_folder(const std::string& folder, std::vector<ModelFile>& out) {
  std::error_code failed;
  size_t seen = 0;
  for (fs::directory_iterator it(folder, fs::directory_options::skip_permission_denied, failed), end;
       !failed && it != end && seen < kModelsMax; it.increment(failed), ++seen) {
    const fs::path& path = it->path();
    if (path.extension() != ".gguf" || path.filename().string().starts_with(".") || !is_file(path)) continue;
    std::error_code no_size;
    const uint64_t bytes = fs::file_size(path, no_size);
    if (no_size) continue;
    ModelFile file{model_name(path.string()), path.string(), bytes};
    const bool known =
        std::any_of(out.begin(), out.end(), [&](const ModelFile& m) { return m.name == file.name; });
    if (!known) out.push_back(std::move(file));
  }
}

Error not_here(std::string_view model, const std::vector<ModelFile>& models,
               const std::vector<Source>& sources) {
  if (find_source(sources, model) != nullptr) {
    return make_error(
        ErrorCode::kNotFound,
        fmt::format("model '{}' is not on this machine yet; get it with: hedge pull {}", model, model));
  }
  std::vector<std::string> names;
  for (const ModelFile& m : models) names.push_back(m.name);
  std::vector<std::string> known = names;
  for (const Source& s : sources) known.push_back(s.name);
  std::string text = fmt::format("no model '{}'", model);
  if (const std::string near = nearest(model, known); !near.empty())
    text += fmt::format("; did you mean '{}'?", near);
  text += names.empty() ? "; no models are here yet, `hedge pull` lists what it can get"
                        : fmt::format("; here are: {}", fmt::join(names, ", "));
  return make_error(ErrorCode::kNotFound, text);
}

}  // namespace

std::string model_name(std::string_view path) {
  std::string name = fs::path(path).filename().string();
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name;
}

ModelStore::ModelStore(std::string home, std::vector<std::string> extra_folders) : home_(std::move(home)) {
  folders_.push_back(models_folder());
  for (std::string& folder : extra_folders) folders_.push_back(std::move(folder));
}

Result<ModelStore> ModelStore::from_environment() {
  std::string home = environment("HEDGE_HOME");
  if (home.empty()) {
    const std::string xdg = environment("XDG_DATA_HOME");
    const std::string user = user_home();
    if (!xdg.empty()) {
      home = xdg + "/hedge";
    } else if (!user.empty()) {
      home = user + "/.local/share/hedge";
    } else {
      return make_error(ErrorCode::kNotFound,
                        "no home directory; set HEDGE_HOME to the folder that Hedge may use");
    }
  }
  std::vector<std::string> extra;
  const std::string list = environment("HEDGE_MODELS");
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) extra.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return ModelStore(std::move(home), std::move(extra));
}

std::vector<ModelFile> ModelStore::list() const {
  std::vector<ModelFile> models;
  for (const std::string& folder : folders_) list_folder(folder, models);
  std::sort(models.begin(), models.end(),
            [](const ModelFile& a, const ModelFile& b) { return a.name < b.name; });
  return models;
}

Result<std::string> ModelStore::resolve(std::string_view model) const {
  if (model.empty())
    return make_error(ErrorCode::kInvalidArgument, "MODEL is empty; give a name from `hedge list` or a path");
  if (model.find('/') != std::string_view::npos || model.ends_with(".gguf")) {
    std::error_code ignored;
    if (is_file(fs::path(model))) return std::string(model);
    if (fs::is_directory(fs::path(model), ignored)) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("'{}' is a folder, expected a GGUF file", model));
    }
    if (fs::exists(fs::path(model), ignored)) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("'{}' is no regular file, expected a GGUF file", model));
    }
    if (model.find('/') != std::string_view::npos) {
      return make_error(ErrorCode::kNotFound, fmt::format("no file at '{}'", model));
    }
    model.remove_suffix(5);
  }
  const std::vector<ModelFile> models = list();
  const auto by_name = [&](std::string_view name) {
    return std::find_if(models.begin(), models.end(), [&](const ModelFile& m) { return m.name == name; });
  };
  if (const auto exact = by_name(model); exact != models.end()) return exact->path;

  HEDGE_TRY_SET(const std::vector<Source> sources, load_sources(sources_path()));
  if (const Source* source = find_source(sources, model)) {
    if (const auto pulled = by_name(model_name(source->file)); pulled != models.end()) return pulled->path;
  }
  std::vector<std::string> beginning;
  std::string path;
  for (const ModelFile& m : models) {
    if (!m.name.starts_with(model)) continue;
    beginning.push_back(m.name);
    path = m.path;
  }
  if (beginning.size() == 1) return path;
  if (beginning.size() > 1) {
    return make_error(ErrorCode::kNotFound, fmt::format("'{}' is the beginning of several names: {}", model,
                                                        fmt::join(beginning, ", ")));
  }
  return not_here(model, models, sources);
}

}  // namespace hedge::cli
