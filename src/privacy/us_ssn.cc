// US_SSN: three, two and four digits with dashes, in the ranges that the Social Security Administration
// issues.
#include "privacy/detector.h"

namespace hedge::privacy {

void find_us_ssn(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  constexpr size_t kLength = 11;  // "123-45-6789"
  for (size_t i = s.find('-'); i != std::string_view::npos; i = s.find('-', i + 1)) {
    if (i < 3 || s.size() - (i - 3) < kLength || s[i + 3] != '-') continue;
    const size_t begin = i - 3;
    bool digits = true;
    for (const size_t offset : {0, 1, 2, 4, 5, 7, 8, 9, 10}) digits = digits && is_digit(s[begin + offset]);
    if (!digits) continue;
    const char before = char_before(s, begin);
    const char after = char_at(s, begin + kLength);
    if (is_word(before) || before == '-' || is_word(after) || after == '-') continue;
    const std::string_view area = s.substr(begin, 3);
    if (area == "000" || area == "666" || area[0] == '9' || s.substr(begin + 4, 2) == "00" ||
        s.substr(begin + 7, 4) == "0000") {
      continue;
    }
    finds.push_back(Find{begin, begin + kLength, 0.9});
  }
}

}  // namespace hedge::privacy
