#include "route/word_end.h"

#include <utf8proc.h>

#include "base/utf8.h"

namespace hedge::route {
namespace {

enum class Kind { kWord, kSpaceless, kSpace, kLineBreak, kOther, kAttached };

bool spaceless(char32_t c) {
  return (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) || (c >= 0x1780 && c <= 0x17ff) ||
         (c >= 0x3005 && c <= 0x3007) || (c >= 0x3040 && c <= 0x31ff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0x20000 && c <= 0x3ffff);
}

Kind kind_of(char32_t c) {
  if (c == '\n' || c == '\r' || c == 0x2028 || c == 0x2029) return Kind::kLineBreak;
  if (c == 0x200d || (c >= 0x1f3fb && c <= 0x1f3ff)) return Kind::kAttached;  // joiner, skin tones
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return Kind::kAttached;
    case UTF8PROC_CATEGORY_ZS:
      return Kind::kSpace;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
    case UTF8PROC_CATEGORY_PC:
      return spaceless(c) ? Kind::kSpaceless : Kind::kWord;
    default:
      return c == '\t' ? Kind::kSpace : Kind::kOther;
  }
}

// REQUIRES: not empty. The last character and where it begins.
char32_t last_char(std::string_view text, size_t& begin) {
  begin = text.size() - 1;
  while (begin > 0 && text.size() - begin < 4 && utf8_continues(text[begin])) --begin;
  size_t position = begin;
  return utf8_next(text, position);
}

bool ends_between(char32_t a, char32_t b) {
  utf8proc_int32_t state = 0;
  if (!utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(a), static_cast<utf8proc_int32_t>(b),
                                        &state)) {
    return false;
  }
  const Kind before = kind_of(a);
  const Kind after = kind_of(b);
  if (after == Kind::kAttached || a == 0x200d) return false;
  if (after == Kind::kSpace || after == Kind::kLineBreak || before == Kind::kLineBreak) return true;
  if (before == Kind::kSpaceless || after == Kind::kSpaceless) return before != Kind::kSpace;
  return before == Kind::kOther && after == Kind::kOther;
}

}  // namespace

std::optional<size_t> word_end_in(std::string_view before, std::string_view next) {
  if (before.empty()) return 0;
  size_t begin = 0;
  char32_t a = last_char(before, begin);
  for (size_t position = 0; position < next.size();) {
    const size_t cut = position;
    const char32_t b = utf8_next(next, position);
    if (ends_between(a, b)) return cut;
    a = b;
  }
  return std::nullopt;
}

bool may_end_inside_word(std::string_view text) {
  if (text.empty()) return false;
  size_t begin = 0;
  switch (kind_of(last_char(text, begin))) {
    case Kind::kWord:
    case Kind::kAttached:
    case Kind::kSpace:
      return true;
    case Kind::kSpaceless:
    case Kind::kLineBreak:
    case Kind::kOther:
      return false;
  }
  return false;
}

}  // namespace hedge::route
