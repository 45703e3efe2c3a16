#include "privacy/tokens.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "privacy/fold.h"

namespace hedge::privacy {
namespace {

constexpr size_t kCharsKept = 40;  // of a word: hashes look no further

struct Char {
  char32_t lower = 0;  // lower case, without accent where the base letter is ASCII
  enum class Kind : uint8_t { kLower, kUpper, kCaseless, kDigit, kSpace, kLine, kMark, kInvisible } kind{};
};

// Case by block: Latin Extended-A alternates, Greek and Cyrillic have their capitals 32 (or 80, 37, 38)
// before.
Char classify(char32_t c) {
  using Kind = Char::Kind;
  if (c < 0x80) {
    const char a = static_cast<char>(c);
    if (is_lower(a)) return {c, Kind::kLower};
    if (is_upper(a)) return {c + 32, Kind::kUpper};
    if (is_digit(a)) return {c, Kind::kDigit};
    if (a == '\n' || a == '\r') return {c, Kind::kLine};
    if (a == ' ' || a == '\t') return {c, Kind::kSpace};
    return {c, Kind::kMark};
  }
  if (c >= 0x386 && c <= 0x3ab && c != 0x390 && c != 0x387) {
    constexpr char32_t kAccented[] = {0x3ac, 0, 0x3ad, 0x3ae, 0x3af, 0, 0x3cc, 0, 0x3cd, 0x3ce};
    return {c < 0x390 ? kAccented[c - 0x386] : c + 32, Kind::kUpper};
  }
  if (c >= 0x3ac && c <= 0x3ce) return {c, Kind::kLower};
  if (c >= 0x410 && c <= 0x42f) return {c + 32, Kind::kUpper};
  if (c >= 0x430 && c <= 0x45f) return {c, Kind::kLower};
  if (c >= 0x400 && c <= 0x40f) return {c + 80, Kind::kUpper};
  if (c >= 0x531 && c <= 0x556) return {c + 48, Kind::kUpper};
  if (c >= 0x561 && c <= 0x587) return {c, Kind::kLower};
  const char folded = fold_char(c);
  if (folded == '\0') return {c, Kind::kInvisible};
  if (folded == kLetter || folded == kIdeograph) return {c, Kind::kCaseless};
  if (folded == kOther) return {c, Kind::kMark};
  return classify(static_cast<unsigned char>(folded));
}

uint32_t hash_chars(const char32_t* chars, size_t count, uint32_t seed) {
  uint32_t h = 0x811c9dc5u ^ seed;
  for (size_t i = 0; i < count; ++i) h = (h ^ static_cast<uint32_t>(chars[i])) * 0x01000193u;
  return mix(h, seed);
}

struct WordReader {
  std::array<char32_t, kCharsKept> chars;
  size_t count = 0;  // kept
  size_t total = 0;
  size_t uppers = 0;
  size_t caseless = 0;
  bool first_upper = false;

  void add(const Char& c) {
    if (count < kCharsKept) chars[count++] = c.lower;
    if (c.kind == Char::Kind::kUpper) {
      ++uppers;
      if (total == 0) first_upper = true;
    }
    if (c.kind == Char::Kind::kCaseless) ++caseless;
    ++total;
  }
  void finish(Token& token) const {
    token.chars = static_cast<uint8_t>(std::min<size_t>(total, 255));
    token.word = hash_chars(chars.data(), count, 1);
    token.prefix2 = hash_chars(chars.data(), std::min<size_t>(count, 2), 2);
    token.prefix3 = hash_chars(chars.data(), std::min<size_t>(count, 3), 3);
    const auto suffix = [this](size_t n) {
      n = std::min(n, count);
      return hash_chars(chars.data() + (count - n), n, 4 + static_cast<uint32_t>(n));
    };
    token.suffix2 = suffix(2);
    token.suffix3 = suffix(3);
    token.suffix4 = suffix(4);
  }
};

char word_shape(const WordReader& word) {
  if (word.caseless == word.total) return 'n';
  if (word.uppers == 0) return 'a';
  if (word.uppers == word.total) return word.total == 1 ? 'U' : 'A';
  if (word.first_upper && word.uppers == 1) return 'C';
  return 'M';
}

bool ends_sentence(const Token& token) {
  return token.kind == TokenKind::kMark && (token.shape == '.' || token.shape == '!' || token.shape == '?');
}

}  // namespace

size_t read_tokens(std::string_view text, std::span<const FoundSpan> found, size_t& position,
                   std::span<Token> out) {
  size_t count = 0;
  size_t next_found =
      static_cast<size_t>(std::lower_bound(found.begin(), found.end(), position,
                                           [](const FoundSpan& span, size_t at) { return span.begin < at; }) -
                          found.begin());
  bool space = false;
  int lines = position == 0 || text[position - 1] == '\n' ? 1 : 0;
  const auto step = [&](size_t at, size_t& after) {
    after = at;
    return classify(utf8_next(text, after));
  };
  while (position < text.size() && count < out.size()) {
    size_t after = 0;
    Char c{};
    const bool is_found = next_found < found.size() && found[next_found].begin == position;
    if (!is_found) {
      c = step(position, after);
      if (c.kind == Char::Kind::kSpace || c.kind == Char::Kind::kLine || c.kind == Char::Kind::kInvisible) {
        space = space || c.kind == Char::Kind::kSpace;
        if (text[position] == '\n') ++lines;
        position = after;
        continue;
      }
    }
    Token token;
    token.begin = static_cast<uint32_t>(position);
    token.space_before = space || lines > 0;
    token.line_before = lines > 0;
    token.blank_before = lines > 1;
    space = false;
    lines = 0;
    const size_t limit = next_found < found.size() ? found[next_found].begin : text.size();
    if (is_found) {
      token.kind = TokenKind::kFound;
      token.found = found[next_found].found;
      token.shape = 'f';
      token.word = mix(token.found, 77);
      position = found[next_found].end;
      while (next_found < found.size() && found[next_found].begin < position) ++next_found;
    } else if (c.kind == Char::Kind::kMark) {
      token.kind = TokenKind::kMark;
      token.shape = c.lower < 0x80 ? static_cast<char>(c.lower) : '~';
      token.chars = 1;
      token.word = mix(static_cast<uint32_t>(c.lower), 78);
      position = after;
    } else {
      const bool number = c.kind == Char::Kind::kDigit;
      WordReader word;
      size_t end = position;
      for (size_t at = position; at < limit;) {
        c = step(at, after);
        if (c.kind == Char::Kind::kInvisible) {
          at = after;
          continue;
        }
        const bool letter =
            c.kind == Char::Kind::kLower || c.kind == Char::Kind::kUpper || c.kind == Char::Kind::kCaseless;
        if (number ? c.kind != Char::Kind::kDigit : !letter) break;
        if (number && word.total < 8) token.value = token.value * 10 + static_cast<uint32_t>(c.lower - '0');
        word.add(c);
        at = end = after;
      }
      word.finish(token);
      token.kind = number ? TokenKind::kNumber : TokenKind::kWord;
      token.shape = number ? 'd' : word_shape(word);
      position = end;
    }
    token.end = static_cast<uint32_t>(position);
    out[count++] = token;
  }
  if (position >= text.size() || count < out.size()) return count;
  // More follows: cut where a line or sentence ends, so that no name lies over the cut.
  for (size_t i = count; i-- > count / 2;) {
    if (out[i].line_before || (i > 0 && ends_sentence(out[i - 1]))) {
      position = out[i].begin;
      return i;
    }
  }
  return count;
}

uint32_t word_hash(std::string_view word) {
  Token token;
  size_t position = 0;
  return read_tokens(word, {}, position, {&token, 1}) == 1 ? token.word : 0;
}

}  // namespace hedge::privacy
