// str.format() and printf-style formatting with %.
#include <algorithm>
#include <cmath>

#include "text/jinja_format_spec.h"
#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Args& args, bool escape)
      : runtime_(runtime), args_(args), escape_(escape) {}

  std::string format(std::string_view text, int level) {
    Builder out(runtime_);
    while (!text.empty() && !runtime_.failed()) {
      const size_t brace = text.find_first_of("{}");
      out.append(text.substr(0, brace));
      if (brace == std::string_view::npos) break;
      const char c = text[brace];
      text.remove_prefix(brace + 1);
      if (!text.empty() && text[0] == c) {
        out.append(std::string_view(&c, 1));
        text.remove_prefix(1);
      } else if (c == '}') {
        runtime_.fail("single '}' in a format string");
      } else {
        out.append(field(text, level));
      }
    }
    return out.take();
  }

 private:
  // Takes the field, up to its closing brace, off the front of `text`.
  std::string field(std::string_view& text, int level) {
    int open = 1;
    size_t end = 0;
    for (; end < text.size(); ++end) {
      if (text[end] == '{') ++open;
      if (text[end] == '}' && --open == 0) break;
    }
    if (open != 0 || level > 1) {
      runtime_.fail("format string with an unclosed or too deep '{'");
      return {};
    }
    std::string_view name = text.substr(0, end);
    text.remove_prefix(end + 1);
    std::string spec;
    const size_t mark = name.find_first_of("!:");
    char conversion = 0;
    if (mark != std::string_view::npos) {
      std::string_view rest = name.substr(mark);
      name = name.substr(0, mark);
      if (rest[0] == '!') {
        conversion = rest.size() > 1 ? rest[1] : 0;
        if ((conversion != 's' && conversion != 'r') || (rest.size() > 2 && rest[2] != ':')) {
          runtime_.fail("unknown conversion in a format string");
          return {};
        }
        rest.remove_prefix(2);
      }
      if (!rest.empty()) spec = format(rest.substr(1), level + 1);
    }
    Value value = lookup(name);
    if (runtime_.failed()) return {};
    if (conversion == 's') value = runtime_.str(to_text(runtime_, value));
    if (conversion == 'r') {
      Builder repr(runtime_);
      append_repr(repr, runtime_, value);
      value = runtime_.str(repr.take());
    }
    std::string formatted = runtime_.failed() ? std::string() : format_value(runtime_, value, spec);
    return escape_ && !value.is_markup() ? escape_html(formatted) : formatted;
  }

  Value lookup(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    name.remove_prefix(end);
    while (!name.empty() && !runtime_.failed()) {
      const bool bracket = name[0] == '[';
      name.remove_prefix(1);
      const size_t part_end = bracket ? name.find(']') : std::min(name.find_first_of(".["), name.size());
      if (part_end == std::string_view::npos || part_end == 0)
        return runtime_.fail("malformed field in a format string");
      const std::string_view part = name.substr(0, part_end);
      const bool index =
          bracket && part.size() < 18 && part.find_first_not_of("0123456789") == std::string_view::npos;
      value = get_item(runtime_, value,
                       index ? Value::integer(std::stoll(std::string(part))) : runtime_.str(part, false));
      name.remove_prefix(part_end + (bracket ? 1 : 0));
    }
    return value;
  }

  Value first(std::string_view name) {
    if (name.find_first_not_of("0123456789") == std::string_view::npos) {
      const size_t index = name.empty()      ? next_++
                           : name.size() < 9 ? std::stoul(std::string(name))
                                             : SIZE_MAX;
      if (index < args_.positional.size()) return args_.positional[index];
      return runtime_.fail("format string needs more arguments than were given");
    }
    for (const auto& [keyword, value] : args_.keywords) {
      if (keyword == name) return value;
    }
    return runtime_.fail("format string names the argument '" + std::string(name) + "' that was not given");
  }

  Runtime& runtime_;
  const Args& args_;
  const bool escape_;
  size_t next_ = 0;
};

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Value& values) : runtime_(runtime), values_(values) {}

  std::string format(std::string_view text) {
    Builder out(runtime_);
    size_t position = 0;
    while (position < text.size() && !runtime_.failed()) {
      const size_t percent = std::min(text.find('%', position), text.size());
      out.append(text.substr(position, percent - position));
      position = percent + 1;
      if (percent < text.size()) out.append(item(text, position));
    }
    const bool tuple = values_.is_sequence(Sequence::kTuple);
    // What can be subscripted counts as a mapping, which need not be used up.
    const bool mapping = values_.is_dict() || values_.is_undefined() || (values_.is_list() && !tuple);
    if (!runtime_.failed() && !mapping && used_ < (tuple ? values_.as_list().items.size() : 1)) {
      runtime_.fail("not all arguments were used by the format string");
    }
    return out.take();
  }

 private:
  std::string item(std::string_view text, size_t& position) {
    FormatSpec spec;
    Value value;
    bool named = false;
    if (position < text.size() && text[position] == '(') {
      const size_t end = text.find(')', position);
      if (end == std::string_view::npos || !values_.is_dict()) {
        runtime_.fail("format with a name needs a mapping");
        return {};
      }
      const Value* found = find_key(values_.as_dict(), text.substr(position + 1, end - position - 1));
      if (found == nullptr) {
        runtime_.fail("format names a key that the mapping lacks");
        return {};
      }
      value = *found;
      named = true;
      position = end + 1;
    }
    bool left = false, zero = false;
    for (; position < text.size() && std::string_view("-+ #0").find(text[position]) != std::string_view::npos;
         ++position) {
      left |= text[position] == '-';
      zero |= text[position] == '0';
      spec.alternate |= text[position] == '#';
      if (text[position] == '+' || (text[position] == ' ' && spec.sign != '+')) spec.sign = text[position];
    }
    const auto width = read_number(runtime_, text, position);
    if (!width) return {};
    spec.width = *width;
    if (position < text.size() && text[position] == '.') {
      const auto precision = read_number(runtime_, text, ++position);
      if (!precision) return {};
      spec.precision = *precision;
    }
    if (position >= text.size()) {
      runtime_.fail("incomplete format");
      return {};
    }
    spec.type = text[position++];
    if (spec.type == '%') return "%";
    spec.align = left ? '<' : '>';
    if (zero && !left && spec.type != 's' && spec.type != 'r') {
      spec.align = '=';
      spec.fill = "0";
    }
    if (!named) value = next();
    return runtime_.failed() ? std::string() : convert(spec, value);
  }

  Value next() {
    const bool tuple = values_.is_sequence(Sequence::kTuple);
    if (used_ >= (tuple ? values_.as_list().items.size() : 1))
      return runtime_.fail("not enough arguments for the format");
    ++used_;
    return tuple ? values_.as_list().items[used_ - 1] : values_;
  }

  std::string convert(FormatSpec spec, const Value& value) {
    switch (spec.type) {
      case 's':
        return format_text(runtime_, spec, to_text(runtime_, value));
      case 'r': {
        Builder repr(runtime_);
        append_repr(repr, runtime_, value);
        spec.type = 's';
        return format_text(runtime_, spec, repr.take());
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': {
        const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
        if (!value.is_integral() && !(decimal && value.is_number() && std::fabs(value.as_real()) < 0x1p62))
          break;
        if (decimal) spec.type = 'd';
        if (spec.precision >= 0) {
          runtime_.fail("precision in the format of an integer", ErrorCode::kUnsupported);
          return {};
        }
        return format_number(
            runtime_, spec,
            Value::integer(value.is_integral() ? value.as_int() : static_cast<int64_t>(value.as_real())));
      }
      case 'f':
      case 'F':
      case 'e':
      case 'E':
      case 'g':
      case 'G':
        if (!value.is_number()) break;
        return format_number(runtime_, spec, Value::real(value.as_real()));
      default:
        runtime_.fail(std::string("format character '") + spec.type + "'", ErrorCode::kUnsupported);
        return {};
    }
    if (value.is_undefined()) fail_undefined(runtime_, value);
    runtime_.fail(std::string("format '%") + spec.type + "' needs a number, found " + value.type_name());
    return {};
  }

  Runtime& runtime_;
  const Value& values_;
  size_t used_ = 0;
};

}  // namespace

Value format_braces(Runtime& runtime, const Value& format, const Args& args) {
  std::string text = BraceFormatter(runtime, args, format.is_markup()).format(format.text(), 0);
  return runtime.failed() ? Value() : runtime.str(std::move(text), format.is_markup());
}

Value format_percent(Runtime& runtime, const Value& format, const Value& values) {
  if (format.is_markup()) return runtime.fail("% with an escaped string", ErrorCode::kUnsupported);
  std::string text = PercentFormatter(runtime, values).format(format.text());
  return runtime.failed() ? Value() : runtime.str(std::move(text));
}

}  // namespace hedge::text::jinja
