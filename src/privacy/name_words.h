// The words of a masked name by which it is still known where only a part of it stands: "Goodwin" of
// "Jennifer Goodwin". Words are compared without case and accents, so "GOODWIN" is the same one.
#pragma once

#include <array>
#include <string_view>

#include "privacy/tokens.h"

namespace hedge::privacy {

// Whether values of this type are names with parts: people; organisations and postal addresses, of which only
// what is no ordinary word tells anything.
bool has_name_words(std::string_view type);

// Whether a word of a name of this type is none of its own: a title, a stop word.
bool is_common_word(std::string_view type, const Token& word);

// Whether it is an English word, too ("Mark", "Will").
bool is_english_word(const Token& word);

// Three letters or more, not in small ones.
inline bool may_be_of_a_name(const Token& token) {
  return token.kind == TokenKind::kWord && token.chars >= 3 && token.shape != 'a';
}

// Calls each(const Token&) for every word that may be a part of a name.
template <typename Each>
void each_capital_word(std::string_view text, Each each) {
  std::array<Token, kWindowTokens> tokens;
  for (size_t position = 0; position < text.size();) {
    const size_t count = read_tokens(text, {}, position, tokens);
    if (count == 0) return;
    for (size_t i = 0; i < count; ++i) {
      if (may_be_of_a_name(tokens[i])) each(tokens[i]);
    }
  }
}

}  // namespace hedge::privacy
