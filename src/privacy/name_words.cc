#include "privacy/name_words.h"

#include <algorithm>
#include <vector>

#include "privacy/scan.h"

namespace hedge::privacy {
namespace {

// Titles, particles of names, and what stands beside names in letters.
constexpr std::string_view kCommon[] = {
    "mrs",    "miss",   "mister",  "doctor", "prof", "professor", "sir",  "madam", "madame", "monsieur",
    "lady",   "lord",   "herr",    "frau",   "rev",  "hon",       "capt", "sgt",   "phd",    "esq",
    "junior", "senior", "and",     "the",    "for",  "from",      "with", "von",   "van",    "der",
    "den",    "del",    "della",   "dos",    "las",  "los",       "bin",  "ibn",   "dear",   "hi",
    "hello",  "thanks", "regards", "best",   "this", "that",      "you",  "your",  "she",    "her",
    "his",    "they",   "our",     "not",    "all",  "name",      "names"};

bool is_listed(uint32_t word) {
  static const std::vector<uint32_t> hashes = [] {
    std::vector<uint32_t> out;
    for (const std::string_view common : kCommon) out.push_back(word_hash(common));
    std::sort(out.begin(), out.end());
    return out;
  }();
  return std::binary_search(hashes.begin(), hashes.end(), word);
}

}  // namespace

bool has_name_words(std::string_view type) {
  return type == "PERSON" || type == "ORGANIZATION" || type == "STREET_ADDRESS";
}

bool is_english_word(const Token& word) { return (builtin_tagger().lists_of(word.word) & kListEnglish) != 0; }

bool is_common_word(std::string_view type, const Token& word) {
  if (is_listed(word.word)) return true;
  const unsigned lists = builtin_tagger().lists_of(word.word);
  constexpr unsigned kNames = kListFirstName | kListLastName;
  if (type == "PERSON") return (lists & kListJob) != 0 && (lists & kNames) == 0;
  return (lists & ~kNames) != 0;
}

}  // namespace hedge::privacy
