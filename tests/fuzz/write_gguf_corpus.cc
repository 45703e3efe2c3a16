// Writes every file of gguf_cases() to the folder that is its argument.
#include <cstdio>
#include <string>
#include <string_view>

#include "os/file.h"
#include "tests/fuzz/gguf_cases.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  for (const auto& c : hedge::fuzz::gguf_cases()) {
    const std::string_view content(reinterpret_cast<const char*>(c.bytes.data()), c.bytes.size());
    const hedge::Status status =
        hedge::os::write_file_atomic(std::string(argv[1]) + "/" + c.name + ".bin", content);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.error().to_text().c_str());
      return 1;
    }
  }
  return 0;
}
