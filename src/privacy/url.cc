// DOMAIN_NAME: "http://", "https://" and "ftp://" addresses, "www." names, and bare names under the oldest
// top-level domains ("example.com/path"). What stands between white space or brackets belongs to it, but not
// the mark that ends a sentence.
#include <algorithm>

#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

constexpr size_t kUrlMax = 2048;
constexpr size_t kLabelMax = 63;  // RFC 1035
constexpr std::string_view kSchemes[] = {"http://", "https://", "ftp://"};
constexpr std::string_view kBareDomains[] = {"com", "org", "net", "edu", "gov"};

bool is_host(char c) { return is_alnum(c) || c == '-' || c == kLetter || c == kIdeograph; }

bool is_url(char c) {
  constexpr std::string_view kMarks = "-._~:/?#[]@!$&'()*+,;=%";  // RFC 3986
  return is_alnum(c) || c == kLetter || kMarks.find(c) != std::string_view::npos;
}

// End of the labels "a.b.c" from `begin`, or `begin` when there are not two of them.
size_t host_end(std::string_view s, size_t begin) {
  size_t end = begin;
  size_t labels = 0;
  for (size_t i = begin; labels < 32;) {
    const size_t label = i;
    while (is_host(char_at(s, i)) && i - label <= kLabelMax) ++i;
    if (i == label) break;
    end = i;
    ++labels;
    if (char_at(s, i) != '.') break;
    ++i;
  }
  return labels >= 2 ? end : begin;
}

// End of port, path and query after the host.
size_t path_end(std::string_view s, size_t begin, size_t end) {
  const char next = char_at(s, end);
  if (next != '/' && next != ':' && next != '?' && next != '#') return end;
  size_t i = end;
  while (i - begin < kUrlMax && is_url(char_at(s, i))) ++i;
  while (i > end) {
    const char last = s[i - 1];
    if (last == ')' &&
        std::count(s.begin() + static_cast<ptrdiff_t>(begin), s.begin() + static_cast<ptrdiff_t>(i), '(') > 0)
      break;
    if (std::string_view(".,;:!?'\")]").find(last) == std::string_view::npos) break;
    --i;
  }
  return i;
}

bool bare_domain(std::string_view host) {
  const std::string_view last = host.substr(host.rfind('.') + 1);
  return std::any_of(std::begin(kBareDomains), std::end(kBareDomains), [last](std::string_view name) {
    return last.size() == name.size() && matches_at(last, 0, name);
  });
}

}  // namespace

void find_url(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  for (size_t i = 0; i < s.size(); ++i) {
    if (!is_host(s[i])) continue;
    if (s[i] != kIdeograph && is_word(char_before(s, i))) continue;
    size_t host = i;
    for (const std::string_view scheme : kSchemes) {
      if (matches_at(s, i, scheme)) host = i + scheme.size();
    }
    size_t end = host_end(s, host);
    const bool whole = host > i || matches_at(s, i, "www.");
    if (host > i && end == host) {  // "http://localhost:8080/": one label
      while (is_host(char_at(s, end)) && end - host <= kLabelMax) ++end;
    }
    const char before = char_before(s, i);
    const bool named = end > host && !whole && bare_domain(s.substr(i, end - i)) && before != '@' &&
                       before != '.' && before != '/' && char_at(s, end) != '@' && !is_word(char_at(s, end));
    if (end > host && (whole || named)) {
      end = path_end(s, host, end);
      finds.push_back(Find{i, end, whole ? 0.85 : 0.5});
      i = end - 1;
    } else {
      while (is_host(char_at(s, i + 1))) ++i;
    }
  }
}

}  // namespace hedge::privacy
