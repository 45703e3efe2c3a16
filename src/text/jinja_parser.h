// Template source to a Program. Constructs outside the subset (extends, include, recursive loops, unknown
// filters that are always reached ...) give kUnsupported with name and line.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/jinja_ast.h"

namespace hedge::text::jinja {

// The largest template known has 17 kB; 256 kB leaves room for any real one.
inline constexpr size_t kMaxSourceBytes = size_t{256} << 10;
// Brackets, operators and blocks inside one another. The deepest known template has 19.
inline constexpr int kMaxNesting = 100;
// Height of one expression's tree; a chain of n "+" is n high.
inline constexpr int kMaxExprDepth = 200;

Result<Program> parse(std::string_view source);

}  // namespace hedge::text::jinja
