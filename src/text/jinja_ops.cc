// Truth, equality, order, membership, length and access to parts of values.
#include "text/jinja_ops.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

Value fail_undefined(Runtime& runtime, const Value& value) {
  const Undefined& undefined = value.as_undefined();
  const std::string name = undefined.name != nullptr ? "'" + *undefined.name + "'" : std::string("such item");
  switch (undefined.why) {
    case Undefined::Why::kItem:
      return runtime.fail(std::string("a ") + undefined.owner + " here has no " + name);
    case Undefined::Why::kName:
      return runtime.fail(name + " is undefined");
    case Undefined::Why::kNotPassed:
      return runtime.fail("parameter " + name + " was not provided");
    case Undefined::Why::kNoItem:
      return runtime.fail("there is no such item");
  }
  return Value();
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.as_bool();
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_real() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
      return !value.as_list().items.empty() || value.is_sequence(Sequence::kGenerator);
    case Kind::kDict:
      return !value.as_dict().entries.empty();
    case Kind::kObject:
      return true;
  }
  return false;
}

namespace {

bool hashable(const Value& value) {
  if (value.is_dict()) return false;
  if (!value.is_list()) return true;
  if (value.as_list().sequence == Sequence::kTuple) {
    return std::all_of(value.as_list().items.begin(), value.as_list().items.end(), hashable);
  }
  return value.as_list().sequence != Sequence::kList;
}

const Value* find_entry(Runtime& runtime, const Dict& dict, const Value& key) {
  if (!runtime.step(dict.entries.size() / 16 + 1)) return nullptr;
  if (key.is_string()) return find_key(dict, key.text());
  for (const auto& [name, value] : dict.entries) {
    if (!name.is_string() && equal(runtime, name, key)) return &value;
  }
  return nullptr;
}

bool equal_lists(Runtime& runtime, const List& a, const List& b) {
  if (a.sequence != b.sequence || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(runtime, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool equal_dicts(Runtime& runtime, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = find_entry(runtime, b, key);
    if (other == nullptr || !equal(runtime, value, *other)) return false;
  }
  return true;
}

}  // namespace

bool equal(Runtime& runtime, const Value& a, const Value& b) {
  if (!runtime.step()) return false;
  if (a.is_number() && b.is_number()) {
    return a.is_integral() && b.is_integral() ? a.as_int() == b.as_int() : a.as_real() == b.as_real();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      return runtime.work(std::min(a.text().size(), b.text().size())) && a.text() == b.text();
    case Kind::kList:
      return a.same_object(b) || equal_lists(runtime, a.as_list(), b.as_list());
    case Kind::kDict:
      return a.same_object(b) || equal_dicts(runtime, a.as_dict(), b.as_dict());
    case Kind::kObject:
      return a.same_object(b);
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      break;
  }
  return false;
}

bool less(Runtime& runtime, const Value& a, const Value& b) {
  if (!runtime.step()) return false;
  if (a.is_number() && b.is_number()) {
    return a.is_integral() && b.is_integral() ? a.as_int() < b.as_int() : a.as_real() < b.as_real();
  }
  // UTF-8 sorts as its code points do.
  if (a.is_string() && b.is_string()) {
    return runtime.work(std::min(a.text().size(), b.text().size())) && a.text() < b.text();
  }
  if (a.is_list() && b.is_list() && a.as_list().sequence == b.as_list().sequence &&
      (a.is_sequence(Sequence::kList) || a.is_sequence(Sequence::kTuple))) {
    const auto& left = a.as_list().items;
    const auto& right = b.as_list().items;
    for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
      if (!equal(runtime, left[i], right[i])) return less(runtime, left[i], right[i]);
    }
    return left.size() < right.size();
  }
  if (a.is_undefined()) fail_undefined(runtime, a);
  if (b.is_undefined()) fail_undefined(runtime, b);
  runtime.fail(std::string("'") + a.type_name() + "' and '" + b.type_name() + "' have no order");
  return false;
}

bool compare(Runtime& runtime, Op op, const Value& a, const Value& b) {
  switch (op) {
    case Op::kEqual:
      return equal(runtime, a, b);
    case Op::kNotEqual:
      return !equal(runtime, a, b);
    case Op::kLess:
      return less(runtime, a, b);
    case Op::kGreater:
      return less(runtime, b, a);
    case Op::kLessEqual:
      // Not the negation of >: with NaN both are false.
      return less(runtime, a, b) || (!runtime.failed() && equal(runtime, a, b));
    case Op::kGreaterEqual:
      return less(runtime, b, a) || (!runtime.failed() && equal(runtime, a, b));
    case Op::kIn:
      return contains(runtime, b, a);
    case Op::kNotIn:
      return !contains(runtime, b, a);
    case Op::kAdd:
    case Op::kSubtract:
    case Op::kMultiply:
    case Op::kDivide:
    case Op::kFloorDivide:
    case Op::kModulo:
    case Op::kPower:
      break;
  }
  HEDGE_CHECK(false);
  return false;
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      if (item.is_undefined()) fail_undefined(runtime, item);
      runtime.fail(std::string("'in' a string needs a string on its left, found ") + item.type_name());
      return false;
    }
    return runtime.work(container.text().size()) &&
           find_text(container.text(), item.text()) != std::string::npos;
  }
  if (container.is_dict()) {
    if (!hashable(item)) runtime.fail(std::string("unhashable type: '") + item.type_name() + "'");
    return find_entry(runtime, container.as_dict(), item) != nullptr;
  }
  Iter iter(runtime, container);
  for (Value candidate; iter.next(candidate);) {
    if (equal(runtime, candidate, item)) return true;
  }
  return false;
}

int64_t length(Runtime& runtime, const Value& value) {
  if (value.is_string()) {
    runtime.scan(value.text().size());
    return count_points(value.text());
  }
  if (value.is_list() && !value.is_sequence(Sequence::kGenerator)) {
    return static_cast<int64_t>(value.as_list().items.size());
  }
  if (value.is_dict()) return static_cast<int64_t>(value.as_dict().entries.size());
  if (value.is_undefined()) return 0;
  if (value.is_object(ObjectKind::kLoop)) {
    const auto& loop = static_cast<const LoopObject&>(value.as_object());
    return loop.index0 + 1 + (loop.after ? 1 : 0) + loop.iter.remaining();
  }
  runtime.fail(std::string("object of type '") + value.type_name() + "' has no length");
  return 0;
}

namespace {

Value missing(const Value& owner, const std::string* name) {
  return Value::undefined(Undefined::Why::kItem, name, owner.type_name());
}

Value loop_attribute(Runtime& runtime, const Value& value, const std::string& name) {
  auto& loop = static_cast<LoopObject&>(value.as_object());
  if (name == "index0") return Value::integer(loop.index0);
  if (name == "index") return Value::integer(loop.index0 + 1);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(!loop.peek());
  if (name == "length") return Value::integer(length(runtime, value));
  if (name == "revindex") return Value::integer(length(runtime, value) - loop.index0);
  if (name == "revindex0") return Value::integer(length(runtime, value) - loop.index0 - 1);
  if (name == "depth") return Value::integer(loop.level + 1);
  if (name == "depth0") return Value::integer(loop.level);
  const Value none = Value::undefined(Undefined::Why::kNoItem, nullptr);
  if (name == "previtem") return loop.before.value_or(none);
  if (name == "nextitem") return loop.peek() ? *loop.after : none;
  return missing(value, &name);
}

Value bound_method(Runtime& runtime, const Value& self, const MethodEntry& entry) {
  if (entry.call == nullptr) {
    return runtime.fail(std::string("method ") + self.type_name() + "." + entry.name,
                        ErrorCode::kUnsupported);
  }
  return runtime.object(std::make_shared<MethodObject>(self, entry.call));
}

// What the filter groupby gives are pairs whose parts have names.
const Value* group_part(const Value& value, std::string_view name) {
  if (!value.is_sequence(Sequence::kTuple) || value.as_list().items.size() != 2) return nullptr;
  return name == "grouper" ? &value.as_list().items[0] : name == "list" ? &value.as_list().items[1] : nullptr;
}

// Index of a Python subscript, or nothing when it is out of range.
std::optional<size_t> position_of(int64_t index, int64_t size) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return static_cast<size_t>(index);
}

}  // namespace

Value get_attribute(Runtime& runtime, const Value& value, const std::string& name) {
  if (value.is_undefined()) return fail_undefined(runtime, value);
  if (const MethodEntry* method = find_method(value, name)) return bound_method(runtime, value, *method);
  if (value.is_dict()) {
    if (!runtime.step(value.as_dict().entries.size() / 16)) return Value();
    const Value* found = find_key(value.as_dict(), name);
    return found != nullptr ? *found : missing(value, &name);
  }
  if (value.is_object(ObjectKind::kNamespace)) {
    const Value* found = static_cast<NamespaceObject&>(value.as_object()).find(name);
    return found != nullptr ? *found : missing(value, &name);
  }
  if (value.is_object(ObjectKind::kLoop)) return loop_attribute(runtime, value, name);
  if (value.is_object(ObjectKind::kCycler) && name == "current") {
    const auto& cycler = static_cast<const CyclerObject&>(value.as_object());
    return cycler.items[cycler.position];
  }
  if (const Value* part = group_part(value, name)) return *part;
  return missing(value, &name);
}

Value get_item(Runtime& runtime, const Value& value, const Value& key, const std::string* name) {
  if (value.is_undefined()) return fail_undefined(runtime, value);
  if (value.is_dict()) {
    const Value* found = hashable(key) ? find_entry(runtime, value.as_dict(), key) : nullptr;
    if (found != nullptr) return *found;
  } else if (key.is_integral() && value.is_list()) {
    const List& list = value.as_list();
    const bool indexed = list.sequence != Sequence::kView && list.sequence != Sequence::kGenerator;
    const auto position = position_of(key.as_int(), static_cast<int64_t>(list.items.size()));
    return indexed && position ? list.items[*position] : missing(value, name);
  } else if (key.is_integral() && value.is_string()) {
    const std::string& text = value.text();
    if (!runtime.scan(text.size())) return Value();
    const auto position = position_of(key.as_int(), count_points(text));
    if (!position) return missing(value, name);
    const size_t start = offset_of(text, static_cast<int64_t>(*position));
    size_t end = start;
    utf8_next(text, end);
    return runtime.str(text.substr(start, end - start), value.is_markup());
  } else if (key.is_string() && value.is_object(ObjectKind::kNamespace)) {
    const Value* found = static_cast<NamespaceObject&>(value.as_object()).find(key.text());
    return found != nullptr ? *found : missing(value, name);
  } else if (key.is_string() && value.is_object(ObjectKind::kLoop)) {
    const Value part = loop_attribute(runtime, value, key.text());
    if (!part.is_undefined()) return part;
  }
  if (key.is_string()) {
    if (const MethodEntry* method = find_method(value, key.text()))
      return bound_method(runtime, value, *method);
    if (const Value* part = group_part(value, key.text())) return *part;
  }
  return missing(value, name);
}

Value get_path(Runtime& runtime, const Value& value, const Value& path) {
  if (path.is_none()) return value;
  if (!path.is_string()) return get_item(runtime, value, path);
  Value current = value;
  for (const std::string_view part : split_on(path.text(), ".", -1, false)) {
    const bool index = !part.empty() && part.size() < 18 &&
                       std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    const Value key = index ? Value::integer(std::stoll(std::string(part))) : runtime.str(part, false);
    current = get_item(runtime, current, key);
    if (runtime.failed()) return Value();
  }
  return current;
}

namespace {

struct Bounds {
  int64_t start = 0, stop = 0, step = 1, count = 0;
};

std::optional<int64_t> bound_of(Runtime& runtime, const Value& value) {
  if (value.is_none()) return std::nullopt;
  if (value.is_integral()) return value.as_int();
  if (value.is_undefined()) fail_undefined(runtime, value);
  runtime.fail(std::string("slice bounds must be integers, found ") + value.type_name());
  return std::nullopt;
}

// As PySlice_AdjustIndices.
Bounds resolve(Runtime& runtime, int64_t size, const Value& start, const Value& stop, const Value& step) {
  Bounds bounds;
  const auto from = bound_of(runtime, start), to = bound_of(runtime, stop), by = bound_of(runtime, step);
  // Beyond the size the exact figure does not matter, and the arithmetic below cannot overflow.
  bounds.step = std::clamp<int64_t>(by.value_or(1), -(size + 1), size + 1);
  if (by && *by == 0) runtime.fail("slice step cannot be zero");
  if (runtime.failed() || bounds.step == 0) return bounds;
  const bool down = bounds.step < 0;
  const auto adjust = [&](int64_t index) {
    if (index < 0) return index < -size ? (down ? -1 : int64_t{0}) : index + size;
    return index >= size ? (down ? size - 1 : size) : index;
  };
  bounds.start = from ? adjust(*from) : (down ? size - 1 : 0);
  bounds.stop = to ? adjust(*to) : (down ? -1 : size);
  if (down && bounds.start > bounds.stop) bounds.count = (bounds.start - bounds.stop - 1) / -bounds.step + 1;
  if (!down && bounds.start < bounds.stop) bounds.count = (bounds.stop - bounds.start - 1) / bounds.step + 1;
  return bounds;
}

Value slice_text(Runtime& runtime, const Value& value, const Bounds& bounds) {
  const std::string_view text = value.text();
  if (bounds.step == 1) {
    const std::string_view tail = text.substr(offset_of(text, bounds.start));
    return runtime.str(tail.substr(0, offset_of(tail, bounds.count)), value.is_markup());
  }
  std::vector<uint32_t> offsets;  // of every code point, and the end; strings are far below 4 GB
  for (size_t position = 0; position < text.size();) {
    offsets.push_back(static_cast<uint32_t>(position));
    utf8_next(text, position);
  }
  offsets.push_back(static_cast<uint32_t>(text.size()));
  std::string out;
  for (int64_t i = 0; i < bounds.count; ++i) {
    const size_t at = static_cast<size_t>(bounds.start + i * bounds.step);
    out += text.substr(offsets[at], offsets[at + 1] - offsets[at]);
  }
  return runtime.str(std::move(out), value.is_markup());
}

}  // namespace

Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop, const Value& step) {
  if (value.is_undefined()) return fail_undefined(runtime, value);
  const bool text = value.is_string();
  if (!text &&
      (!value.is_list() || value.is_sequence(Sequence::kView) || value.is_sequence(Sequence::kGenerator))) {
    return runtime.fail(std::string("'") + value.type_name() + "' object cannot be sliced");
  }
  const Bounds bounds = resolve(runtime, length(runtime, value), start, stop, step);
  if (runtime.failed()) return Value();
  if (text) return slice_text(runtime, value, bounds);
  const List& list = value.as_list();
  if (!runtime.step(static_cast<size_t>(bounds.count) / 16)) return Value();
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(bounds.count));
  for (int64_t i = 0; i < bounds.count; ++i) {
    items.push_back(list.items[static_cast<size_t>(bounds.start + i * bounds.step)]);
  }
  return runtime.list(std::move(items), list.sequence);
}

}  // namespace hedge::text::jinja
