// EMAIL_ADDRESS: local part, "@", domain of at least two labels; also "name [at] host [dot] com", "name @
// host.com", and "@" as URLs and HTML encode it. The "@" is found first and both sides are read from it with
// the limits of RFC 5321, so the scan is linear.
#include <algorithm>
#include <array>
#include <initializer_list>

#include "privacy/detect.h"
#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

constexpr size_t kLocalMax = 64;    // RFC 5321 4.5.3.1.1
constexpr size_t kDomainMax = 255;  // RFC 5321 4.5.3.1.2
constexpr size_t kLabelMax = 63;    // RFC 1035 2.3.4

// Top-level domains that make an address of the spaced form certain; there "x @ self.weight" is code.
constexpr std::array<std::string_view, 28> kCommonTlds = {
    "com", "org", "net", "edu", "gov", "info", "io", "co", "uk", "de", "fr", "it", "es", "nl",
    "ch",  "at",  "be",  "pl",  "se",  "ru",   "cn", "jp", "in", "br", "ca", "au", "us", "eu"};

bool is_common_tld(std::string_view label) {
  return std::any_of(kCommonTlds.begin(), kCommonTlds.end(), [label](std::string_view known) {
    return label.size() == known.size() && matches_at(label, 0, known);
  });
}

bool is_local_char(char c) {
  return is_alnum(c) || c == kLetter || c == '.' || c == '_' || c == '%' || c == '+' || c == '-' ||
         c == '\'' || c == '!' || c == '#' || c == '$' || c == '&' || c == '*' || c == '^' || c == '~';
}

// How the at sign is written: its range, and whether the domain must end in a common TLD.
struct At {
  size_t begin = 0;
  size_t end = 0;
  bool spaced = false;
};

// Matches "(word)", "[word]" or "{word}" at `position`, spaces allowed inside; the end of it, or 0.
size_t bracketed(std::string_view s, size_t position, std::string_view word) {
  const char open = char_at(s, position);
  const char close = open == '(' ? ')' : open == '[' ? ']' : open == '{' ? '}' : '\0';
  if (close == '\0') return 0;
  ++position;
  if (char_at(s, position) == ' ') ++position;
  if (!matches_at(s, position, word)) return 0;
  position += word.size();
  if (char_at(s, position) == ' ') ++position;
  return char_at(s, position) == close ? position + 1 : 0;
}

// End of the sign that is written in one of `forms` at `position`, or 0.
size_t encoded(std::string_view s, size_t position, std::initializer_list<std::string_view> forms) {
  for (const std::string_view form : forms) {
    if (matches_at(s, position, form)) return position + form.size();
  }
  return 0;
}

bool find_at(std::string_view s, size_t position, At& at) {
  if (s[position] == '@') {
    at = At{position, position + 1, false};
    if (char_before(s, position) == ' ' && char_at(s, position + 1) == ' ') {
      at = At{position - 1, position + 2, true};
    }
    return true;
  }
  if (const size_t end = encoded(s, position, {"%40", "&#64;", "&#x40;", "&commat;"}); end != 0) {
    at = At{position, end, false};
    return true;
  }
  const size_t end = bracketed(s, position, "at");
  if (end == 0) return false;
  at.begin = char_before(s, position) == ' ' ? position - 1 : position;
  at.end = char_at(s, end) == ' ' ? end + 1 : end;
  at.spaced = false;
  return true;
}

// First character of the local part that ends at `end`; `end` itself when there is none.
size_t local_begin(std::string_view s, size_t end) {
  const size_t floor = end > kLocalMax ? end - kLocalMax : 0;
  size_t begin = end;
  if (char_before(s, end) == '"') {  // a quoted local part
    for (size_t i = end - 1; i > floor;) {
      --i;
      if (s[i] == '"') return i;
      if (s[i] == '\n') break;
    }
    return end;
  }
  if (char_before(s, end) == kIdeograph) {
    while (begin > floor && s[begin - 1] == kIdeograph) --begin;
    return begin;
  }
  while (begin > floor && is_local_char(s[begin - 1])) --begin;
  // What opens a quotation or a list is not part of the address.
  while (begin < end && !is_alnum(s[begin]) && s[begin] != kLetter && s[begin] != '_') ++begin;
  return begin;
}

// End of the dot that separates two labels ("." or "[dot]"), or 0.
size_t dot_end(std::string_view s, size_t position) {
  if (char_at(s, position) == '.') return position + 1;
  if (const size_t end = encoded(s, position, {"%2e", "&#46;", "&period;"}); end != 0) return end;
  const size_t begin = char_at(s, position) == ' ' ? position + 1 : position;
  const size_t end = bracketed(s, begin, "dot");
  if (end == 0) return 0;
  return char_at(s, end) == ' ' ? end + 1 : end;
}

// End of the domain that begins at `begin`, or `begin` when there is none.
size_t domain_end(std::string_view s, size_t begin, bool common_tld) {
  size_t best = begin;
  size_t label_begin = begin;
  bool all_numeric = true;  // "pkg@1.0.rc" is a version
  for (int labels = 0; label_begin - begin < kDomainMax; ++labels) {
    size_t end = label_begin;
    if (char_at(s, end) == kIdeograph) {
      while (end - label_begin < kLabelMax && char_at(s, end) == kIdeograph) ++end;
    } else {
      while (end - label_begin < kLabelMax &&
             (is_alnum(char_at(s, end)) || char_at(s, end) == kLetter || char_at(s, end) == '-')) {
        ++end;
      }
      while (end > label_begin && s[end - 1] == '-') --end;
    }
    if (end == label_begin || s[label_begin] == '-') break;
    const std::string_view label = s.substr(label_begin, end - label_begin);
    const bool letters = std::all_of(label.begin(), label.end(),
                                     [](char c) { return is_alpha(c) || c == kLetter || c == kIdeograph; });
    const bool tld = (letters && label.size() >= 2) || matches_at(label, 0, "xn--");
    if (labels > 0 && tld && !all_numeric && (!common_tld || is_common_tld(label))) {
      best = end;
    }
    all_numeric = all_numeric && std::all_of(label.begin(), label.end(), is_digit);
    const size_t next = dot_end(s, end);
    if (next == 0) break;
    label_begin = next;
  }
  return best;
}

}  // namespace

bool ends_in_common_tld(std::string_view domain) {
  return is_common_tld(domain.substr(domain.rfind('.') + 1));  // npos + 1 is 0
}

void find_email(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  size_t floor = 0;  // end of the address before
  static constexpr ByteSet kSigns("@([{%&");
  for (size_t i = kSigns.next(s, 0); i < s.size(); i = kSigns.next(s, i + 1)) {
    At at;
    if (!find_at(s, i, at) || at.begin < floor) continue;
    const size_t begin = std::max(local_begin(s, at.begin), floor);
    if (begin >= at.begin) continue;
    const size_t end = domain_end(s, at.end, at.spaced);
    if (end == at.end) continue;
    // "git@host:path" is where a repository lies, not a person.
    if (s.substr(begin, at.begin - begin) == "git" && char_at(s, end) == ':') continue;
    finds.push_back(Find{begin, end, 1.0});
    floor = end;
  }
}

}  // namespace hedge::privacy
