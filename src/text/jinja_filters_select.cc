// map, select and reject with their variants on attributes, and the look-up of all filters.
#include <algorithm>
#include <array>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace hedge::text::jinja {

namespace {

Args without_first(const Args& args, size_t count) {
  Args rest;
  rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(count), args.positional.end());
  rest.keywords = args.keywords;
  return rest;
}

Value map_attribute(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "map", args, {"attribute", "default"}, 1);
  if (!params.ok()) return Value();
  const Value fallback = params.value(1, Value::none());
  std::vector<Value> items;
  for (const Value& item : collect(runtime, input)) {
    Value part = get_path(runtime, item, *params.get(0));
    if (runtime.failed()) return Value();
    items.push_back(part.is_undefined() && !fallback.is_none() ? fallback : std::move(part));
  }
  return runtime.list(std::move(items), Sequence::kGenerator);
}

Value filter_map(Runtime& runtime, const Value& input, const Args& args) {
  if (!truthy(input)) return runtime.list({}, Sequence::kGenerator);
  if (args.positional.empty() && !args.keywords.empty()) return map_attribute(runtime, input, args);
  if (args.positional.empty() || !args.positional[0].is_string())
    return runtime.fail("map needs the name of a filter");
  const FilterEntry* filter = find_filter(args.positional[0].text());
  if (filter == nullptr) {
    return runtime.fail("filter '" + args.positional[0].text() + "'", ErrorCode::kUnsupported);
  }
  const Args rest = without_first(args, 1);
  std::vector<Value> items;
  for (const Value& item : collect(runtime, input)) {
    items.push_back(filter->call(runtime, item, rest));
    if (runtime.failed()) return Value();
  }
  return runtime.list(std::move(items), Sequence::kGenerator);
}

Value select(Runtime& runtime, const Value& input, const Args& args, bool keep, bool by_attribute) {
  if (!truthy(input)) return runtime.list({}, Sequence::kGenerator);
  const size_t offset = by_attribute ? 1 : 0;
  if (by_attribute && args.positional.empty())
    return runtime.fail("selectattr and rejectattr need an attribute's name");
  const TestEntry* test = nullptr;
  Args rest;
  if (args.positional.size() > offset) {
    const Value& name = args.positional[offset];
    if (!name.is_string()) return runtime.fail("select and reject expect the name of a test");
    test = find_test(name.text());
    if (test == nullptr) return runtime.fail("test '" + name.text() + "'", ErrorCode::kUnsupported);
    rest = without_first(args, offset + 1);
  }
  std::vector<Value> items;
  for (const Value& item : collect(runtime, input)) {
    const Value part = by_attribute ? get_path(runtime, item, args.positional[0]) : item;
    if (runtime.failed()) return Value();
    const bool passed = test != nullptr ? test->call(runtime, part, rest) : truthy(part);
    if (runtime.failed()) return Value();
    if (passed == keep) items.push_back(item);
  }
  return runtime.list(std::move(items), Sequence::kGenerator);
}

Value filter_select(Runtime& rt, const Value& input, const Args& args) {
  return select(rt, input, args, true, false);
}
Value filter_reject(Runtime& rt, const Value& input, const Args& args) {
  return select(rt, input, args, false, false);
}
Value filter_selectattr(Runtime& rt, const Value& input, const Args& args) {
  return select(rt, input, args, true, true);
}
Value filter_rejectattr(Runtime& rt, const Value& input, const Args& args) {
  return select(rt, input, args, false, true);
}

Value filter_attr(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "attr", args, {"name"}, 1);
  const auto name = params.string(0);
  if (!params.ok() || !name) return runtime.fail("attr expects a name");
  // Only true attributes, not the items of a mapping.
  const bool has_attributes = input.is_object() || find_method(input, *name) != nullptr;
  if (input.is_undefined()) return fail_undefined(runtime, input);
  if (has_attributes) return get_item(runtime, input, *params.get(0));
  return Value::undefined(Undefined::Why::kItem, nullptr, input.type_name());
}

constexpr FilterEntry kFilters[] = {
    {"attr", filter_attr},     {"map", filter_map},
    {"reject", filter_reject}, {"rejectattr", filter_rejectattr},
    {"select", filter_select}, {"selectattr", filter_selectattr},
};

}  // namespace

FilterTable selection_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

const FilterEntry* find_filter(std::string_view name) {
  for (const FilterTable& table : {text_filters(), sequence_filters(), selection_filters()}) {
    const auto* const entry =
        std::find_if(table.begin, table.end, [&](const FilterEntry& f) { return f.name == name; });
    if (entry != table.end) return entry;
  }
  return nullptr;
}

}  // namespace hedge::text::jinja
