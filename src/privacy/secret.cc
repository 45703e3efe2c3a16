// SECRET: keys by their issuer's prefix, private key blocks, JSON Web Tokens, credentials in URLs,
// random-looking tokens; and, in secret_assigned.cc, values that stand after "password:", "api_key=" and the
// like.
#include <algorithm>
#include <array>
#include <cmath>

#include "privacy/detector.h"
#include "privacy/secret.h"

namespace hedge::privacy {
namespace {

struct Prefix {
  std::string_view text;
  size_t tail_min;
};
constexpr Prefix kPrefixes[] = {
#define HEDGE_SECRET_PREFIX(text, tail_min) Prefix{text, tail_min},
#include "privacy/secret_prefix_list.inc"
#undef HEDGE_SECRET_PREFIX
};

// A token long enough that chance does not make it look random, and how random it must look. 24 characters of
// base62 hold 143 bits; measured on code and English, camel case reaches 0.3 changes of class per character,
// random text 0.6.
constexpr size_t kRandomMin = 24;
constexpr double kRandomBitsPerChar = 3.6;
constexpr double kRandomChangesPerChar = 0.4;
constexpr size_t kRandomDigitsMin = 3;

constexpr size_t kTailCheckMax = 64;  // a key's digits show by then
constexpr size_t kLettersMin = 30;    // that no words make up without a sign between them
constexpr size_t kPemLabelMax = 40;   // "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"
constexpr size_t kUserInfoMax = 256;

bool is_key_char(char c) { return is_alnum(c) || c == '_' || c == '-'; }

// A key's tail that happens to hold no digit: one long run of letters, whose case does not follow words
// ("AutoModelForSequenceClassification").
bool random_letters(std::string_view tail) {
  if (tail.size() < kLettersMin || !std::all_of(tail.begin(), tail.end(), is_alpha)) return false;
  size_t uppers = is_upper(tail[0]) ? 1 : 0;
  size_t changes = 0;
  for (size_t i = 1; i < tail.size(); ++i) {
    uppers += is_upper(tail[i]) ? 1 : 0;
    changes += is_upper(tail[i]) != is_upper(tail[i - 1]) ? 1 : 0;
  }
  return uppers == 0 || uppers == tail.size() || changes * 3 >= tail.size();
}

// Which two bytes a prefix may begin with.
constexpr auto kPrefixStarts = [] {
  std::array<std::array<bool, 128>, 128> starts{};
  for (const Prefix& prefix : kPrefixes)
    starts[static_cast<size_t>(prefix.text[0])][static_cast<size_t>(prefix.text[1])] = true;
  return starts;
}();

void find_prefixed(std::string_view s, std::vector<Find>& finds) {
  for (size_t i = 0; i + 1 < s.size(); ++i) {
    const auto first = static_cast<unsigned char>(s[i]), second = static_cast<unsigned char>(s[i + 1]);
    if (first >= 128 || second >= 128 || !kPrefixStarts[first][second] || is_word(char_before(s, i)))
      continue;
    for (const Prefix& prefix : kPrefixes) {
      if (s[i] != prefix.text[0] || s.compare(i, prefix.text.size(), prefix.text) != 0) continue;
      const size_t tail = i + prefix.text.size();
      const auto in_tail = [s](size_t k) {
        return is_key_char(char_at(s, k)) || (char_at(s, k) == '.' && is_key_char(char_at(s, k + 1)));
      };
      size_t end = tail;
      size_t digits = 0;
      for (; end - tail < kTailCheckMax && in_tail(end); ++end) digits += is_digit(s[end]) ? 1 : 0;
      if (end - tail < prefix.tail_min) continue;
      // "sk-learn-compatible-estimator"
      if (digits == 0 && !random_letters(s.substr(tail, end - tail))) continue;
      while (in_tail(end)) ++end;
      finds.push_back(Find{i, end, 1.0});
      i = end - 1;
      break;
    }
  }
}

// "-----BEGIN ... PRIVATE KEY" up to the end of its block, or of the text when it was cut off.
void find_pem(std::string_view s, std::vector<Find>& finds) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  constexpr std::string_view kKey = "PRIVATE KEY";
  for (size_t i = s.find(kBegin); i != std::string_view::npos; i = s.find(kBegin, i + 1)) {
    const std::string_view label = s.substr(i + kBegin.size(), kPemLabelMax);
    if (label.substr(0, label.find("-----")).find(kKey) == std::string_view::npos) continue;
    const size_t last = s.find("-----END ", i);
    const size_t close = last == std::string_view::npos ? last : s.find("-----", last + 9);
    const size_t end = close == std::string_view::npos ? s.size() : close + 5;
    finds.push_back(Find{i, end, 1.0});
    i = end - 1;
  }
}

// Three base64url parts of which the first is a JSON object ("eyJ" is "{\"" encoded; RFC 7519).
void find_jwt(std::string_view s, std::vector<Find>& finds) {
  const auto in_part = [&](size_t i) { return is_key_char(char_at(s, i)); };
  for (size_t i = s.find("eyJ"); i != std::string_view::npos; i = s.find("eyJ", i + 1)) {
    if (is_word(char_before(s, i))) continue;
    size_t end = i;
    while (in_part(end)) ++end;
    if (end - i < 10 || char_at(s, end) != '.') {
      i = end;
      continue;
    }
    const size_t payload = ++end;
    while (in_part(end)) ++end;
    if (end - payload < 10) {
      i = end;
      continue;
    }
    if (char_at(s, end) == '.') ++end;
    while (in_part(end)) ++end;
    finds.push_back(Find{i, end, 1.0});
    i = end - 1;
  }
}

// "scheme://user:password@host": the password.
void find_url_credentials(std::string_view s, std::vector<Find>& finds) {
  for (size_t i = s.find("://"); i != std::string_view::npos; i = s.find("://", i + 3)) {
    const size_t begin = i + 3;
    size_t colon = 0;
    for (size_t end = begin; end < s.size() && end - begin < kUserInfoMax; ++end) {
      const char c = s[end];
      if (c == ':' && colon == 0) colon = end;
      if (c == '@') {
        if (colon != 0 && end > colon + 1 && !is_placeholder(s.substr(colon + 1, end - colon - 1))) {
          finds.push_back(Find{begin, end, 0.95});
        }
        break;
      }
      if (c == '/' || c == ' ' || c == '\n' || c == '"' || c == '<' || c == '>') break;
    }
  }
}

void find_random(std::string_view s, std::vector<Find>& finds) {
  for (size_t i = next_run(s, 0, kRandomMin, kBase64Chars); i < s.size();
       i = next_run(s, i, kRandomMin, kBase64Chars)) {
    size_t end = i;
    while (end < s.size() && kBase64Chars.has(s[end])) ++end;
    if (char_before(s, i) != kLetter && looks_random(s.substr(i, end - i))) {
      while (char_at(s, end) == '=') ++end;
      finds.push_back(Find{i, end, 0.5});
    }
    i = end;
  }
}

}  // namespace

double bits_per_char(std::string_view token) {
  std::array<size_t, 256> counts{};
  for (const char c : token) ++counts[static_cast<unsigned char>(c)];
  double bits = 0;
  for (const size_t count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(token.size());
    bits -= p * std::log2(p);
  }
  return bits;
}

bool looks_random(std::string_view token) {
  size_t uppers = 0;
  size_t lowers = 0;
  size_t digits = 0;
  size_t changes = 0;
  size_t steps = 0;
  const auto kind = [](char c) { return is_upper(c) ? 1 : is_lower(c) ? 2 : is_digit(c) ? 3 : 0; };
  for (size_t i = 0; i < token.size(); ++i) {
    const int k = kind(token[i]);
    uppers += k == 1 ? 1 : 0;
    lowers += k == 2 ? 1 : 0;
    digits += k == 3 ? 1 : 0;
    const int previous = i > 0 ? kind(token[i - 1]) : 0;
    if (k != 0 && previous != 0) {
      ++steps;
      changes += k != previous ? 1 : 0;
    }
  }
  // One case only is an id, a hash or a UUID: those name things, they open nothing.
  if (uppers == 0 || lowers == 0 || digits < kRandomDigitsMin || steps == 0) return false;
  if (static_cast<double>(changes) < kRandomChangesPerChar * static_cast<double>(steps)) return false;
  return bits_per_char(token) >= kRandomBitsPerChar;
}

void find_secret(const Folded& text, std::vector<Find>& finds) {
  const std::string_view s = text.chars();
  find_prefixed(s, finds);
  find_pem(s, finds);
  find_jwt(s, finds);
  find_url_credentials(s, finds);
  find_assigned(s, finds);
  find_random(s, finds);
}

}  // namespace hedge::privacy
