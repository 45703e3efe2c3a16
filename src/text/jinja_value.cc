#include "text/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace hedge::text::jinja {

Value Value::string(std::string_view text) {
  auto str = std::make_shared<Str>();
  str->text = utf8_valid(text) ? std::string(text) : utf8_sanitize(text);
  return Value(std::shared_ptr<const Str>(std::move(str)));
}

Value Value::list(std::vector<Value> items, Sequence sequence) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->depth = std::max(list->depth, item.depth() + 1);
  list->items = std::move(items);
  list->sequence = sequence;
  return Value(std::shared_ptr<const List>(std::move(list)));
}

Value Value::dict(std::vector<std::pair<std::string, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  dict->entries.reserve(entries.size());
  for (auto& [key, value] : entries) {
    dict->depth = std::max(dict->depth, value.depth() + 1);
    dict->entries.emplace_back(string(key), std::move(value));
  }
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

int Value::depth() const {
  switch (kind()) {
    case Kind::kList:
      return as_list().depth;
    case Kind::kDict:
      return as_dict().depth;
    case Kind::kObject:
      return as_object().depth;
    case Kind::kUndefined:
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    case Kind::kString:
      return 0;
  }
  return 0;
}

namespace {

const char* sequence_name(Sequence sequence) {
  switch (sequence) {
    case Sequence::kList:
      return "list";
    case Sequence::kTuple:
      return "tuple";
    case Sequence::kView:
      return "dict view";
    case Sequence::kRange:
      return "range";
    case Sequence::kGenerator:
      return "generator";
  }
  return "list";
}

const char* object_name(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kNamespace:
      return "Namespace";
    case ObjectKind::kMacro:
      return "Macro";
    case ObjectKind::kFunction:
      return "function";
    case ObjectKind::kMethod:
      return "method";
    case ObjectKind::kLoop:
      return "LoopContext";
    case ObjectKind::kCycler:
      return "Cycler";
    case ObjectKind::kJoiner:
      return "Joiner";
    case ObjectKind::kScope:
      return "scope";
  }
  return "object";
}

}  // namespace

const char* Value::type_name() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return sequence_name(as_list().sequence);
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return object_name(as_object().kind);
  }
  return "object";
}

bool Value::same_object(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::kUndefined:
      return false;
    case Kind::kNone:
      return true;
    case Kind::kBool:
      return as_bool() == other.as_bool();
    case Kind::kInt:
      return as_int() == other.as_int();
    case Kind::kFloat:
      return false;
    case Kind::kString:
      return &text() == &other.text();
    case Kind::kList:
      return &as_list() == &other.as_list();
    case Kind::kDict:
      return &as_dict() == &other.as_dict();
    case Kind::kObject:
      return &as_object() == &other.as_object();
  }
  return false;
}

std::string float_to_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char digits[40];  // "-d.ddddddddddddddddde-308" is 24 characters
  const auto end = std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::scientific);
  std::string scientific(digits, end.ptr);
  const size_t e = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  if (exponent < -4 || exponent >= 16)
    return scientific;  // to_chars writes at least two exponent digits, as Python
  const auto plain = std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::fixed);
  std::string text(digits, plain.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

const Value* find_key(const Dict& dict, std::string_view key) {
  for (const auto& [name, value] : dict.entries) {
    if (name.is_string() && name.text() == key) return &value;
  }
  return nullptr;
}

}  // namespace hedge::text::jinja
