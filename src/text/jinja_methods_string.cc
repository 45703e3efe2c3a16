// Methods of strings, as Python has them.
#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

Value text_value(Runtime& runtime, const Value& self, std::string_view text) {
  return runtime.str(text, self.is_markup());
}

enum class Side : uint8_t { kBoth, kLeft, kRight };

Value strip(Runtime& runtime, const Value& self, const Args& args, Side side) {
  const Params params(runtime, "strip", args, {"chars"});
  const auto chars = params.string(0);
  if (!params.ok()) return Value();
  std::string_view text = self.text();
  if (side != Side::kRight) text = chars ? trim_left(text, *chars) : trim_left(text);
  if (side != Side::kLeft) text = chars ? trim_right(text, *chars) : trim_right(text);
  // Each character that was taken off was looked up among `chars`.
  if (!runtime.scan((self.text().size() - text.size()) * 4 + (chars ? chars->size() * 16 : 0)))
    return Value();
  return text_value(runtime, self, text);
}

Value str_strip(Runtime& rt, const Value& self, const Args& args) {
  return strip(rt, self, args, Side::kBoth);
}
Value str_lstrip(Runtime& rt, const Value& self, const Args& args) {
  return strip(rt, self, args, Side::kLeft);
}
Value str_rstrip(Runtime& rt, const Value& self, const Args& args) {
  return strip(rt, self, args, Side::kRight);
}

Value parts_value(Runtime& runtime, const Value& self, const std::vector<std::string_view>& parts,
                  Sequence sequence) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) {
    items.push_back(text_value(runtime, self, part));
    if (runtime.failed()) return Value();
  }
  return runtime.list(std::move(items), sequence);
}

// A search from the right may compare the whole of `wanted` at every place.
bool charge_backward(Runtime& runtime, std::string_view text, std::string_view wanted) {
  return runtime.string_fits(text.size()) && runtime.work(text.size() * wanted.size());
}

Value split(Runtime& runtime, const Value& self, const Args& args, bool from_right) {
  const Params params(runtime, "split", args, {"sep", "maxsplit"});
  const auto separator = params.string(0);
  const int64_t limit = params.integer(1, -1);
  if (!params.ok() || !runtime.scan(self.text().size())) return Value();
  if (separator && from_right && !charge_backward(runtime, self.text(), *separator)) return Value();
  if (separator && separator->empty()) return runtime.fail("empty separator");
  const auto parts = separator ? split_on(self.text(), *separator, limit, from_right)
                               : split_space(self.text(), limit, from_right);
  return parts_value(runtime, self, parts, Sequence::kList);
}

Value str_split(Runtime& runtime, const Value& self, const Args& args) {
  return split(runtime, self, args, false);
}
Value str_rsplit(Runtime& runtime, const Value& self, const Args& args) {
  return split(runtime, self, args, true);
}

Value str_splitlines(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "splitlines", args, {"keepends"});
  if (!params.ok() || !runtime.scan(self.text().size())) return Value();
  return parts_value(runtime, self, split_lines(self.text(), params.flag(0, false)), Sequence::kList);
}

Value partition(Runtime& runtime, const Value& self, const Args& args, bool from_right) {
  const Params params(runtime, "partition", args, {"sep"}, 1);
  const auto separator = params.string(0);
  if (!params.ok() || !separator) return runtime.fail("partition() expects a string");
  if (separator->empty()) return runtime.fail("empty separator");
  const std::string_view text = self.text();
  if (!runtime.work(text.size()) || (from_right && !charge_backward(runtime, text, *separator)))
    return Value();
  const size_t at = from_right ? text.rfind(*separator) : find_text(text, *separator);
  std::vector<std::string_view> parts = {text, "", ""};
  if (at != std::string_view::npos) {
    parts = {text.substr(0, at), *separator, text.substr(at + separator->size())};
  } else if (from_right) {
    parts = {"", "", text};
  }
  return parts_value(runtime, self, parts, Sequence::kTuple);
}

Value str_partition(Runtime& runtime, const Value& self, const Args& args) {
  return partition(runtime, self, args, false);
}
Value str_rpartition(Runtime& runtime, const Value& self, const Args& args) {
  return partition(runtime, self, args, true);
}

bool has_affix(std::string_view text, std::string_view affix, bool at_end) {
  return at_end ? text.ends_with(affix) : text.starts_with(affix);
}

// The part of `self` that the parameters `start` and `stop` leave, for the methods that search.
Value searched(Runtime& runtime, const Value& self, const Params& params) {
  if (params.get(1) == nullptr && params.get(2) == nullptr) return self;
  return slice(runtime, self, params.value(1, Value::none()), params.value(2, Value::none()), Value::none());
}

Value affix(Runtime& runtime, const Value& self, const Args& args, bool at_end) {
  const Params params(runtime, at_end ? "endswith" : "startswith", args, {"affix", "start", "end"}, 1);
  if (!params.ok()) return Value();
  const Value text = searched(runtime, self, params);
  if (runtime.failed()) return Value();
  const Value& wanted = *params.get(0);
  if (wanted.is_string()) return Value::boolean(has_affix(text.text(), wanted.text(), at_end));
  if (wanted.is_undefined()) return fail_undefined(runtime, wanted);
  if (!wanted.is_sequence(Sequence::kTuple)) {
    return runtime.fail(std::string("startswith() and endswith() expect a string or a tuple, found ") +
                        wanted.type_name());
  }
  for (const Value& option : wanted.as_list().items) {
    if (!option.is_string()) return runtime.fail("startswith() and endswith() expect a tuple of strings");
    if (has_affix(text.text(), option.text(), at_end)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

Value str_startswith(Runtime& runtime, const Value& self, const Args& args) {
  return affix(runtime, self, args, false);
}
Value str_endswith(Runtime& runtime, const Value& self, const Args& args) {
  return affix(runtime, self, args, true);
}

Value remove_affix(Runtime& runtime, const Value& self, const Args& args, bool at_end) {
  const Params params(runtime, at_end ? "removesuffix" : "removeprefix", args, {"affix"}, 1);
  const auto wanted = params.string(0);
  if (!params.ok() || !wanted) return runtime.fail("removeprefix() and removesuffix() expect a string");
  std::string_view text = self.text();
  if (has_affix(text, *wanted, at_end)) {
    text = at_end ? text.substr(0, text.size() - wanted->size()) : text.substr(wanted->size());
  }
  return text_value(runtime, self, text);
}

Value str_removeprefix(Runtime& rt, const Value& self, const Args& args) {
  return remove_affix(rt, self, args, false);
}
Value str_removesuffix(Runtime& rt, const Value& self, const Args& args) {
  return remove_affix(rt, self, args, true);
}

enum class Search : uint8_t { kFind, kFindLast, kCount };

int64_t count_matches(std::string_view text, std::string_view wanted) {
  if (wanted.empty()) return count_points(text) + 1;
  int64_t count = 0;
  for (size_t at = find_text(text, wanted); at != std::string_view::npos;
       at = find_text(text, wanted, at + wanted.size()))
    ++count;
  return count;
}

std::optional<int64_t> search(Runtime& runtime, const Value& self, const Args& args, Search kind) {
  const Params params(runtime, "find", args, {"sub", "start", "end"}, 1);
  const auto wanted = params.string(0);
  if (!params.ok() || !wanted) {
    runtime.fail("find(), index() and count() expect a string");
    return std::nullopt;
  }
  const Value part = searched(runtime, self, params);
  if (runtime.failed() || !runtime.scan(part.text().size())) return std::nullopt;
  const std::string_view text = part.text();
  if (kind == Search::kCount) return count_matches(text, *wanted);
  if (kind == Search::kFindLast && !charge_backward(runtime, text, *wanted)) return std::nullopt;
  const size_t at = kind == Search::kFind ? find_text(text, *wanted) : text.rfind(*wanted);
  if (at == std::string_view::npos) return -1;
  int64_t start = params.integer(1, 0);
  if (start < 0) start = std::max<int64_t>(0, start + count_points(self.text()));
  return start + count_points(text.substr(0, at));
}

Value search_value(std::optional<int64_t> found) { return found ? Value::integer(*found) : Value(); }

Value str_find(Runtime& runtime, const Value& self, const Args& args) {
  return search_value(search(runtime, self, args, Search::kFind));
}
Value str_rfind(Runtime& runtime, const Value& self, const Args& args) {
  return search_value(search(runtime, self, args, Search::kFindLast));
}
Value str_count(Runtime& runtime, const Value& self, const Args& args) {
  return search_value(search(runtime, self, args, Search::kCount));
}
Value str_index(Runtime& runtime, const Value& self, const Args& args) {
  const auto found = search(runtime, self, args, Search::kFind);
  return found == -1 ? runtime.fail("substring not found") : search_value(found);
}
Value str_rindex(Runtime& runtime, const Value& self, const Args& args) {
  const auto found = search(runtime, self, args, Search::kFindLast);
  return found == -1 ? runtime.fail("substring not found") : search_value(found);
}

Value str_replace(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "replace", args, {"old", "new", "count"}, 2);
  const auto before = params.string(0), after = params.string(1);
  const int64_t count = params.integer(2, -1);
  if (!params.ok() || !before || !after) return runtime.fail("replace() expects strings");
  const bool escape = self.is_markup() && !params.get(1)->is_markup();
  return replace_text(runtime, self, *before, escape ? escape_html(*after) : std::string(*after), count);
}

template <std::string (*Map)(std::string_view)>
Value str_map(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "method", args, {});
  if (!params.ok() || !runtime.scan(self.text().size())) return Value();
  return runtime.str(Map(self.text()), self.is_markup());
}

Value str_join(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "join", args, {"iterable"}, 1);
  if (!params.ok()) return Value();
  Builder out(runtime);
  Iter iter(runtime, *params.get(0));
  bool first = true;
  for (Value item; iter.next(item); first = false) {
    if (!item.is_string()) {
      if (item.is_undefined()) return fail_undefined(runtime, item);
      return runtime.fail(std::string("join() expects strings, found ") + item.type_name());
    }
    if (!first) out.append(self.text());
    out.append(self.is_markup() && !item.is_markup() ? escape_html(item.text()) : item.text());
  }
  return runtime.failed() ? Value() : runtime.str(out.take(), self.is_markup());
}

Value str_format(Runtime& runtime, const Value& self, const Args& args) {
  return format_braces(runtime, self, args);
}

Value str_format_map(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "format_map", args, {"mapping"}, 1);
  if (!params.ok()) return Value();
  if (!params.get(0)->is_dict()) return runtime.fail("format_map() expects a mapping");
  Args keywords;
  for (const auto& [key, value] : params.get(0)->as_dict().entries) {
    if (key.is_string()) keywords.keywords.emplace_back(key.text(), value);
  }
  return format_braces(runtime, self, keywords);
}

// True when the text is not empty and all its code points are of the class.
template <bool (*Is)(char32_t)>
Value str_all(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "method", args, {});
  const std::string_view text = self.text();
  if (!params.ok() || !runtime.scan(text.size())) return Value();
  for (size_t position = 0; position < text.size();) {
    if (!Is(utf8_next(text, position))) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}

bool is_alnum(char32_t c) { return is_alpha(c) || is_decimal(c); }
bool is_ascii(char32_t c) { return c < 0x80; }

// isupper() and islower(): some letter of this case and none of the other.
template <bool (*Is)(char32_t), bool (*IsOther)(char32_t)>
Value str_cased(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "method", args, {});
  const std::string_view text = self.text();
  if (!params.ok() || !runtime.scan(text.size())) return Value();
  bool some = false;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = utf8_next(text, position);
    if (IsOther(c)) return Value::boolean(false);
    some |= Is(c);
  }
  return Value::boolean(some);
}

Value justify(Runtime& runtime, const Value& self, const Args& args, char align) {
  const Params params(runtime, "justify", args, {"width", "fillchar"}, 1);
  const int64_t width = params.integer(0, 0);
  const auto fill = params.string(1);
  if (!params.ok()) return Value();
  if (fill && count_points(*fill) != 1) return runtime.fail("the fill must be one character");
  return pad_text(runtime, self, width, fill.value_or(" "), align);
}

Value str_ljust(Runtime& runtime, const Value& self, const Args& args) {
  return justify(runtime, self, args, '<');
}
Value str_rjust(Runtime& runtime, const Value& self, const Args& args) {
  return justify(runtime, self, args, '>');
}
Value str_center(Runtime& runtime, const Value& self, const Args& args) {
  return justify(runtime, self, args, '^');
}

Value str_zfill(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "zfill", args, {"width"}, 1);
  const int64_t width = params.integer(0, 0);
  if (!params.ok()) return Value();
  const std::string& text = self.text();
  const bool has_sign = !text.empty() && (text[0] == '-' || text[0] == '+');
  const Value digits = runtime.str(text.substr(has_sign ? 1 : 0), self.is_markup());
  if (runtime.failed()) return Value();
  const Value padded = pad_text(runtime, digits, width - (has_sign ? 1 : 0), "0", '>');
  return runtime.failed()
             ? Value()
             : runtime.str((has_sign ? text.substr(0, 1) : "") + padded.text(), self.is_markup());
}

constexpr MethodEntry kStringMethods[] = {
    {"capitalize", str_map<capitalize>},
    {"casefold", str_map<to_lower>},
    {"center", str_center},
    {"count", str_count},
    {"encode", nullptr},
    {"endswith", str_endswith},
    {"expandtabs", nullptr},
    {"find", str_find},
    {"format", str_format},
    {"format_map", str_format_map},
    {"index", str_index},
    {"isalnum", str_all<is_alnum>},
    {"isalpha", str_all<is_alpha>},
    {"isascii", str_all<is_ascii>},
    {"isdecimal", str_all<is_decimal>},
    {"isdigit", str_all<is_decimal>},
    {"isidentifier", nullptr},
    {"islower", str_cased<is_lower, is_upper>},
    {"isnumeric", str_all<is_decimal>},
    {"isprintable", nullptr},
    {"isspace", str_all<is_space>},
    {"istitle", nullptr},
    {"isupper", str_cased<is_upper, is_lower>},
    {"join", str_join},
    {"ljust", str_ljust},
    {"lower", str_map<to_lower>},
    {"lstrip", str_lstrip},
    {"maketrans", nullptr},
    {"partition", str_partition},
    {"removeprefix", str_removeprefix},
    {"removesuffix", str_removesuffix},
    {"replace", str_replace},
    {"rfind", str_rfind},
    {"rindex", str_rindex},
    {"rjust", str_rjust},
    {"rpartition", str_rpartition},
    {"rsplit", str_rsplit},
    {"rstrip", str_rstrip},
    {"split", str_split},
    {"splitlines", str_splitlines},
    {"startswith", str_startswith},
    {"strip", str_strip},
    {"swapcase", str_map<swap_case>},
    {"title", str_map<title_words>},
    {"translate", nullptr},
    {"upper", str_map<to_upper>},
    {"zfill", str_zfill},
};

}  // namespace

MethodTable string_methods() { return {std::begin(kStringMethods), std::end(kStringMethods)}; }

}  // namespace hedge::text::jinja
