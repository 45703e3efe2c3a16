// The strings of a JSON text, for those who look at what is said in it and need no parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hedge {

// Every string, names of members too, with its escapes resolved. Linear; any bytes may be given: of what is
// no JSON it gives what stands between quotation marks. A surrogate without its other half becomes U+FFFD.
std::vector<std::string> json_strings(std::string_view json);

// A piece of a JSON text: a member's name or a string, between its quotation marks, or what stands without
// them.
struct JsonPiece {
  enum class Kind : uint8_t { kName, kString, kNumber, kLiteral };  // kLiteral: true, false, null
  Kind kind = Kind::kLiteral;
  size_t begin = 0;
  size_t end = 0;
};

// The first piece from `at` on, which moves behind it. None at the end of the text, and where no piece can
// follow: then `at` stands before what is none.
std::optional<JsonPiece> next_json_piece(std::string_view json, size_t& at);

// Whether a text is an object or a list, to the end made of JSON's pieces and signs. Brackets are not
// matched.
bool is_json_text(std::string_view text);

// What stands between quotation marks, with its escapes resolved; and the other way.
void append_json_unescaped(std::string& out, std::string_view inside);
void append_json_escaped(std::string& out, std::string_view text);

}  // namespace hedge
