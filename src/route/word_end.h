// Where an answer may be cut so that another model goes on naturally: at the end of a word, never inside one,
// and never between the parts of one visible character. Pure.
//
// Between `a` and `b` a word ends when b is white space, when a is a line break, when neither is part of a
// word (punctuation after punctuation), or when one of them belongs to a script that writes no spaces
// (Chinese, Japanese, Thai,
// ...; Hangul too, as its particles are attached). Not between a letter and punctuation: "don't", "3.14" and
// "example.com" are one word to a tokenizer. Not before combining marks, joiners and modifiers.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace hedge::route {

// How many bytes of `next` still belong to the word at the end of `before`: 0 when the word is complete;
// nothing when the first end of a word lies beyond `next`. With nothing before, the cut is at 0.
std::optional<size_t> word_end_in(std::string_view before, std::string_view next);

// Whether the text may break off inside a word, so that its last token should be healed
// (chat::Request::heal_prefix): it ends in a letter, a digit or a mark on one, or in the single space that
// begins the next word's token.
bool may_end_inside_word(std::string_view text);

}  // namespace hedge::route
