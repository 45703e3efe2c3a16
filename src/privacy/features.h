// What the tagger knows about a token: hashes of facts about it and its neighbours. Training and tagging
// share this code, so a weights file fits one version of it (kFeatureVersion).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "privacy/tokens.h"

namespace hedge::privacy {

inline constexpr uint32_t kFeatureVersion = 1;
inline constexpr size_t kFeaturesMax = 96;

// Word lists, as bits of Token::lists.
enum WordList : uint8_t {
  kListFirstName = 1,
  kListLastName = 2,
  kListCity = 4,
  kListCountry = 8,  // countries, regions, states
  kListStreet = 16,
  kListNationality = 32,
  kListJob = 64,
  kListEnglish = 128,
};

// Facts about a whole window, found once.
struct WindowFacts {
  bool any_upper = false;                            // some letter of it is a capital
  std::array<uint32_t, kWindowTokens> label_word{};  // the word before the last ':' near a token, or 0
  std::array<bool, kWindowTokens> upper_line{};      // all words of its line are in capitals
};

void find_facts(std::span<const Token> tokens, WindowFacts& facts);

// Writes the features of tokens[i], none of them 0, and returns how many.
size_t extract_features(std::span<const Token> tokens, const WindowFacts& facts, size_t i,
                        std::span<uint32_t, kFeaturesMax> out);

}  // namespace hedge::privacy
