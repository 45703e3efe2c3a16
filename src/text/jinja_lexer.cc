// Follows jinja2/lexer.py (3.1) with trim_blocks and lstrip_blocks on.
#include "text/jinja_lexer.h"

#include <array>
#include <charconv>

#include "base/ascii.h"
#include "base/utf8.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

bool is_name_start(char c) { return hedge::is_alpha(c) || c == '_'; }
bool is_name_char(char c) { return is_name_start(c) || is_digit(c); }

// Longest first, so that "**" is not two "*".
constexpr std::array<std::string_view, 26> kOperators = {"==", "!=", ">=", "<=", "//", "**", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (position_ < source_.size()) HEDGE_TRY(lex_root());
    push(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(position_); }
  bool starts_with(std::string_view text) const { return rest().starts_with(text); }

  Token& push(TokenKind kind, std::string text = {}) {
    tokens_.push_back(Token{kind, line_, std::move(text), 0, 0});
    return tokens_.back();
  }
  void push_data(std::string_view text) {
    if (!text.empty()) push(TokenKind::kData, std::string(text));
  }
  void advance(size_t bytes) {
    for (const size_t end = position_ + bytes; position_ < end; ++position_)
      line_ += source_[position_] == '\n';
  }
  void skip_space() { advance(rest().size() - trim_left(rest()).size()); }

  // Passes the end tag that stands here, with what its sign takes away behind it: "-" all white space, "+"
  // nothing, none the newline of a block or comment.
  void end_tag(char sign, std::string_view close, bool trims_newline) {
    const size_t start = position_;
    advance(close.size() + (sign != 0 ? 1 : 0));
    if (sign == '-') {
      skip_space();
    } else if (sign == 0 && trims_newline && starts_with("\n")) {
      advance(1);
    }
    line_starting_ = position_ > start && source_[position_ - 1] == '\n';
  }

  // Text up to a tag, less what the tag's sign or lstrip_blocks takes off its end.
  std::string_view text_before_tag(std::string_view text, char sign, bool variable) const {
    if (sign == '-') return trim_right(text);
    if (sign == '+' || variable) return text;
    const size_t newline = text.rfind('\n');
    const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
    if ((line_start > 0 || line_starting_) && trim_left(text.substr(line_start)).empty()) {
      return text.substr(0, line_start);
    }
    return text;
  }

  Status lex_root() {
    const std::string_view text = rest();
    size_t at = text.find('{');
    while (at != std::string_view::npos &&
           (at + 1 == text.size() || (text[at + 1] != '{' && text[at + 1] != '%' && text[at + 1] != '#'))) {
      at = text.find('{', at + 1);
    }
    if (at == std::string_view::npos) {
      push_data(text);
      advance(text.size());
      return {};
    }
    const char type = text[at + 1];
    char sign = at + 2 < text.size() ? text[at + 2] : 0;
    if (sign != '-' && sign != '+') sign = 0;
    push_data(text_before_tag(text.substr(0, at), sign, type == '{'));
    advance(at);
    if (type == '%') {
      const size_t raw = raw_begin_length();
      if (raw > 0) return lex_raw(raw);
    }
    const int start_line = line_;
    if (type == '{') push(TokenKind::kVariableBegin);
    if (type == '%') push(TokenKind::kBlockBegin);
    advance(sign != 0 ? 3 : 2);
    if (type == '#') return skip_comment(start_line);
    return lex_tag(type == '{', start_line);
  }

  // Length of "{% raw %}" (up to and with "%}") when it stands here, else 0.
  size_t raw_begin_length() const {
    std::string_view text = rest().substr(2);
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
    text = trim_left(text);
    if (!text.starts_with("raw")) return 0;
    text = trim_left(text.substr(3));
    if (text.starts_with("-%}")) text.remove_prefix(1);
    if (!text.starts_with("%}")) return 0;
    return rest().size() - text.size() + 2;
  }

  Status lex_raw(size_t begin_length) {
    const int start_line = line_;
    const char sign = source_[position_ + begin_length - 3] == '-' ? '-' : 0;
    advance(begin_length - (sign != 0 ? 3 : 2));
    end_tag(sign, "%}", false);
    const std::string_view text = rest();
    for (size_t at = text.find("{%"); at != std::string_view::npos; at = text.find("{%", at + 2)) {
      std::string_view tag = text.substr(at + 2);
      char end_sign = tag.empty() ? 0 : tag[0];
      if (end_sign != '-' && end_sign != '+') end_sign = 0;
      if (end_sign != 0) tag.remove_prefix(1);
      tag = trim_left(tag);
      if (!tag.starts_with("endraw")) continue;
      tag = trim_left(tag.substr(6));
      const char close_sign = tag.starts_with("-%}") ? '-' : tag.starts_with("+%}") ? '+' : 0;
      if (close_sign == 0 && !tag.starts_with("%}")) continue;
      push_data(text_before_tag(text.substr(0, at), end_sign, false));
      advance(text.size() - tag.size());
      end_tag(close_sign, "%}", true);
      return {};
    }
    return parse_error(start_line,
                       "expected '{% endraw %}' after '{% raw %}', found the end of the template");
  }

  Status skip_comment(int start_line) {
    const size_t at = rest().find("#}");
    if (at == std::string_view::npos) {
      return parse_error(start_line, "expected '#}' after '{#', found the end of the template");
    }
    char sign = at > 0 ? rest()[at - 1] : 0;
    if (sign != '-' && sign != '+') sign = 0;
    advance(at - (sign != 0 ? 1 : 0));
    end_tag(sign, "#}", true);
    return {};
  }

  Status lex_tag(bool variable, int start_line) {
    const std::string_view close = variable ? "}}" : "%}";
    std::string brackets;  // the closing ones that are still due
    while (position_ < source_.size()) {
      if (brackets.empty()) {
        const char sign = source_[position_];
        const bool signed_end =
            (sign == '-' || (sign == '+' && !variable)) && rest().substr(1).starts_with(close);
        if (signed_end || starts_with(close)) {
          push(variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd);
          end_tag(signed_end ? sign : 0, close, !variable);
          return {};
        }
      }
      const size_t before = position_;
      skip_space();
      if (position_ != before) continue;
      HEDGE_TRY(lex_token(brackets));
    }
    return parse_error(start_line,
                       std::string("expected '") + std::string(close) + "', found the end of the template");
  }

  Status lex_token(std::string& brackets) {
    const char c = source_[position_];
    if (is_digit(c)) return lex_number();
    if (is_name_start(c)) {
      size_t length = 1;
      while (length < rest().size() && is_name_char(rest()[length])) ++length;
      push(TokenKind::kName, std::string(rest().substr(0, length)));
      advance(length);
      return {};
    }
    if (c == '\'' || c == '"') return lex_string(c);
    for (const std::string_view op : kOperators) {
      if (!starts_with(op)) continue;
      if (c == '(') brackets += ')';
      if (c == '[') brackets += ']';
      if (c == '{') brackets += '}';
      if (c == ')' || c == ']' || c == '}') {
        if (brackets.empty()) return parse_error(line_, std::string("unexpected '") + c + "'");
        if (brackets.back() != c) {
          return parse_error(line_, std::string("expected '") + brackets.back() + "', found '" + c + "'");
        }
        brackets.pop_back();
      }
      push(TokenKind::kOperator, std::string(op));
      advance(op.size());
      return {};
    }
    size_t next = position_;
    utf8_next(source_, next);
    return parse_error(line_, "unexpected character '" + source_.substr(position_, next - position_) + "'");
  }

  // Digits with single underscores between them, from `at` on; the length.
  template <typename IsDigit>
  size_t digits_length(size_t at, IsDigit is_digit_of) const {
    size_t length = 0;
    const std::string_view text = rest();
    while (at + length < text.size()) {
      if (is_digit_of(text[at + length])) {
        ++length;
      } else if (length > 0 && text[at + length] == '_' && at + length + 1 < text.size() &&
                 is_digit_of(text[at + length + 1])) {
        ++length;
      } else {
        break;
      }
    }
    return length;
  }

  Status lex_number() {
    const std::string_view text = rest();
    const size_t whole = digits_length(0, is_digit);
    if (position_ == 0 || source_[position_ - 1] != '.') {
      size_t length = whole;
      if (length + 1 < text.size() && text[length] == '.' && is_digit(text[length + 1])) {
        length += 1 + digits_length(length + 1, is_digit);
      }
      if (length < text.size() && (text[length] == 'e' || text[length] == 'E')) {
        size_t at = length + 1;
        if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
        const size_t exponent = digits_length(at, is_digit);
        if (exponent > 0) length = at + exponent;
      }
      if (length > whole) return push_float(length);
    }
    return lex_integer(text, whole);
  }

  Status push_float(size_t length) {
    std::string digits;
    for (const char c : rest().substr(0, length)) {
      if (c != '_') digits += c;
    }
    double value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (parsed.ec != std::errc()) return parse_error(line_, "number out of range", ErrorCode::kUnsupported);
    push(TokenKind::kFloat).real = value;
    advance(length);
    return {};
  }

  Status lex_integer(std::string_view text, size_t whole) {
    int base = 10;
    size_t start = 0;
    size_t length = whole;
    if (text[0] == '0' && text.size() > 1) {
      const char letter = text[1] | 0x20;
      base = letter == 'b' ? 2 : letter == 'o' ? 8 : letter == 'x' ? 16 : 10;
      const auto in_base = [base](char c) {
        const int digit = is_digit(c)                              ? c - '0'
                          : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                   : 99;
        return digit < base;
      };
      const size_t digits = base == 10 ? 0 : digits_length(2, in_base);
      if (digits > 0) {
        start = 2;
        length = 2 + digits;
      } else {  // a decimal number does not begin with 0: "007" is three tokens in Jinja and no expression
        base = 10;
        length = digits_length(0, [](char c) { return c == '0'; });
      }
    }
    std::string digits;
    for (const char c : text.substr(start, length - start)) {
      if (c != '_') digits += c;
    }
    int64_t value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (parsed.ec != std::errc()) {
      return parse_error(line_, "integer does not fit in 64 bits", ErrorCode::kUnsupported);
    }
    push(TokenKind::kInteger).integer = value;
    advance(length);
    return {};
  }

  Status lex_string(char quote) {
    const int start_line = line_;
    size_t end = 1;
    const std::string_view text = rest();
    while (end < text.size() && text[end] != quote) end += text[end] == '\\' ? 2 : 1;
    if (end >= text.size()) return parse_error(start_line, "string without its closing quote");
    HEDGE_TRY_SET(std::string value, unescape(text.substr(1, end - 1)));
    push(TokenKind::kString, std::move(value));
    advance(end + 1);
    return {};
  }

  Result<std::string> unescape(std::string_view text) const {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char c = text[++i];  // the scan for the closing quote never ends on a lone backslash
      static constexpr std::string_view kFrom = "\\'\"abfnrtv";
      static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
      const size_t known = kFrom.find(c);
      if (known != std::string_view::npos) {
        out += kTo[known];
      } else if (c >= '0' && c <= '7') {
        char32_t code = 0;
        size_t digits = 0;
        for (; digits < 3 && i + digits < text.size() && text[i + digits] >= '0' && text[i + digits] <= '7';
             ++digits) {
          code = code * 8 + static_cast<char32_t>(text[i + digits] - '0');
        }
        utf8_append(out, code);
        i += digits - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        HEDGE_TRY_SET(char32_t code, hex_escape(text, i));
        if (code >= 0xd800 && code < 0xdc00 && text.substr(i + 1).starts_with("\\u")) {
          i += 2;
          HEDGE_TRY_SET(const char32_t low, hex_escape(text, i));
          if (low < 0xdc00 || low > 0xdfff)
            return parse_error(line_, "string escape gives half a surrogate pair");
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
          return parse_error(line_, "string escape is no Unicode character");
        }
        utf8_append(out, code);
      } else if (c == 'N') {
        return parse_error(line_, "string escape \\N{...}", ErrorCode::kUnsupported);
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  // text[i] is the letter of \x, \u or \U; leaves i at the last digit.
  Result<char32_t> hex_escape(std::string_view text, size_t& i) const {
    const size_t digits = text[i] == 'x' ? 2 : text[i] == 'u' ? 4 : 8;
    const std::string_view hex = text.substr(i + 1, digits);
    uint32_t code = 0;
    const auto parsed = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
    if (hex.size() != digits || parsed.ec != std::errc() || parsed.ptr != hex.data() + hex.size()) {
      return parse_error(line_, "string escape \\" + std::string(1, text[i]) + " needs " +
                                    std::to_string(digits) + " hexadecimal digits");
    }
    i += digits;
    return static_cast<char32_t>(code);
  }

  const std::string source_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag took the newline behind it with it
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
  return Lexer(normalize_newlines(source)).run();
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kName:
    case TokenKind::kOperator:
      return "'" + token.text + "'";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return "a number";
    case TokenKind::kEnd:
      return "the end of the template";
  }
  return "a token";
}

Error parse_error(int line, const std::string& what, ErrorCode code) {
  return make_error(code, "chat template line " + std::to_string(line) + ": " + what);
}

}  // namespace hedge::text::jinja
