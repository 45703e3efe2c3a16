// What stands behind "is": the tests.
#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

bool no_arguments(Runtime& runtime, const Args& args) { return Params(runtime, "test", args, {}).ok(); }

template <bool (*Is)(const Value&)>
bool test_kind(Runtime& runtime, const Value& input, const Args& args) {
  return no_arguments(runtime, args) && Is(input);
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.is_bool(); }
bool is_true(const Value& value) { return value.is_bool() && value.as_bool(); }
bool is_false(const Value& value) { return value.is_bool() && !value.as_bool(); }
bool is_integer(const Value& value) { return value.kind() == Kind::kInt; }
bool is_float(const Value& value) { return value.kind() == Kind::kFloat; }
bool is_number(const Value& value) { return value.is_number(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.is_dict(); }
bool is_iterable(const Value& value) {
  return value.is_string() || value.is_list() || value.is_dict() || value.is_undefined() ||
         value.is_object(ObjectKind::kLoop);
}
// What has a length and takes a subscript. Undefined has both as methods, so Jinja says yes.
bool is_sequence(const Value& value) {
  if (value.is_list()) return !value.is_sequence(Sequence::kView) && !value.is_sequence(Sequence::kGenerator);
  return value.is_string() || value.is_dict() || value.is_undefined();
}
bool is_callable(const Value& value) {
  // An Undefined has a __call__ that fails, so Python takes it as callable.
  return value.is_undefined() || (value.is_object() && !value.is_object(ObjectKind::kNamespace) &&
                                  !value.is_object(ObjectKind::kCycler));
}
bool is_escaped(const Value& value) { return value.is_markup(); }

template <bool (*Is)(char32_t), bool (*IsOther)(char32_t)>
bool test_case(Runtime& runtime, const Value& input, const Args& args) {
  const std::string text = to_text(runtime, input);
  if (!no_arguments(runtime, args)) return false;
  bool some = false;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = utf8_next(text, position);
    if (IsOther(c)) return false;
    some |= Is(c);
  }
  return some;
}

template <Op op>
bool test_compare(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "test", args, {"other"}, 1);
  return params.ok() && compare(runtime, op, input, *params.get(0));
}

bool divisible(Runtime& runtime, const Value& input, const Value& by) {
  const Value rest = binary(runtime, Op::kModulo, input, by);
  return !runtime.failed() && equal(runtime, rest, Value::integer(0));
}

bool test_divisibleby(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "divisibleby", args, {"num"}, 1);
  return params.ok() && divisible(runtime, input, *params.get(0));
}
bool test_even(Runtime& runtime, const Value& input, const Args& args) {
  return no_arguments(runtime, args) && divisible(runtime, input, Value::integer(2));
}
bool test_odd(Runtime& runtime, const Value& input, const Args& args) {
  if (!no_arguments(runtime, args)) return false;
  const Value rest = binary(runtime, Op::kModulo, input, Value::integer(2));
  return !runtime.failed() && equal(runtime, rest, Value::integer(1));
}

bool test_sameas(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "sameas", args, {"other"}, 1);
  return params.ok() && input.same_object(*params.get(0));
}

bool test_filter(Runtime& runtime, const Value& input, const Args& args) {
  return no_arguments(runtime, args) && input.is_string() && find_filter(input.text()) != nullptr;
}
bool test_test(Runtime& runtime, const Value& input, const Args& args) {
  return no_arguments(runtime, args) && input.is_string() && find_test(input.text()) != nullptr;
}

constexpr TestEntry kTests[] = {
    {"!=", test_compare<Op::kNotEqual>},
    {"<", test_compare<Op::kLess>},
    {"<=", test_compare<Op::kLessEqual>},
    {"==", test_compare<Op::kEqual>},
    {">", test_compare<Op::kGreater>},
    {">=", test_compare<Op::kGreaterEqual>},
    {"boolean", test_kind<is_boolean>},
    {"callable", test_kind<is_callable>},
    {"defined", test_kind<is_defined>},
    {"divisibleby", test_divisibleby},
    {"eq", test_compare<Op::kEqual>},
    {"equalto", test_compare<Op::kEqual>},
    {"escaped", test_kind<is_escaped>},
    {"even", test_even},
    {"false", test_kind<is_false>},
    {"filter", test_filter},
    {"float", test_kind<is_float>},
    {"ge", test_compare<Op::kGreaterEqual>},
    {"greaterthan", test_compare<Op::kGreater>},
    {"gt", test_compare<Op::kGreater>},
    {"in", test_compare<Op::kIn>},
    {"integer", test_kind<is_integer>},
    {"iterable", test_kind<is_iterable>},
    {"le", test_compare<Op::kLessEqual>},
    {"lessthan", test_compare<Op::kLess>},
    {"lower", test_case<is_lower, is_upper>},
    {"lt", test_compare<Op::kLess>},
    {"mapping", test_kind<is_mapping>},
    {"ne", test_compare<Op::kNotEqual>},
    {"none", test_kind<is_none>},
    {"number", test_kind<is_number>},
    {"odd", test_odd},
    {"sameas", test_sameas},
    {"sequence", test_kind<is_sequence>},
    {"string", test_kind<is_string>},
    {"test", test_test},
    {"true", test_kind<is_true>},
    {"undefined", test_kind<is_undefined>},
    {"upper", test_case<is_upper, is_lower>},
};

}  // namespace

const TestEntry* find_test(std::string_view name) {
  const auto* const entry = std::find_if(std::begin(kTests), std::end(kTests),
                                         [&](const TestEntry& test) { return test.name == name; });
  return entry == std::end(kTests) ? nullptr : entry;
}

}  // namespace hedge::text::jinja
