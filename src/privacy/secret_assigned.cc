// The value that a name like "password" or "api_key" is given: after ':' or '=', after "password is",
// "--password", "Bearer". What must not count are types, variables, placeholders and sentences about
// passwords.
#include <algorithm>
#include <array>
#include <string_view>

#include "privacy/secret.h"

namespace hedge::privacy {
namespace {

constexpr size_t kNameMax = 48;
constexpr size_t kValueMax = 256;
constexpr size_t kGapMax = 4;  // spaces and quotes between name, sign and value

enum class Kind { kNone, kPassword, kKey, kToken };

// How the lower-cased name may end. '-' and ' ' are read as '_'.
struct Name {
  std::string_view ending;
  Kind kind;
};
constexpr Name kNames[] = {
    {"password", Kind::kPassword},   {"passwd", Kind::kPassword},
    {"passphrase", Kind::kPassword}, {"passcode", Kind::kPassword},
    {"pwd", Kind::kPassword},        {"passwort", Kind::kPassword},
    {"kennwort", Kind::kPassword},   {"mot_de_passe", Kind::kPassword},
    {"contrasena", Kind::kPassword}, {"wachtwoord", Kind::kPassword},
    {"senha", Kind::kPassword},      {"haslo", Kind::kPassword},
    {"losenord", Kind::kPassword},   {"salasana", Kind::kPassword},
    {"_pass", Kind::kPassword},      {"api_key", Kind::kKey},
    {"apikey", Kind::kKey},          {"access_key", Kind::kKey},
    {"accesskey", Kind::kKey},       {"secret_key", Kind::kKey},
    {"secretkey", Kind::kKey},       {"private_key", Kind::kKey},
    {"privatekey", Kind::kKey},      {"auth_key", Kind::kKey},
    {"encryption_key", Kind::kKey},  {"account_key", Kind::kKey},
    {"license_key", Kind::kKey},     {"access_key_id", Kind::kKey},
    {"client_secret", Kind::kKey},   {"clientsecret", Kind::kKey},
    {"secret", Kind::kToken},        {"token", Kind::kToken},
    {"credential", Kind::kToken},    {"credentials", Kind::kToken},
    {"signature", Kind::kToken},     {"sig", Kind::kToken},
    {"sessionid", Kind::kToken},     {"session_id", Kind::kToken},
    {"cookie", Kind::kToken},
};

bool is_space(char c) { return c == ' ' || c == '\t'; }
bool is_quote(char c) { return c == '"' || c == '\'' || c == '`'; }

Kind kind_of(std::string_view name) {
  for (const Name& known : kNames) {
    if (name.size() < known.ending.size() || name.substr(name.size() - known.ending.size()) != known.ending)
      continue;
    const size_t before = name.size() - known.ending.size();
    // "sig" ends "config" only inside a word.
    if (known.ending == "sig" && before > 0 && is_alnum(name[before - 1])) continue;
    return known.kind;
  }
  return Kind::kNone;
}

struct NameText {
  std::array<char, kNameMax> chars;
  size_t size = 0;
  std::string_view view() const { return {chars.data(), size}; }
};

// The name that ends at `end` (quotes and spaces before the sign skipped), lower-cased, words joined by '_'.
NameText name_before(std::string_view s, size_t end) {
  for (size_t gap = 0;
       gap < kGapMax && end > 0 && (is_space(s[end - 1]) || is_quote(s[end - 1]) || s[end - 1] == '*');
       ++gap) {
    --end;
  }
  size_t begin = end;
  while (begin > 0 && end - begin < kNameMax) {
    const char c = s[begin - 1];
    const bool joins = is_space(c) && begin >= 2 && is_alpha(s[begin - 2]) && begin < end;
    if (!is_alnum(c) && c != '_' && c != '-' && c != '.' && !joins) break;
    --begin;
  }
  NameText name;
  for (const char c : s.substr(begin, end - begin)) name.chars[name.size++] = is_alnum(c) ? to_lower(c) : '_';
  return name;
}

struct Value {
  size_t begin = 0;
  size_t end = 0;
  bool quoted = false;
  bool last = false;  // nothing but a mark follows on its line
};

Value value_at(std::string_view s, size_t position) {
  size_t begin = position;
  for (size_t gap = 0; gap < kGapMax && (is_space(char_at(s, begin)) || char_at(s, begin) == '*'); ++gap)
    ++begin;
  Value value;
  const char quote = is_quote(char_at(s, begin)) ? s[begin] : '\0';
  value.quoted = quote != '\0';
  value.begin = value.quoted ? begin + 1 : begin;
  value.end = value.begin;
  while (value.end < s.size() && value.end - value.begin < kValueMax) {
    const char c = s[value.end];
    if (c == '\n' || c == '\r' || c == '\t' ||
        (quote != '\0' ? c == quote
                       : c == ' ' || is_quote(c) || c == ',' || c == ';' || c == '<' || c == '>'))
      break;
    ++value.end;
  }
  // The full stop or bracket after a bare value is the sentence's.
  while (!value.quoted && value.end > value.begin) {
    const char c = s[value.end - 1];
    if (c != '.' && c != ')' && c != '}' && c != ']' && c != '?' && c != ':') break;
    --value.end;
  }
  size_t after = value.end;
  while (after < s.size() && after - value.end < kGapMax && !is_alnum(s[after]) && s[after] != '\n') ++after;
  value.last = after >= s.size() || s[after] == '\n';
  return value;
}

bool all_letters(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_alpha(c) || c == kLetter; });
}

bool all_alnum(std::string_view text) { return std::all_of(text.begin(), text.end(), is_alnum); }

bool identifier_like(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return is_alpha(c) || c == '_' || c == '.' || c == '-' || c == kLetter; });
}

bool accept(Kind kind, std::string_view text, const Value& value, bool spaced_equals) {
  if (text.empty() || is_placeholder(text)) return false;
  const auto digits = std::count_if(text.begin(), text.end(), is_digit);
  const auto letters = std::count_if(text.begin(), text.end(), is_alpha);
  const bool has_space = text.find(' ') != std::string_view::npos;
  switch (kind) {
    case Kind::kNone:
      return false;
    case Kind::kPassword:
      if (text.size() < 4 || has_space) return false;
      // "password=user_password" is code; "hunter2secret" is none for the word it ends in.
      if (kind_of(text) != Kind::kNone && (digits == 0 || !all_alnum(text))) return false;
      if (value.quoted || !identifier_like(text)) return true;
      // A plain word is the password when it is all that stands there: not "password = user_input", not a
      // sentence.
      return !spaced_equals && value.last && all_letters(text) && text.size() >= 5;
    case Kind::kKey:
      return text.size() >= 6 && !has_space && digits >= 1 && (letters >= 1 || digits >= 6);
    case Kind::kToken:
      return text.size() >= 12 && !has_space && digits >= 2 && letters >= 2 && bits_per_char(text) >= 3.0;
  }
  return false;
}

void add(std::string_view s, Kind kind, const Value& value, bool spaced_equals, std::vector<Find>& finds) {
  if (accept(kind, s.substr(value.begin, value.end - value.begin), value, spaced_equals)) {
    finds.push_back(Find{value.begin, value.end, 0.8});
  }
}

// Words that a value follows without a sign.
struct Phrase {
  std::string_view text;
  Kind kind;
};
constexpr Phrase kPhrases[] = {
    {"password is ", Kind::kPassword},  {"password to ", Kind::kPassword},
    {"passcode is ", Kind::kPassword},  {"passphrase is ", Kind::kPassword},
    {"passwort ist ", Kind::kPassword}, {"--password ", Kind::kPassword},
    {"bearer ", Kind::kToken},          {"api key is ", Kind::kKey},
    {"--token ", Kind::kToken},         {"--api-key ", Kind::kKey},
};

void find_phrases(std::string_view s, std::vector<Find>& finds) {
  static constexpr ByteSet kStarts("pPbBaA-");
  for (size_t i = kStarts.next(s, 0); i < s.size(); i = kStarts.next(s, i + 1)) {
    if (is_word(char_before(s, i))) continue;
    for (const Phrase& phrase : kPhrases) {
      if (!matches_at(s, i, phrase.text)) continue;
      const Value value = value_at(s, i + phrase.text.size());
      const std::string_view text = s.substr(value.begin, value.end - value.begin);
      // "my password is wrong": in a sentence only what no word looks like counts.
      if (value.quoted || std::any_of(text.begin(), text.end(), is_digit))
        add(s, phrase.kind, value, false, finds);
      break;
    }
  }
}

}  // namespace

bool is_placeholder(std::string_view value) {
  constexpr std::array<std::string_view, 20> kWords = {
      "none",  "null", "nil",      "true",   "false", "undefined", "str",      "string",   "int",      "bool",
      "bytes", "text", "password", "secret", "token", "optional",  "required", "redacted", "changeit", "any"};
  constexpr std::array<std::string_view, 14> kBeginnings = {
      "your", "my_",         "my-",  "<",     "$",     "{",       "%",
      "os.",  "process.env", "env.", "self.", "args.", "config.", "getenv"};
  const auto is_word_of = [value](std::string_view word) {
    return value.size() == word.size() && matches_at(value, 0, word);
  };
  if (std::any_of(kWords.begin(), kWords.end(), is_word_of)) return true;
  const auto begins = [value](std::string_view text) { return matches_at(value, 0, text); };
  if (std::any_of(kBeginnings.begin(), kBeginnings.end(), begins)) return true;
  if (value.find_first_of("([") != std::string_view::npos) return true;
  // "********", "xxxxxx", "...."
  return std::all_of(value.begin(), value.end(),
                     [value](char c) { return to_lower(c) == to_lower(value[0]); });
}

void find_assigned(std::string_view s, std::vector<Find>& finds) {
  static constexpr ByteSet kSigns(":=");
  for (size_t i = kSigns.next(s, 0); i < s.size(); i = kSigns.next(s, i + 1)) {
    const char after = char_at(s, i + 1);
    if (after == ':' || after == '/' || (s[i] == '=' && after == '=') || char_before(s, i) == '=') continue;
    const Kind kind = kind_of(name_before(s, i).view());
    if (kind == Kind::kNone) continue;
    const bool spaced_equals = s[i] == '=' && is_space(char_before(s, i));
    add(s, kind, value_at(s, s[i] == ':' && after == '=' ? i + 2 : i + 1), spaced_equals, finds);
  }
  find_phrases(s, finds);
}

}  // namespace hedge::privacy
