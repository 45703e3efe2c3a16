// Names that people type: checked, compared, and suggested when they miss. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedge::cli {

// A file name of the model store: letters, digits and "._-+", no leading dot, at most 200 bytes, ends in
// ".gguf".
bool valid_file_name(std::string_view name);
// 64 lower-case hex digits.
bool valid_sha256(std::string_view text);

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b);
// The candidate that is nearest to `word`, or empty when none is near enough to be meant (a third of its
// length).
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace hedge::cli
