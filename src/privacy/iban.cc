// IBAN_CODE: country, two check digits and the country's number of characters, together or in spaced groups;
// the whole is 1 modulo 97 (ISO 13616, lengths from the SWIFT IBAN registry).
#include <array>
#include <cstdint>

#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

struct Country {
  char code[3];
  uint8_t length;
};
constexpr Country kCountries[] = {
    {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22},
    {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22}, {"CY", 28}, {"CZ", 24},
    {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18},
    {"FK", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27},
    {"GT", 28}, {"HN", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26},
    {"IT", 27}, {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20},
    {"LU", 20}, {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MN", 20},
    {"MR", 27}, {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23}, {"PK", 24},
    {"PL", 28}, {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22}, {"RU", 33}, {"SA", 24},
    {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"SO", 23}, {"ST", 25},
    {"SV", 28}, {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20},
    {"YE", 30},
};
constexpr size_t kDigitsMin =
    8;  // no country has fewer in its account part; keeps words from passing by chance

size_t country_length(char a, char b) {
  for (const Country& country : kCountries) {
    if (country.code[0] == to_upper(a) && country.code[1] == to_upper(b)) return country.length;
  }
  return 0;
}

int value_of(char c) { return is_digit(c) ? c - '0' : to_upper(c) - 'A' + 10; }

int mod97(int remainder, char c) {
  const int value = value_of(c);
  return (remainder * (value >= 10 ? 100 : 10) + value) % 97;
}

// End of the IBAN of `length` characters at `begin`, or 0.
size_t match_end(std::string_view s, size_t begin, size_t length) {
  std::array<char, 4> head{};
  int remainder = 0;
  size_t count = 0;
  size_t digits = 0;
  size_t i = begin;
  for (; count < length && i < s.size(); ++i) {
    const char c = s[i];
    const bool separator = c == ' ' || c == '-' || c == '\n';
    if (separator && count >= 2 && is_alnum(char_before(s, i)) && is_alnum(char_at(s, i + 1))) continue;
    if (!is_alnum(c)) return 0;
    if (count < head.size()) {
      head[count] = c;
    } else {
      remainder = mod97(remainder, c);
    }
    if (is_digit(c)) ++digits;
    ++count;
  }
  if (count != length || is_word(char_at(s, i)) || digits < kDigitsMin) return 0;
  for (const char c : head) remainder = mod97(remainder, c);
  return remainder == 1 ? i : 0;
}

}  // namespace

void find_iban(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  // The check digits are looked for, the country stands before them, with a space between or none.
  size_t floor = 0;
  for (size_t check = next_digit(s, 0); check < s.size(); check = next_digit(s, check + 1)) {
    const size_t gap = check > 0 && (s[check - 1] == ' ' || s[check - 1] == '\n') ? 1 : 0;
    if (check < floor + 2 + gap || !is_digit(char_at(s, check + 1))) continue;
    const size_t i = check - 2 - gap;
    if (!is_alpha(s[i]) || !is_alpha(s[i + 1]) || is_word(char_before(s, i))) continue;
    const size_t length = country_length(s[i], s[i + 1]);
    const size_t end = length == 0 ? 0 : match_end(s, i, length);
    if (end == 0) continue;
    finds.push_back(Find{i, end, 1.0});
    floor = end;
    check = end - 1;
  }
}

}  // namespace hedge::privacy
