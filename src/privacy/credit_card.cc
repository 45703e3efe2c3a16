// CREDIT_CARD: 12 to 19 digits that begin like a known card scheme, have one of its lengths and pass the Luhn
// check (ISO/IEC 7812-1). Digits stand together, in the groups cards are written in (over lines, too), or one
// by one.
#include <array>
#include <cstdint>

#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

constexpr size_t kDigitsMin = 12;
constexpr size_t kDigitsMax = 19;
constexpr size_t kGroupsMax = 6;

// Number ranges by their first `prefix_digits` digits (ISO 7812 issuer ranges as the schemes publish them).
struct Scheme {
  uint32_t first;
  uint32_t last;
  int prefix_digits;
  uint8_t length_min;
  uint8_t length_max;
};
constexpr Scheme kSchemes[] = {
    {4, 4, 1, 13, 19},        // Visa: 13, 16, 19
    {51, 55, 2, 16, 16},      // Mastercard
    {2221, 2720, 4, 16, 16},  // Mastercard
    {34, 34, 2, 15, 15},      // American Express
    {37, 37, 2, 15, 15},      //
    {300, 305, 3, 14, 19},    // Diners Club
    {36, 36, 2, 14, 19},      //
    {38, 39, 2, 14, 19},      //
    {6011, 6011, 4, 16, 19},  // Discover
    {644, 659, 3, 16, 19},    //
    {35, 35, 2, 16, 19},      // JCB (3528 to 3589; neighbours cost nothing)
    {1800, 1800, 4, 15, 15},  // JCB, old
    {2131, 2131, 4, 15, 15},  //
    {2200, 2204, 4, 16, 19},  // Mir
    {60, 60, 2, 16, 16},      // RuPay
    {81, 82, 2, 16, 19},      // RuPay, UnionPay
    {62, 62, 2, 16, 19},      // UnionPay
    {9792, 9792, 4, 16, 16},  // Troy
    {50, 50, 2, 12, 19},      // Maestro, Elo
    {56, 58, 2, 12, 19},      // Maestro
    {63, 63, 2, 12, 19},      // Maestro
    {604, 604, 4, 12, 19},    // "0604"
    {67, 67, 2, 12, 19},      // Maestro
};

bool known_scheme(const std::array<uint8_t, kDigitsMax>& digits, size_t count) {
  for (const Scheme& scheme : kSchemes) {
    uint32_t prefix = 0;
    for (int i = 0; i < scheme.prefix_digits; ++i) prefix = prefix * 10 + digits[static_cast<size_t>(i)];
    if (prefix < scheme.first || prefix > scheme.last) continue;
    if (count < scheme.length_min || count > scheme.length_max) continue;
    if (scheme.first == 4 && count != 13 && count != 16 && count != 19) continue;
    return true;
  }
  return false;
}

bool luhn_ok(const std::array<uint8_t, kDigitsMax>& digits, size_t count) {
  int sum = 0;
  for (size_t i = 0; i < count; ++i) {
    int digit = digits[count - 1 - i];
    if (i % 2 == 1) {
      digit *= 2;
      if (digit > 9) digit -= 9;
    }
    sum += digit;
  }
  return sum % 10 == 0;
}

// Cards are printed 4-4-4-4(-3), 4-6-5, 4-6-4, 6-13, 4-4-5: the first group has 4 or 6 digits, no other fewer
// than 3.
bool card_groups(const std::array<uint8_t, kDigitsMax>& groups, size_t count) {
  if (count == 1) return true;
  if (count > kGroupsMax || (groups[0] != 4 && groups[0] != 6)) return false;
  for (size_t i = 1; i < count; ++i) {
    if (groups[i] < 3) return false;
  }
  return true;
}

// End of the longest run of groups from `begin` whose digits are a card, or 0.
size_t match_end(std::string_view s, size_t begin) {
  std::array<uint8_t, kDigitsMax> digits{};
  std::array<uint8_t, kDigitsMax> groups{};
  size_t digit_count = 0;
  size_t group_count = 0;
  size_t best = 0;
  bool single_digits = begin < 2 || is_digit(s[begin - 1]) || !is_digit(s[begin - 2]);
  char separator = '\0';
  for (size_t i = begin; i < s.size();) {
    size_t group = 0;
    while (i < s.size() && is_digit(s[i])) {
      if (digit_count == kDigitsMax) return best;
      digits[digit_count++] = static_cast<uint8_t>(s[i] - '0');
      ++group;
      ++i;
    }
    groups[group_count++] = static_cast<uint8_t>(group);
    single_digits = single_digits && group == 1;
    const char next = char_at(s, i) == '\n' ? ' ' : char_at(s, i);  // a line may end between groups
    const bool list_sign = next == ',' || next == '_';
    const bool separated = (next == ' ' || next == '-' || next == '.' || list_sign) &&
                           (separator == '\0' || next == separator) && is_digit(char_at(s, i + 1));
    if (is_word(next) && !separated) return best;
    // Digits written one by one, and groups between signs that join lists and names, count only as a whole
    // run: any stretch of a number grid would pass now and then.
    const bool shape =
        (card_groups(groups, group_count) && !(list_sign && separated)) || (single_digits && !separated);
    if (digit_count >= kDigitsMin && shape && known_scheme(digits, digit_count) &&
        luhn_ok(digits, digit_count))
      best = i;
    if (!separated) return best;
    separator = next;
    ++i;
  }
  return best;
}

}  // namespace

void find_credit_card(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  for (size_t i = next_digit(s, 0); i < s.size(); i = next_digit(s, i)) {
    size_t run_end = i;
    while (run_end < s.size() && is_digit(s[run_end])) ++run_end;
    const char before = char_before(s, i);
    const bool open =
        !is_word(before) && !((before == '.' || before == ',') && is_digit(char_before(s, i - 1)));
    const size_t end = open && run_end - i <= kDigitsMax ? match_end(s, i) : 0;
    if (end != 0) finds.push_back(Find{i, end, 0.95});
    i = end != 0 ? end : run_end;
  }
}

}  // namespace hedge::privacy
