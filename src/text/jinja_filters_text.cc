// Filters on text and numbers.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

// soft_str(): a string as it is, anything else as str() gives it.
Value soft_text(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : runtime.str(to_text(runtime, value));
}

template <std::string (*Map)(std::string_view)>
Value filter_map_text(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "filter", args, {});
  const Value text = soft_text(runtime, input);
  if (!params.ok() || !runtime.scan(text.text().size())) return Value();
  return runtime.str(Map(text.text()), text.is_markup());
}

Value filter_string(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "string", args, {});
  return params.ok() ? soft_text(runtime, input) : Value();
}

Value filter_safe(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "safe", args, {});
  std::string text = to_text(runtime, input);
  return params.ok() ? runtime.str(std::move(text), true) : Value();
}

Value filter_escape(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "escape", args, {});
  if (!params.ok() || input.is_markup()) return input;
  const std::string text = to_text(runtime, input);
  return runtime.failed() ? Value() : runtime.str(escape_html(text), true);
}

Value filter_trim(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "trim", args, {"chars"});
  const auto chars = params.string(0);
  const Value text = soft_text(runtime, input);
  if (!params.ok()) return Value();
  const std::string_view trimmed =
      chars ? trim_right(trim_left(text.text(), *chars), *chars) : trim_right(trim_left(text.text()));
  if (!runtime.scan((text.text().size() - trimmed.size()) * 4 + (chars ? chars->size() * 16 : 0)))
    return Value();
  return runtime.str(trimmed, text.is_markup());
}

Value filter_replace(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "replace", args, {"old", "new", "count"}, 2);
  const int64_t count = params.integer(2, -1);
  if (!params.ok()) return Value();
  const Value text = runtime.str(to_text(runtime, input));
  const std::string before = to_text(runtime, *params.get(0)), after = to_text(runtime, *params.get(1));
  return runtime.failed() ? Value() : replace_text(runtime, text, before, after, count);
}

Value filter_indent(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "indent", args, {"width", "first", "blank"});
  const bool first = params.flag(1, false), blank = params.flag(2, false);
  const Value width = params.value(0, Value::integer(4));
  if (!params.ok()) return Value();
  if (!input.is_string()) {
    if (input.is_undefined()) return fail_undefined(runtime, input);
    return runtime.fail(std::string("indent expects a string, found ") + input.type_name());
  }
  const Value margin = width.is_string() ? width : binary(runtime, Op::kMultiply, runtime.str(" "), width);
  if (runtime.failed() || !runtime.scan(input.text().size())) return Value();
  // Jinja adds a newline and splits into lines: one newline at the end of the text is dropped that way.
  const std::string ended = input.text() + "\n";
  const auto lines = split_lines(ended, false);
  Builder out(runtime);
  if (first) out.append(margin.text());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append("\n");
    if (i > 0 && (blank || !lines[i].empty())) out.append(margin.text());
    out.append(lines[i]);
  }
  return runtime.failed() ? Value() : runtime.str(out.take(), input.is_markup());
}

Value filter_center(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "center", args, {"width"});
  const int64_t width = params.integer(0, 80);
  const Value text = soft_text(runtime, input);
  return params.ok() ? pad_text(runtime, text, width, " ", '^') : Value();
}

Value filter_truncate(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "truncate", args, {"length", "killwords", "end", "leeway"});
  const int64_t most = params.integer(0, 255), leeway = params.integer(3, 5);
  const std::string_view end = params.string(2).value_or("...");
  const int64_t end_size = count_points(end);
  if (most < end_size || leeway < 0)
    return runtime.fail("truncate: the length is below that of the end mark");
  const int64_t size = length(runtime, input);
  if (!params.ok() || size <= most + leeway) return input;
  if (!input.is_string())
    return runtime.fail(std::string("truncate expects a string, found ") + input.type_name());
  std::string_view head = std::string_view(input.text()).substr(0, offset_of(input.text(), most - end_size));
  if (!params.flag(1, false)) head = head.substr(0, std::min(head.rfind(' '), head.size()));
  return runtime.str(std::string(head) + std::string(end), input.is_markup());
}

Value filter_wordcount(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "wordcount", args, {});
  const Value text = soft_text(runtime, input);
  if (!params.ok() || !runtime.scan(text.text().size())) return Value();
  int64_t words = 0;
  bool inside = false;
  const std::string_view view = text.text();
  for (size_t position = 0; position < view.size();) {
    const size_t end = position + offset_of(view.substr(position), 1);
    const std::string_view point = view.substr(position, end - position);
    size_t start = 0;
    const char32_t c = utf8_next(point, start);
    const bool word = is_alpha(c) || is_decimal(c) || c == '_';
    words += word && !inside ? 1 : 0;
    inside = word;
    position = end;
  }
  return Value::integer(words);
}

Value filter_urlencode(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "urlencode", args, {});
  if (!params.ok()) return Value();
  if (input.is_dict() || input.is_list())
    return runtime.fail("urlencode of a mapping", ErrorCode::kUnsupported);
  const std::string text = to_text(runtime, input);
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 ||
        std::string_view("_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      static constexpr char kHex[] = "0123456789ABCDEF";
      out += '%';
      out += kHex[static_cast<uint8_t>(c) >> 4];
      out += kHex[static_cast<uint8_t>(c) & 0xf];
    }
  }
  return runtime.str(std::move(out));
}

Value filter_format(Runtime& runtime, const Value& input, const Args& args) {
  const Value text = soft_text(runtime, input);
  if (runtime.failed()) return Value();
  if (args.keywords.empty())
    return format_percent(runtime, text, runtime.list(args.positional, Sequence::kTuple));
  if (!args.positional.empty()) return runtime.fail("format takes positional or keyword arguments, not both");
  Value::Entries entries;
  for (const auto& [key, value] : args.keywords) entries.emplace_back(runtime.str(key, false), value);
  return format_percent(runtime, text, runtime.dict(std::move(entries)));
}

Value filter_tojson(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonOptions options;
  options.ascii = params.flag(0, false);
  options.sort_keys = params.flag(3, false);
  const Value indent = params.value(1, Value::none()), separators = params.value(2, Value::none());
  if (!params.ok()) return Value();
  if (indent.is_string()) {
    options.indented = true;
    options.indent = indent.text();
  } else if (indent.is_integral()) {
    options.indented = true;
    if (!runtime.string_fits(static_cast<size_t>(std::max<int64_t>(indent.as_int(), 0)))) return Value();
    options.indent.assign(static_cast<size_t>(std::max<int64_t>(indent.as_int(), 0)), ' ');
  } else if (!indent.is_none()) {
    return runtime.fail(std::string("tojson: indent must be an integer or a string, found ") +
                        indent.type_name());
  }
  if (options.indented) options.item_separator = ",";
  if (separators.is_list() && separators.as_list().items.size() == 2) {
    options.item_separator = to_text(runtime, separators.as_list().items[0]);
    options.key_separator = to_text(runtime, separators.as_list().items[1]);
  } else if (!separators.is_none()) {
    return runtime.fail("tojson: separators must be a pair");
  }
  std::string text = to_json(runtime, input, options);
  return runtime.failed() ? Value() : runtime.str(std::move(text));
}

// int("...") and float("...") of Python: white space around, single underscores between digits.
std::optional<std::string> number_text(std::string_view text) {
  std::string digits;
  const std::string_view trimmed = trim_right(trim_left(text));
  for (size_t i = 0; i < trimmed.size(); ++i) {
    if (trimmed[i] != '_') {
      digits += trimmed[i];
    } else if (i == 0 || i + 1 == trimmed.size() ||
               std::isalnum(static_cast<unsigned char>(trimmed[i - 1])) == 0 ||
               std::isalnum(static_cast<unsigned char>(trimmed[i + 1])) == 0) {
      return std::nullopt;
    }
  }
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.erase(0, 1);
  return digits;
}

std::optional<int64_t> to_integer(std::string_view text, int base) {
  std::optional<std::string> digits = number_text(text);
  if (!digits) return std::nullopt;
  const bool negative = digits->starts_with('-');
  const std::string_view body = std::string_view(*digits).substr(negative ? 1 : 0);
  const char* prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : nullptr;
  if (prefix != nullptr && body.size() > 2 && to_lower(body.substr(0, 2)) == prefix) {
    digits = (negative ? "-" : "") + std::string(body.substr(2));
  }
  int64_t value = 0;
  const auto parsed = std::from_chars(digits->data(), digits->data() + digits->size(), value, base);
  if (parsed.ec != std::errc() || parsed.ptr != digits->data() + digits->size()) return std::nullopt;
  return value;
}

std::optional<double> to_real(const Value& value) {
  if (value.is_number()) return value.as_real();
  if (!value.is_string()) return std::nullopt;
  const std::optional<std::string> digits = number_text(value.text());
  double real = 0;
  if (!digits) return std::nullopt;
  const auto parsed = std::from_chars(digits->data(), digits->data() + digits->size(), real);
  if (parsed.ptr != digits->data() + digits->size() || digits->empty() ||
      parsed.ec == std::errc::invalid_argument) {
    return std::nullopt;
  }
  // from_chars leaves the value alone when it is out of range; strtod gives the infinity or zero that Python
  // gives.
  return parsed.ec == std::errc::result_out_of_range ? std::strtod(digits->c_str(), nullptr) : real;
}

Value filter_int(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "int", args, {"default", "base"});
  const int64_t base = params.integer(1, 10);
  const Value fallback = params.value(0, Value::integer(0));
  if (!params.ok()) return Value();
  if (base < 2 || base > 36) return runtime.fail("int: base must be 2 to 36", ErrorCode::kUnsupported);
  if (input.is_undefined()) return fail_undefined(runtime, input);
  if (input.is_integral()) return Value::integer(input.as_int());
  if (input.is_string()) {
    if (const auto value = to_integer(input.text(), static_cast<int>(base))) return Value::integer(*value);
  }
  const auto real = to_real(input);
  if (!real || !std::isfinite(*real)) return fallback;
  if (std::fabs(*real) >= 0x1p63) return runtime.fail("integer beyond 64 bits", ErrorCode::kUnsupported);
  return Value::integer(static_cast<int64_t>(*real));
}

Value filter_float(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "float", args, {"default"});
  if (!params.ok()) return Value();
  if (input.is_undefined()) return fail_undefined(runtime, input);
  const auto real = to_real(input);
  return real ? Value::real(*real) : params.value(0, Value::real(0));
}

Value filter_abs(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "abs", args, {});
  if (!params.ok()) return Value();
  if (input.is_integral())
    return input.as_int() < 0 ? negate(runtime, input) : Value::integer(input.as_int());
  if (input.is_number()) return Value::real(std::fabs(input.as_real()));
  if (input.is_undefined()) return fail_undefined(runtime, input);
  return runtime.fail(std::string("abs expects a number, found ") + input.type_name());
}

Value filter_round(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "round", args, {"precision", "method"});
  const int64_t precision = params.integer(0, 0);
  const std::string_view method = params.string(1).value_or("common");
  if (!params.ok()) return Value();
  if (!input.is_number())
    return runtime.fail(std::string("round expects a number, found ") + input.type_name());
  if (precision < 0 || precision > 300)
    return runtime.fail("round: precision must be 0 to 300", ErrorCode::kUnsupported);
  if (method == "common") {
    if (input.is_integral()) return Value::integer(input.as_int());
    char text[700];  // 309 digits before the point, 300 behind it
    std::snprintf(text, sizeof(text), "%.*f", static_cast<int>(precision), input.as_real());
    return Value::real(std::strtod(text, nullptr));
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value::real(std::ceil(input.as_real() * scale) / scale);
  if (method == "floor") return Value::real(std::floor(input.as_real() * scale) / scale);
  return runtime.fail("round: method must be common, ceil or floor");
}

Value filter_default(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "default", args, {"default_value", "boolean"});
  if (!params.ok()) return Value();
  if (!input.is_undefined() && !(params.flag(1, false) && !truthy(input))) return input;
  return params.get(0) != nullptr ? *params.get(0) : runtime.str("");
}

constexpr FilterEntry kFilters[] = {
    {"abs", filter_abs},
    {"capitalize", filter_map_text<capitalize>},
    {"center", filter_center},
    {"d", filter_default},
    {"default", filter_default},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"float", filter_float},
    {"format", filter_format},
    {"indent", filter_indent},
    {"int", filter_int},
    {"lower", filter_map_text<to_lower>},
    {"replace", filter_replace},
    {"round", filter_round},
    {"safe", filter_safe},
    {"string", filter_string},
    {"title", filter_map_text<title_filter>},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", filter_map_text<to_upper>},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
};

}  // namespace

FilterTable text_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace hedge::text::jinja
