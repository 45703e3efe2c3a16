// Python's operations on values. Each that can fail reports to the Runtime and then gives an undefined value,
// false or nothing.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja_ast.h"
#include "text/jinja_runtime.h"

namespace hedge::text::jinja {

// The error of using an undefined value, with its name.
Value fail_undefined(Runtime& runtime, const Value& value);

bool truthy(const Value& value);
bool equal(Runtime& runtime, const Value& a, const Value& b);
// a < b.
bool less(Runtime& runtime, const Value& a, const Value& b);
bool compare(Runtime& runtime, Op op, const Value& a, const Value& b);
bool contains(Runtime& runtime, const Value& container, const Value& item);

// str() and repr(). A string comes back as it is.
std::string to_text(Runtime& runtime, const Value& value);
bool append_text(Builder& out, Runtime& runtime, const Value& value);
bool append_repr(Builder& out, Runtime& runtime, const Value& value);

Value binary(Runtime& runtime, Op op, const Value& a, const Value& b);
Value negate(Runtime& runtime, const Value& value);
Value add(Runtime& runtime, const Value& a, const Value& b);

// len(); fails for what has none.
int64_t length(Runtime& runtime, const Value& value);

// value.name and value[key] with Jinja's fallbacks between the two; undefined when there is neither. `name`
// is owned by the template and names the undefined value.
Value get_attribute(Runtime& runtime, const Value& value, const std::string& name);
Value get_item(Runtime& runtime, const Value& value, const Value& key, const std::string* name = nullptr);
// "a.b.0" as the filters take it; `path` is a string or an integer.
Value get_path(Runtime& runtime, const Value& value, const Value& path);
// value[start:stop:step]; none for an absent bound.
Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop, const Value& step);

// json.dumps() with ensure_ascii=False unless asked; spaces_per_level < 0 puts all on one line.
struct JsonOptions {
  bool ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(Runtime& runtime, const Value& value, const JsonOptions& options);

// str.replace(); count < 0 replaces all.
Value replace_text(Runtime& runtime, const Value& text, std::string_view before, std::string_view after,
                   int64_t count);
// Fills up to `width` code points; '<' keeps the text at the left, '>' at the right, '^' in the middle.
Value pad_text(Runtime& runtime, const Value& text, int64_t width, std::string_view fill, char align);

// str.format() and str % values.
Value format_braces(Runtime& runtime, const Value& format, const Args& args);
Value format_percent(Runtime& runtime, const Value& format, const Value& values);

}  // namespace hedge::text::jinja
