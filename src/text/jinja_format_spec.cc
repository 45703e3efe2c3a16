#include "text/jinja_format_spec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

// Of a width or precision in a format: more is a mistake or an attack.
constexpr int64_t kMaxWidth = 4096;

std::optional<int> read_number(Runtime& runtime, std::string_view text, size_t& position) {
  int64_t number = 0;
  while (position < text.size() && text[position] >= '0' && text[position] <= '9') {
    number = number * 10 + (text[position++] - '0');
    if (number > kMaxWidth) {
      runtime.fail("format width above " + std::to_string(kMaxWidth), ErrorCode::kExhausted);
      return std::nullopt;
    }
  }
  return static_cast<int>(number);
}

namespace {

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

std::optional<FormatSpec> parse_spec(Runtime& runtime, std::string_view text) {
  FormatSpec spec;
  size_t position = 0;
  const size_t first = offset_of(text, 1);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    position = first + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[position++];
  }
  const auto at = [&](std::string_view options) {
    return position < text.size() && options.find(text[position]) != std::string_view::npos;
  };
  if (at("+- ")) spec.sign = text[position++];
  if (at("#")) {
    spec.alternate = true;
    ++position;
  }
  if (at("0")) {
    if (spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
    ++position;
  }
  const auto width = read_number(runtime, text, position);
  if (!width) return std::nullopt;
  spec.width = *width;
  if (at(",_")) spec.group = text[position++];
  if (at(".")) {
    ++position;
    if (!at("0123456789")) {
      runtime.fail("format specifier lacks its precision");
      return std::nullopt;
    }
    const auto precision = read_number(runtime, text, position);
    if (!precision) return std::nullopt;
    spec.precision = *precision;
  }
  if (position < text.size()) spec.type = text[position++];
  if (position < text.size()) {
    runtime.fail("invalid format specifier");
    return std::nullopt;
  }
  return spec;
}

std::string pad(const FormatSpec& spec, char default_align, std::string_view sign, std::string body) {
  const int64_t missing = spec.width - count_points(sign) - count_points(body);
  if (missing <= 0) return std::string(sign) + body;
  const char align = spec.align != 0 ? spec.align : default_align;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before, after;
  for (int64_t i = 0; i < left; ++i) before += spec.fill;
  for (int64_t i = left; i < missing; ++i) after += spec.fill;
  if (align == '=') return std::string(sign) + before + body;
  return before + std::string(sign) + body + after;
}

std::string group_digits(std::string digits, char separator, size_t every) {
  size_t end = 0;
  while (end < digits.size() && std::isalnum(static_cast<unsigned char>(digits[end])) != 0) ++end;
  for (size_t at = end; at > every;) {
    at -= every;
    digits.insert(at, 1, separator);
  }
  return digits;
}

const char* sign_of(bool negative, char sign) {
  if (negative) return "-";
  return sign == '+' ? "+" : sign == ' ' ? " " : "";
}

std::string printf_double(const char* format, int precision, double value) {
  const int size = std::snprintf(nullptr, 0, format, precision, value);
  std::string text(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(text.data(), text.size(), format, precision, value);
  text.pop_back();
  return text;
}

// Digits of |value|, without the sign.
std::string float_digits(const FormatSpec& spec, double value) {
  value = std::fabs(value);
  const bool upper = spec.type == 'E' || spec.type == 'F' || spec.type == 'G';
  if (!std::isfinite(value)) {
    const char* text = std::isnan(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
    return spec.type == '%' ? std::string(text) + "%" : text;
  }
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'e':
      return printf_double("%.*e", precision, value);
    case 'E':
      return printf_double("%.*E", precision, value);
    case 'f':
    case 'F':
      return printf_double("%.*f", precision, value);
    case 'g':
      return printf_double(spec.alternate ? "%#.*g" : "%.*g", precision, value);
    case 'G':
      return printf_double(spec.alternate ? "%#.*G" : "%.*G", precision, value);
    case '%':
      return printf_double("%.*f", precision, value * 100) + "%";
    default:
      break;
  }
  if (spec.precision < 0) return float_to_text(value);
  std::string text = printf_double("%.*g", std::max(spec.precision, 1), value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string integer_digits(const FormatSpec& spec, int64_t value) {
  uint64_t magnitude = value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  const char type = spec.type;
  const unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  const char* digit = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string text;
  do {
    text += digit[magnitude % base];
    magnitude /= base;
  } while (magnitude != 0);
  std::reverse(text.begin(), text.end());
  return text;
}

}  // namespace

std::string format_number(Runtime& runtime, const FormatSpec& spec, const Value& value) {
  const bool as_float =
      !value.is_integral() ||
      (spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos);
  if (as_float) {
    if (spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) == std::string_view::npos) {
      runtime.fail(std::string("format code '") + spec.type + "' for a float");
      return {};
    }
    std::string digits = float_digits(spec, value.as_real());
    if (spec.group != 0) digits = group_digits(std::move(digits), spec.group, 3);
    return pad(spec, '>', sign_of(std::signbit(value.as_real()), spec.sign), std::move(digits));
  }
  if (spec.type != 0 && std::string_view("bdoxXn").find(spec.type) == std::string_view::npos) {
    runtime.fail(std::string("format code '") + spec.type + "' for an integer", ErrorCode::kUnsupported);
    return {};
  }
  if (spec.precision >= 0) {
    runtime.fail("precision in the format of an integer");
    return {};
  }
  std::string sign = sign_of(value.as_int() < 0, spec.sign);
  if (spec.alternate && spec.type != 0 && spec.type != 'd') sign += std::string("0") + spec.type;
  std::string digits = integer_digits(spec, value.as_int());
  if (spec.group != 0)
    digits = group_digits(std::move(digits), spec.group, spec.type == 0 || spec.type == 'd' ? 3 : 4);
  return pad(spec, '>', sign, std::move(digits));
}

std::string format_text(Runtime& runtime, const FormatSpec& spec, std::string text) {
  if (spec.type != 0 && spec.type != 's') {
    runtime.fail(std::string("format code '") + spec.type + "' for a string");
    return {};
  }
  if (spec.align == '=' && spec.fill != "0") {
    runtime.fail("alignment '=' in the format of a string");
    return {};
  }
  if (spec.precision >= 0) text.resize(offset_of(text, spec.precision));
  FormatSpec padded = spec;
  if (padded.align == '=') padded.align = '<';
  return pad(padded, '<', "", std::move(text));
}

std::string format_value(Runtime& runtime, const Value& value, std::string_view text) {
  if (text.empty()) return to_text(runtime, value);
  const std::optional<FormatSpec> spec = parse_spec(runtime, text);
  if (!spec) return {};
  if (value.is_string()) return format_text(runtime, *spec, value.text());
  if (value.is_number()) return format_number(runtime, *spec, value);
  runtime.fail(std::string("format specification for a ") + value.type_name());
  return {};
}

}  // namespace hedge::text::jinja
