// JSON as the gate reads it: every string and number as a text of its own, its escapes resolved, with the
// name of its member before it as a label ("customer name: "). A name or number that stands alone tells the
// tagger nothing; on a form it does.
#pragma once

#include <string>
#include <string_view>

#include "base/json_strings.h"
#include "privacy/detect.h"
#include "privacy/policy.h"

namespace hedge::privacy {

// Buffers, kept from one text to the next.
struct JsonWork {
  std::string label;
  std::string labelled;
};

// The label that a member's name makes, empty for one that is too long for any.
void label_of(std::string_view name, std::string& label);

// Which of the types may be found in a piece: a name without spaces is the program's, for which the tagger is
// not asked; a number is no name of anybody or anything.
TypeSet types_of(const JsonPiece& piece, std::string_view said, TypeSet types);

// Whether a find of these types lies behind the label and counts. Where it is all that is said, the tagger
// has little but the label to go by, and has to be sure: "Status: Shipped" is nobody (0.5), "Customer:
// Goodwin" is (0.99).
bool counts_behind(size_t label, const Span& span, std::string_view text, TypeSet types);

// Calls each(JsonPiece, text, label) for all but literals: `label` bytes of the text are the label.
// REQUIRES is_json_text(json).
template <typename Each>
void each_member(std::string_view json, JsonWork& work, Each each) {
  work.label.clear();
  for (size_t at = 0; const auto piece = next_json_piece(json, at);) {
    if (piece->kind == JsonPiece::Kind::kLiteral) continue;
    const bool is_name = piece->kind == JsonPiece::Kind::kName;
    const std::string_view raw = json.substr(piece->begin, piece->end - piece->begin);
    work.labelled = is_name ? std::string_view() : std::string_view(work.label);
    const size_t label = work.labelled.size();
    append_json_unescaped(work.labelled, raw);
    if (is_name) label_of(work.labelled, work.label);
    each(*piece, std::string_view(work.labelled), label);
  }
}

// The JSON with what rewrite(JsonPiece, text, label) gives in the place of each piece. What it leaves as it
// was keeps its escapes.
template <typename Rewrite>
std::string rewrite_members(std::string_view json, JsonWork& work, Rewrite rewrite) {
  std::string out;
  size_t at = 0;
  each_member(json, work, [&](const JsonPiece& piece, std::string_view text, size_t label) {
    const std::string written = rewrite(piece, text, label);
    if (written == text.substr(label)) return;
    out.append(json, at, piece.begin - at);
    append_json_escaped(out, written);
    at = piece.end;
  });
  return out.append(json, at);
}

}  // namespace hedge::privacy
