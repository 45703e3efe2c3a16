// Format specifications, as str.format() and % share them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja_runtime.h"

namespace hedge::text::jinja {

// [[fill]align][sign][#][0][width][,][.precision][type]; the printf form uses the same fields.
struct FormatSpec {
  std::string fill = " ";
  char align = 0;
  char sign = '-';
  char group = 0;
  char type = 0;
  bool alternate = false;
  int width = 0;
  int precision = -1;
};

// The digits at `position`, which moves past them; 0 when there are none. Fails above a limit.
std::optional<int> read_number(Runtime& runtime, std::string_view text, size_t& position);

std::string format_number(Runtime& runtime, const FormatSpec& spec, const Value& value);
std::string format_text(Runtime& runtime, const FormatSpec& spec, std::string text);
// By the text of a specification, which may be empty.
std::string format_value(Runtime& runtime, const Value& value, std::string_view text);

}  // namespace hedge::text::jinja
