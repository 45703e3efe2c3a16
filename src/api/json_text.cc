#include "api/json_text.h"

#include "base/json_strings.h"
#include "base/utf8.h"

namespace hedge::api {

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  if (utf8_valid(text)) {
    append_json_escaped(out, text);
  } else {
    append_json_escaped(out, utf8_sanitize(text));
  }
  out += '"';
}

}  // namespace hedge::api
