// Operators on numbers, strings and lists.
#include <algorithm>
#include <cmath>

#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

const char* symbol_of(Op op) {
  switch (op) {
    case Op::kAdd:
      return "+";
    case Op::kSubtract:
      return "-";
    case Op::kMultiply:
      return "*";
    case Op::kDivide:
      return "/";
    case Op::kFloorDivide:
      return "//";
    case Op::kModulo:
      return "%";
    case Op::kPower:
      return "**";
    case Op::kEqual:
    case Op::kNotEqual:
    case Op::kLess:
    case Op::kLessEqual:
    case Op::kGreater:
    case Op::kGreaterEqual:
    case Op::kIn:
    case Op::kNotIn:
      break;
  }
  return "comparison";
}

Value mismatch(Runtime& runtime, Op op, const Value& a, const Value& b) {
  if (a.is_undefined()) return fail_undefined(runtime, a);
  if (b.is_undefined()) return fail_undefined(runtime, b);
  return runtime.fail(std::string("unsupported operand types for ") + symbol_of(op) + ": '" + a.type_name() +
                      "' and '" + b.type_name() + "'");
}

Value overflow(Runtime& runtime) { return runtime.fail("integer beyond 64 bits", ErrorCode::kUnsupported); }
Value divided_by_zero(Runtime& runtime) { return runtime.fail("division by zero"); }

Value power(Runtime& runtime, int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return divided_by_zero(runtime);
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  if (base >= -1 && base <= 1)
    return Value::integer(base == -1 && exponent % 2 == 0 ? 1 : exponent == 0 ? 1 : base);
  for (; exponent > 0; --exponent) {  // ends within 63 rounds: another base overflows by then
    if (__builtin_mul_overflow(result, base, &result)) return overflow(runtime);
  }
  return Value::integer(result);
}

Value integers(Runtime& runtime, Op op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Op::kAdd:
      return __builtin_add_overflow(a, b, &result) ? overflow(runtime) : Value::integer(result);
    case Op::kSubtract:
      return __builtin_sub_overflow(a, b, &result) ? overflow(runtime) : Value::integer(result);
    case Op::kMultiply:
      return __builtin_mul_overflow(a, b, &result) ? overflow(runtime) : Value::integer(result);
    case Op::kDivide:
      if (b == 0) return divided_by_zero(runtime);
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Op::kFloorDivide:
    case Op::kModulo: {
      if (b == 0) return divided_by_zero(runtime);
      if (b == -1) return op == Op::kModulo ? Value::integer(0) : integers(runtime, Op::kSubtract, 0, a);
      int64_t quotient = a / b, remainder = a % b;
      if (remainder != 0 && (remainder < 0) != (b < 0)) {
        --quotient;
        remainder += b;
      }
      return Value::integer(op == Op::kModulo ? remainder : quotient);
    }
    case Op::kPower:
      return power(runtime, a, b);
    case Op::kEqual:
    case Op::kNotEqual:
    case Op::kLess:
    case Op::kLessEqual:
    case Op::kGreater:
    case Op::kGreaterEqual:
    case Op::kIn:
    case Op::kNotIn:
      break;
  }
  return Value();
}

Value reals(Runtime& runtime, Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Value::real(a + b);
    case Op::kSubtract:
      return Value::real(a - b);
    case Op::kMultiply:
      return Value::real(a * b);
    case Op::kDivide:
      return b == 0 ? divided_by_zero(runtime) : Value::real(a / b);
    case Op::kFloorDivide:
      return b == 0 ? divided_by_zero(runtime) : Value::real(std::floor(a / b));
    case Op::kModulo: {
      if (b == 0) return divided_by_zero(runtime);
      const double remainder = std::fmod(a, b);
      if (remainder == 0) return Value::real(std::copysign(0.0, b));
      return Value::real((remainder < 0) != (b < 0) ? remainder + b : remainder);
    }
    case Op::kPower: {
      const double result = std::pow(a, b);
      if (a == 0 && b < 0) return divided_by_zero(runtime);
      if (std::isfinite(a) && std::isfinite(b) && !std::isfinite(result))
        return runtime.fail("result out of range");
      return Value::real(result);
    }
    case Op::kEqual:
    case Op::kNotEqual:
    case Op::kLess:
    case Op::kLessEqual:
    case Op::kGreater:
    case Op::kGreaterEqual:
    case Op::kIn:
    case Op::kNotIn:
      break;
  }
  return Value();
}

Value add_strings(Runtime& runtime, const Value& a, const Value& b) {
  if (!runtime.string_fits(a.text().size() + b.text().size())) return Value();
  if (!runtime.work(a.text().size() + b.text().size())) return Value();
  const bool markup = a.is_markup() || b.is_markup();
  if (a.is_markup() == b.is_markup()) return runtime.str(a.text() + b.text(), markup);
  return runtime.str(a.is_markup() ? a.text() + escape_html(b.text()) : escape_html(a.text()) + b.text(),
                     true);
}

Value repeat(Runtime& runtime, const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  const size_t size = value.is_string() ? value.text().size() : value.as_list().items.size() * sizeof(Value);
  if (size != 0 && static_cast<size_t>(count) > runtime.limits().string_bytes / size) {
    runtime.string_fits(runtime.limits().string_bytes + 1);
    return Value();
  }
  if (!runtime.work(size * static_cast<size_t>(count))) return Value();
  if (value.is_string()) {
    std::string text;
    text.reserve(size * static_cast<size_t>(count));
    for (int64_t i = 0; size != 0 && i < count; ++i) text += value.text();
    return runtime.str(std::move(text), value.is_markup());
  }
  std::vector<Value> items;
  const auto& source = value.as_list().items;
  for (int64_t i = 0; size != 0 && i < count; ++i) items.insert(items.end(), source.begin(), source.end());
  return runtime.list(std::move(items), value.as_list().sequence);
}

bool is_repeatable(const Value& value) {
  return value.is_string() || value.is_sequence(Sequence::kList) || value.is_sequence(Sequence::kTuple);
}

}  // namespace

Value replace_text(Runtime& runtime, const Value& text, std::string_view before, std::string_view after,
                   int64_t count) {
  Builder out(runtime);
  std::string_view rest = text.text();
  if (before.empty()) {  // goes between all characters
    for (bool more = true; more && count != 0 && out.append(after); --count) {
      more = !rest.empty();
      const size_t length = offset_of(rest, 1);
      out.append(rest.substr(0, length));
      rest.remove_prefix(length);
    }
  }
  while (!before.empty() && count != 0 && !runtime.failed()) {
    const size_t at = find_text(rest, before);
    if (at == std::string_view::npos) break;
    out.append(rest.substr(0, at));
    out.append(after);
    rest.remove_prefix(at + before.size());
    --count;
  }
  out.append(rest);
  return runtime.failed() ? Value() : runtime.str(out.take(), text.is_markup());
}

Value pad_text(Runtime& runtime, const Value& text, int64_t width, std::string_view fill, char align) {
  const int64_t size = length(runtime, text);
  if (runtime.failed() || width <= size) return text;
  const auto missing = static_cast<size_t>(width - size);
  // str.center() puts the odd blank at the left when the width is odd.
  const size_t left = align == '<'   ? 0
                      : align == '>' ? missing
                                     : missing / 2 + (missing & static_cast<size_t>(width) & 1);
  if (!runtime.string_fits(text.text().size() + missing) || !runtime.work(missing)) return Value();
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += text.text();
  for (size_t i = left; i < missing; ++i) out += fill;
  return runtime.str(std::move(out), text.is_markup());
}

Value add(Runtime& runtime, const Value& a, const Value& b) { return binary(runtime, Op::kAdd, a, b); }

Value binary(Runtime& runtime, Op op, const Value& a, const Value& b) {
  if (runtime.failed()) return Value();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return integers(runtime, op, a.as_int(), b.as_int());
    return reals(runtime, op, a.as_real(), b.as_real());
  }
  if (op == Op::kAdd && a.is_string() && b.is_string()) return add_strings(runtime, a, b);
  if (op == Op::kAdd && is_repeatable(a) && b.is_list() && a.is_list() &&
      a.as_list().sequence == b.as_list().sequence) {
    std::vector<Value> items;
    items.reserve(a.as_list().items.size() + b.as_list().items.size());
    items = a.as_list().items;
    items.insert(items.end(), b.as_list().items.begin(), b.as_list().items.end());
    return runtime.list(std::move(items), a.as_list().sequence);
  }
  if (op == Op::kMultiply && is_repeatable(a) && b.is_integral()) return repeat(runtime, a, b.as_int());
  if (op == Op::kMultiply && is_repeatable(b) && a.is_integral()) return repeat(runtime, b, a.as_int());
  if (op == Op::kModulo && a.is_string()) return format_percent(runtime, a, b);
  return mismatch(runtime, op, a, b);
}

Value negate(Runtime& runtime, const Value& value) {
  if (value.is_integral()) return integers(runtime, Op::kSubtract, 0, value.as_int());
  if (value.is_number()) return Value::real(-value.as_real());
  if (value.is_undefined()) return fail_undefined(runtime, value);
  return runtime.fail(std::string("bad operand type for unary -: '") + value.type_name() + "'");
}

}  // namespace hedge::text::jinja
