// A text line by line, with the numbers that error messages name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "base/result.h"

namespace hedge {

// Calls read(line, number) for each line, numbered from 1, without its '\n' or "\r\n"; a last line needs
// none. The first error of `read` ends it.
template <typename Read>
Status each_line(std::string_view text, Read&& read) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (Status done = read(line, number); !done.ok()) return done;
  }
  return {};
}

inline bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace hedge
