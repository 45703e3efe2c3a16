// US_DRIVER_LICENSE: what stands shortly after "driver's license", "driving licence", "DL no." and holds 5 to
// 20 letters and digits, most of them digits. The states' formats differ so much that only the label tells.
#include <algorithm>

#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

constexpr std::string_view kLabels[] = {"license", "licence", "licenses", "dl", "lic"};
constexpr std::string_view kDrivers[] = {"driver", "drivers", "driving", "operator"};
constexpr size_t kReach = 40;       // characters from the label to the number
constexpr size_t kLabelReach = 10;  // and back from it to "driver's"
constexpr size_t kSymbolsMin = 5;
constexpr size_t kSymbolsMax = 20;

bool word_ends(std::string_view s, size_t begin, size_t end, std::string_view word) {
  return end - begin == word.size() && matches_at(s, begin, word);
}

// Whether a label stands anywhere: as a word that begins with "lic", or "dl".
bool has_label(std::string_view s) {
  static constexpr ByteSet kL("lL");
  for (size_t i = kL.next(s, 0); i < s.size(); i = kL.next(s, i + 1)) {
    if (matches_at(s, i, "lic") && !is_word(char_before(s, i))) return true;
    if (i > 0 && to_lower(s[i - 1]) == 'd' && !is_word(char_at(s, i + 1)) && !is_word(char_before(s, i - 1)))
      return true;
  }
  return false;
}

}  // namespace

void find_us_driver_license(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  if (!has_label(s)) return;
  size_t label = std::string_view::npos;   // where the last label ended
  size_t driver = std::string_view::npos;  // where the last "driver" ended
  for (size_t i = 0; i < s.size();) {
    if (!is_word(s[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < s.size() && is_word(s[end])) ++end;
    const auto is = [&](std::string_view word) { return word_ends(s, i, end, word); };
    if (std::any_of(std::begin(kDrivers), std::end(kDrivers), is)) driver = end;
    const bool near_driver = driver != std::string_view::npos && i - driver <= kLabelReach;
    if (std::any_of(std::begin(kLabels), std::end(kLabels), is) && (near_driver || is("dl"))) label = end;
    if (label == std::string_view::npos || i < label || i - label > kReach || !is_alnum(s[i])) {
      i = end;
      continue;
    }
    // Groups joined by single dashes.
    size_t digits = 0, symbols = 0, last = i;
    for (size_t at = i; at < s.size() && (is_alnum(s[at]) || (s[at] == '-' && is_alnum(char_at(s, at + 1))));
         ++at) {
      digits += is_digit(s[at]) ? 1 : 0;
      symbols += is_alnum(s[at]) ? 1 : 0;
      last = at + 1;
    }
    if (symbols >= kSymbolsMin && symbols <= kSymbolsMax && digits * 2 > symbols &&
        !is_word(char_at(s, last))) {
      finds.push_back(Find{i, last, 0.95});
      label = std::string_view::npos;
    }
    i = std::max(end, last);
  }
}

}  // namespace hedge::privacy
