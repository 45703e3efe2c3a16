// PHONE_NUMBER: digits in the groups that telephone numbers are written in. Strong shapes (international,
// North American, national with trunk 0 or an area code in parentheses) stand alone; any other group of 7 to
// 15 digits counts only near a word such as "phone". Dates, years, prices, decimals, versions, ranges, ISBNs
// and plain long ids are not numbers.
#include <algorithm>
#include <array>

#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

constexpr size_t kDigitsMin = 7;     // a local number
constexpr size_t kDigitsMax = 15;    // ITU-T E.164
constexpr size_t kPrefixedMax = 17;  // with "00" before it
constexpr size_t kGroupsMax = 7;
constexpr size_t kContextChars = 40;  // how far before the number its label may begin
constexpr size_t kExtensionMax = 5;

struct Group {
  size_t begin = 0;
  size_t end = 0;
  bool parens = false;    // "(020)"
  char separator = '\0';  // between it and the next group: ' ', '-', '.', '/', or '\0' when only a
                          // parenthesis stands there
  size_t size() const { return end - begin; }
};

struct Candidate {
  std::array<Group, kGroupsMax> groups;
  size_t count = 0;
  size_t digits = 0;
  bool plus = false;

  size_t size(size_t i) const { return groups[i].size(); }
  bool shape(std::initializer_list<size_t> sizes, size_t first = 0) const {
    if (count - first != sizes.size()) return false;
    return std::equal(sizes.begin(), sizes.end(), groups.begin() + static_cast<ptrdiff_t>(first),
                      [](size_t size, const Group& group) { return group.size() == size; });
  }
  bool separated_by(char separator) const {
    return std::all_of(groups.begin(), groups.begin() + static_cast<ptrdiff_t>(count) - 1,
                       [separator](const Group& group) { return group.separator == separator; });
  }
};

int number_at(std::string_view s, const Group& group) {
  int value = 0;
  for (size_t i = group.begin; i < group.end && i < group.begin + 4; ++i) value = value * 10 + (s[i] - '0');
  return value;
}

bool is_separator(char c) { return c == ' ' || c == '-' || c == '.' || c == '/'; }

// Reads groups from `begin`, which is at '+', '(' or a digit. Reads no more digits than a number can have.
Candidate read_candidate(std::string_view s, size_t begin) {
  Candidate candidate;
  size_t i = begin;
  if (s[i] == '+') {
    candidate.plus = true;
    ++i;
  }
  while (candidate.count < kGroupsMax) {
    Group group;
    group.parens = char_at(s, i) == '(';
    group.begin = group.parens ? i + 1 : i;
    group.end = group.begin;
    while (is_digit(char_at(s, group.end))) ++group.end;
    if (group.end == group.begin || candidate.digits + group.size() > kPrefixedMax) break;
    i = group.end;
    if (group.parens) {
      if (char_at(s, i) != ')' || group.size() > 5) break;
      ++i;
    }
    candidate.digits += group.size();
    candidate.groups[candidate.count++] = group;
    Group& last = candidate.groups[candidate.count - 1];
    if (is_separator(char_at(s, i))) last.separator = s[i++];
    if (last.separator != '\0' && last.separator != ' ' && char_at(s, i) == ' ' && last.parens) ++i;
    const char next = char_at(s, i);
    if (next != '(' && !is_digit(next)) break;
    if (last.separator == '\0' && next != '(' && !last.parens) break;
  }
  return candidate;
}

bool date_like(std::string_view s, const Candidate& c) {
  if (c.plus || c.count < 3) return false;
  const auto value = [&](size_t i) { return number_at(s, c.groups[i]); };
  const auto day = [&](size_t i) { return c.size(i) <= 2 && value(i) >= 1 && value(i) <= 31; };
  const auto year = [&](size_t i) { return c.size(i) == 4 && value(i) >= 1000 && value(i) <= 2999; };
  const bool same = c.groups[0].separator == c.groups[1].separator;
  return same && ((year(0) && day(1) && day(2)) || (day(0) && day(1) && year(2)));
}

// Digits between 1500 and 2099, twice: a span of years.
bool year_range(std::string_view s, const Candidate& c) {
  const auto year = [&](size_t i) {
    return c.size(i) == 4 && number_at(s, c.groups[i]) >= 1500 && number_at(s, c.groups[i]) <= 2099;
  };
  return c.count == 2 && year(0) && year(1);
}

bool isbn_like(std::string_view s, const Candidate& c) {
  const int prefix = number_at(s, c.groups[0]);
  return c.digits == 13 && c.size(0) == 3 && (prefix == 978 || prefix == 979);
}

// A US postal code with its four further digits.
bool zip_like(const Candidate& c) { return c.shape({5, 4}) && c.groups[0].separator == '-'; }

// Score of the groups by themselves, or 0. National plans: ITU-T E.123 notation and what each country prints.
double shape_score(std::string_view s, const Candidate& c) {
  const char first = s[c.groups[0].begin];
  const bool spread = c.count >= 2;
  if (c.plus) {
    if (first == '0' || c.digits < 8 || c.digits > kDigitsMax) return 0;
    return spread || c.digits >= 10 ? 0.9 : 0;
  }
  if (c.digits > kDigitsMax + 2) return 0;
  if (s.substr(c.groups[0].begin, 2) == "00" && c.size(0) >= 2) {
    const bool country = c.size(0) > 2 ? s[c.groups[0].begin + 2] != '0' : spread;
    return spread && country && c.digits >= 10 ? 0.8 : 0;
  }
  // North America: [1] 3 3 4.
  const size_t area = c.count == 4 && c.size(0) == 1 && first == '1' ? 1 : 0;
  if (c.shape({3, 3, 4}, area)) {
    if (c.groups[area].parens || c.separated_by('-') || c.separated_by('.')) return 0.8;
    const bool valid = s[c.groups[area].begin] >= '2' && s[c.groups[area + 1].begin] >= '2';
    if (valid) return 0.6;
  }
  if (spread && c.groups[0].parens && c.size(0) >= 2 && c.digits >= 9 && c.digits <= 12 && c.size(1) >= 3) {
    const int value = number_at(s, c.groups[0]);
    const bool year = c.size(0) == 4 && value >= 1500 && value <= 2099;
    const bool pages = c.count == 2 || c.groups[1].separator == '-';
    if (first == '0' || (!year && pages)) return 0.6;
  }
  // Trunk prefix 0 and an area or mobile code.
  if (spread && first == '0' && c.size(0) >= 2 && c.size(0) <= 5 && c.digits >= 9 && c.digits <= 12) {
    for (size_t i = 1; i < c.count; ++i) {
      if (c.size(i) < 2 || c.size(i) > 8) return 0;
    }
    return 0.7;
  }
  // China: mobile numbers begin with 13 to 19.
  if (c.shape({3, 4, 4}) && first == '1' && s[c.groups[0].begin + 1] >= '3') return 0.6;
  return 0;
}

// Labels that stand anywhere shortly before a number.
constexpr std::string_view kContextWords[] = {
    "phone",    "phones",   "telephone", "tel",   "mobile",  "cell",      "cellphone", "call",
    "fax",      "whatsapp", "sms",       "dial",  "hotline", "landline",  "telegram",  "viber",
    "telefon",  "telefono", "mobil",     "handy", "celular", "cellulare", "rufnummer", "telefoon",
    "telefone", "movil",    "voicemail", "pager", "ring"};
// Labels that count only right before it ("Desk: 540..."), as they mean other things too.
constexpr std::string_view kLabels[] = {"desk",    "office", "home", "work", "direct",
                                        "contact", "number", "no",   "nr",   "text"};
// Attached after it ("432 03 163-Office", "... (mobile)").
constexpr std::string_view kSuffixes[] = {"office", "fax", "mobile", "cell", "home", "work", "desk", "phone"};
constexpr std::string_view kCjkWords[] = {"电话", "電話", "手机",    "手機", "号码",
                                          "携帯", "전화", "телефон", "тел"};

bool word_at(std::string_view s, size_t begin, std::string_view word) {
  return matches_at(s, begin, word) && !is_word(char_before(s, begin)) &&
         !is_word(char_at(s, begin + word.size()));
}

// A label attached after the number: "-Office", " (mobile)".
bool labelled_after(std::string_view s, size_t end) {
  size_t after = end;
  while (after < end + 2 &&
         (char_at(s, after) == ' ' || char_at(s, after) == '-' || char_at(s, after) == '('))
    ++after;
  if (after == end || s[after - 1] == ' ') return false;
  return std::any_of(std::begin(kSuffixes), std::end(kSuffixes),
                     [s, after](std::string_view word) { return word_at(s, after, word); });
}

bool labelled_before(const Folded& text, size_t begin) {
  const std::string_view s = text.chars();
  const size_t floor = begin > kContextChars ? begin - kContextChars : 0;
  for (size_t i = floor; i < begin; ++i) {
    if (!is_alpha(s[i]) || is_word(char_before(s, i))) continue;
    for (const std::string_view word : kContextWords) {
      if (word_at(s, i, word)) return true;
    }
  }
  size_t label_end = begin;
  bool colon = false;
  while (label_end > floor && !is_word(s[label_end - 1]) && begin - label_end < 3) {
    colon = colon || s[label_end - 1] == ':';
    --label_end;
  }
  for (const std::string_view word : kLabels) {
    if (colon && label_end >= word.size() && word_at(s, label_end - word.size(), word)) return true;
  }
  if (floor == begin) return false;
  const std::string_view before =
      text.original().substr(text.byte_begin(floor), text.byte_end(begin) - text.byte_begin(floor));
  return std::any_of(std::begin(kCjkWords), std::end(kCjkWords),
                     [before](std::string_view word) { return before.find(word) != std::string_view::npos; });
}

// Whether what stands around [begin, end) allows a number to stand there at all.
bool bounded(std::string_view s, size_t begin, size_t end) {
  const char before = char_before(s, begin);
  const char before2 = begin >= 2 ? s[begin - 2] : '\n';
  if (is_word(before) || before == '$' || before == '#' || before == '%' || before == '@' || before == '+')
    return false;
  if ((before == '.' || before == ',' || before == ':') && is_digit(before2)) return false;
  if ((before == '-' || before == '/' || before == '.') && is_word(before2)) return false;
  if (before == ')' && is_digit(before2)) return false;
  const char after = char_at(s, end);
  const char after2 = char_at(s, end + 1);
  if (is_word(after) || after == '%' || after == '$') return false;
  if ((after == '.' || after == ',' || after == ':') && is_digit(after2)) return false;
  return true;
}

// End of an extension ("x4587", " ext. 12") that follows a number, or `end`.
size_t extension_end(std::string_view s, size_t end) {
  size_t i = end;
  if (char_at(s, i) == ' ') ++i;
  if (matches_at(s, i, "ext")) {
    i += 3;
    if (char_at(s, i) == '.') ++i;
    if (char_at(s, i) == ' ') ++i;
  } else if (to_lower(char_at(s, i)) == 'x') {
    ++i;
  } else {
    return end;
  }
  const size_t digits = i;
  while (i - digits < kExtensionMax && is_digit(char_at(s, i))) ++i;
  return i > digits && !is_word(char_at(s, i)) ? i : end;
}

struct Match {
  size_t end = 0;  // 0: none
  double score = 0;
};

// The longest run of the candidate's groups that is a number, by its shape or by its label: what follows a
// number after a space may be another.
Match longest_match(const Folded& text, Candidate candidate, size_t begin, bool by_label) {
  const std::string_view s = text.chars();
  for (; candidate.count > 0 && candidate.digits >= kDigitsMin;
       candidate.digits -= candidate.size(--candidate.count)) {
    const size_t groups_end = candidate.groups[candidate.count - 1].end;
    const size_t end = extension_end(s, groups_end);
    if (!bounded(s, begin, end) || date_like(s, candidate) || year_range(s, candidate) ||
        isbn_like(s, candidate))
      continue;
    const bool suffix = labelled_after(s, end);
    // "1-week", "432-ABC": what hangs on to it must be a label.
    if (char_at(s, end) == '-' && is_word(char_at(s, end + 1)) && !suffix) continue;
    if (!by_label) {
      const double score = zip_like(candidate) ? 0 : shape_score(s, candidate);
      if (score > 0) return Match{end, score};
    } else if (candidate.digits <= kDigitsMax && (suffix || labelled_before(text, begin))) {
      return Match{end, 0.6};
    }
  }
  return Match{};
}

}  // namespace

void find_phone(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  static constexpr ByteSet kStarts("+(0123456789");
  for (size_t i = kStarts.next(s, 0); i < s.size(); i = kStarts.next(s, i)) {
    const char next = char_at(s, i + 1);
    if (!is_digit(s[i]) && !is_digit(next) && !(s[i] == '+' && next == '(')) {
      ++i;
      continue;
    }
    const Candidate whole = read_candidate(s, i);
    const size_t first_end = whole.count > 0 ? whole.groups[0].end : i + 1;
    Match match = longest_match(text, whole, i, false);
    if (match.end == 0) match = longest_match(text, whole, i, true);
    if (match.end != 0) finds.push_back(Find{i, match.end, match.score});
    i = std::max(match.end, first_end);
    if (match.end == 0) {
      while (is_digit(char_at(s, i))) ++i;  // the rest of a run of digits too long for a number
    }
  }
}

}  // namespace hedge::privacy
