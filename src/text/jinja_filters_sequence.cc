// Filters on sequences and mappings as a whole: length, order, grouping.
#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

Value no_item() { return Value::undefined(Undefined::Why::kNoItem, nullptr); }

Value filter_length(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "length", args, {});
  const int64_t size = length(runtime, input);
  return params.ok() ? Value::integer(size) : Value();
}

Value filter_list(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "list", args, {});
  std::vector<Value> items = collect(runtime, input);
  return params.ok() ? runtime.list(std::move(items)) : Value();
}

Value filter_first(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "first", args, {});
  Iter iter(runtime, input);
  Value item;
  const bool found = iter.next(item);
  if (!params.ok()) return Value();
  return found ? item : no_item();
}

Value filter_last(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "last", args, {});
  if (input.is_sequence(Sequence::kGenerator)) runtime.fail("'generator' object is not reversible");
  if (!params.ok()) return Value();
  if (input.is_undefined()) return no_item();
  if (input.is_list()) return input.as_list().items.empty() ? no_item() : input.as_list().items.back();
  if (input.is_string() && !input.text().empty()) return get_item(runtime, input, Value::integer(-1));
  if (input.is_dict() && !input.as_dict().entries.empty()) return input.as_dict().entries.back().first;
  if (input.is_string() || input.is_dict()) return no_item();
  return runtime.fail(std::string("'") + input.type_name() + "' object is not reversible");
}

Value filter_join(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "join", args, {"d", "attribute"});
  if (!params.ok()) return Value();
  const std::string separator = params.get(0) != nullptr ? to_text(runtime, *params.get(0)) : std::string();
  const Value attribute = params.value(1, Value::none());
  Builder out(runtime);
  Iter iter(runtime, input);
  bool first = true;
  for (Value item; iter.next(item); first = false) {
    if (!first) out.append(separator);
    append_text(out, runtime, get_path(runtime, item, attribute));
    if (runtime.failed()) return Value();
  }
  return runtime.failed() ? Value() : runtime.str(out.take());
}

Value filter_reverse(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "reverse", args, {});
  if (!params.ok()) return Value();
  if (input.is_string()) return slice(runtime, input, Value::none(), Value::none(), Value::integer(-1));
  std::vector<Value> items = collect(runtime, input);
  std::reverse(items.begin(), items.end());
  const bool walked = input.is_sequence(Sequence::kGenerator);
  return runtime.failed() ? Value()
                          : runtime.list(std::move(items), walked ? Sequence::kList : Sequence::kGenerator);
}

Value ignore_case(Runtime& runtime, const Value& value) {
  if (!value.is_string() || !runtime.scan(value.text().size())) return value;
  return runtime.str(to_lower(value.text()));
}

// What an item is ordered or told apart by.
struct KeyOf {
  Value attribute = Value::none();
  Value fallback;  // in place of an attribute that an item lacks
  bool case_sensitive = false;

  Value operator()(Runtime& runtime, const Value& item) const {
    Value key = get_path(runtime, item, attribute);
    if (key.is_undefined() && !fallback.is_undefined()) key = fallback;
    return case_sensitive || runtime.failed() ? key : ignore_case(runtime, key);
  }
};

using Keyed = std::pair<Value, Value>;

// Both sorts are stable, as Python's. The comparison may fail half way and then is false for all pairs; a
// merge sort stays within its bounds with that.
void sort_keyed(Runtime& runtime, std::vector<Keyed>& keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(runtime, b.first, a.first) : less(runtime, a.first, b.first);
  });
}

std::vector<Value> items_of(const std::vector<Keyed>& keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (const auto& [key, item] : keyed) items.push_back(item);
  return items;
}

Value filter_sort(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "sort", args, {"reverse", "case_sensitive", "attribute"});
  if (!params.ok()) return Value();
  KeyOf key_of;
  key_of.case_sensitive = params.flag(1, false);
  const Value attribute = params.value(2, Value::none());
  std::vector<Value> attributes = {attribute};
  if (attribute.is_string()) {
    attributes.clear();
    for (const std::string_view part : split_on(attribute.text(), ",", -1, false)) {
      attributes.push_back(runtime.str(part, false));
    }
  }
  std::vector<Keyed> keyed;
  for (Value& item : collect(runtime, input)) {
    std::vector<Value> parts;
    for (const Value& part : attributes) {
      key_of.attribute = part;
      parts.push_back(key_of(runtime, item));
      if (runtime.failed()) return Value();
    }
    keyed.emplace_back(runtime.list(std::move(parts)), std::move(item));
  }
  sort_keyed(runtime, keyed, params.flag(0, false));
  return runtime.failed() ? Value() : runtime.list(items_of(keyed));
}

Value filter_unique(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "unique", args, {"case_sensitive", "attribute"});
  if (!params.ok()) return Value();
  const KeyOf key_of{params.value(1, Value::none()), Value(), params.flag(0, false)};
  std::vector<Value> seen, items;
  for (const Value& item : collect(runtime, input)) {
    const Value key = key_of(runtime, item);
    if (runtime.failed()) return Value();
    if (key.is_dict() || key.is_sequence(Sequence::kList))
      return runtime.fail("unique of values that cannot be hashed");
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(runtime, other, key); }))
      continue;
    seen.push_back(key);
    items.push_back(item);
  }
  return runtime.failed() ? Value() : runtime.list(std::move(items), Sequence::kGenerator);
}

Value extreme(Runtime& runtime, const Value& input, const Args& args, bool largest) {
  const Params params(runtime, largest ? "max" : "min", args, {"case_sensitive", "attribute"});
  if (!params.ok()) return Value();
  const KeyOf key_of{params.value(1, Value::none()), Value(), params.flag(0, false)};
  std::optional<Keyed> best;
  for (const Value& item : collect(runtime, input)) {
    Value key = key_of(runtime, item);
    if (runtime.failed()) return Value();
    if (!best || (largest ? less(runtime, best->first, key) : less(runtime, key, best->first))) {
      best = Keyed(std::move(key), item);
    }
  }
  if (runtime.failed()) return Value();
  return best ? best->second : no_item();
}

Value filter_min(Runtime& runtime, const Value& input, const Args& args) {
  return extreme(runtime, input, args, false);
}
Value filter_max(Runtime& runtime, const Value& input, const Args& args) {
  return extreme(runtime, input, args, true);
}

Value filter_sum(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "sum", args, {"attribute", "start"});
  if (!params.ok()) return Value();
  const Value attribute = params.value(0, Value::none());
  Value total = params.value(1, Value::integer(0));
  if (total.is_string()) return runtime.fail("sum cannot add strings");
  Iter iter(runtime, input);
  for (Value item; iter.next(item);) total = add(runtime, total, get_path(runtime, item, attribute));
  return runtime.failed() ? Value() : total;
}

Value filter_batch(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "batch", args, {"linecount", "fill_with"}, 1);
  const int64_t size = params.integer(0, 0);
  const Value fill = params.value(1, Value::none());
  std::vector<Value> items = collect(runtime, input);
  if (!params.ok()) return Value();
  // A size that no batch reaches leaves all items in one.
  const size_t each = size > 0 ? static_cast<size_t>(size) : std::max<size_t>(items.size(), 1);
  std::vector<Value> batches;
  for (size_t start = 0; start < items.size(); start += each) {
    const size_t end = start + std::min(each, items.size() - start);
    std::vector<Value> batch(items.begin() + static_cast<ptrdiff_t>(start),
                             items.begin() + static_cast<ptrdiff_t>(end));
    if (!fill.is_none() && size > 0 && batch.size() < each) {
      if (!runtime.string_fits(each * sizeof(Value)) || !runtime.step(each)) return Value();
      batch.resize(each, fill);
    }
    batches.push_back(runtime.list(std::move(batch)));
  }
  return runtime.list(std::move(batches), Sequence::kGenerator);
}

Value filter_slice(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "slice", args, {"slices", "fill_with"}, 1);
  const int64_t slices = params.integer(0, 0);
  const Value fill = params.value(1, Value::none());
  std::vector<Value> items = collect(runtime, input);
  if (!params.ok()) return Value();
  if (slices == 0) return runtime.fail("division by zero");
  if (slices < 0 || !runtime.step(static_cast<size_t>(slices))) return runtime.list({}, Sequence::kGenerator);
  const size_t count = static_cast<size_t>(slices), each = items.size() / count, extra = items.size() % count;
  std::vector<Value> columns;
  size_t start = 0;
  for (size_t i = 0; i < count && !runtime.failed(); ++i) {
    const size_t end = start + each + (i < extra ? 1 : 0);
    std::vector<Value> column(items.begin() + static_cast<ptrdiff_t>(start),
                              items.begin() + static_cast<ptrdiff_t>(end));
    if (!fill.is_none() && i >= extra) column.push_back(fill);
    columns.push_back(runtime.list(std::move(column)));
    start = end;
  }
  return runtime.list(std::move(columns), Sequence::kGenerator);
}

Value filter_items(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "items", args, {});
  if (!params.ok()) return Value();
  std::vector<Value> items;
  if (input.is_dict()) {
    if (!runtime.step(input.as_dict().entries.size())) return Value();
    for (const auto& [key, value] : input.as_dict().entries) {
      items.push_back(runtime.list({key, value}, Sequence::kTuple));
    }
  } else if (!input.is_undefined()) {
    return runtime.fail(std::string("items expects a mapping, found ") + input.type_name());
  }
  return runtime.list(std::move(items), Sequence::kGenerator);
}

Value filter_dictsort(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "dictsort", args, {"case_sensitive", "by", "reverse"});
  const std::string_view by = params.string(1).value_or("key");
  if (!params.ok()) return Value();
  if (by != "key" && by != "value") return runtime.fail("dictsort sorts by 'key' or 'value'");
  if (input.is_undefined()) return fail_undefined(runtime, input);
  if (!input.is_dict())
    return runtime.fail(std::string("dictsort expects a mapping, found ") + input.type_name());
  const bool case_sensitive = params.flag(0, false);
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : input.as_dict().entries) {
    const Value& part = by == "key" ? key : value;
    keyed.emplace_back(case_sensitive ? part : ignore_case(runtime, part),
                       runtime.list({key, value}, Sequence::kTuple));
    if (runtime.failed()) return Value();
  }
  sort_keyed(runtime, keyed, params.flag(2, false));
  return runtime.failed() ? Value() : runtime.list(items_of(keyed));
}

Value filter_groupby(Runtime& runtime, const Value& input, const Args& args) {
  const Params params(runtime, "groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  if (!params.ok()) return Value();
  const KeyOf key_of{*params.get(0), params.value(1, Value()), params.flag(2, false)};
  const KeyOf real_key_of{key_of.attribute, key_of.fallback, true};
  std::vector<Keyed> keyed;
  for (Value& item : collect(runtime, input)) {
    Value key = key_of(runtime, item);
    if (runtime.failed()) return Value();
    keyed.emplace_back(std::move(key), std::move(item));
  }
  sort_keyed(runtime, keyed, false);
  std::vector<Value> groups;
  for (size_t start = 0; start < keyed.size() && !runtime.failed();) {
    size_t end = start + 1;
    while (end < keyed.size() && equal(runtime, keyed[start].first, keyed[end].first)) ++end;
    std::vector<Value> members;
    for (size_t i = start; i < end; ++i) members.push_back(keyed[i].second);
    groups.push_back(runtime.list(
        {real_key_of(runtime, keyed[start].second), runtime.list(std::move(members))}, Sequence::kTuple));
    start = end;
  }
  return runtime.failed() ? Value() : runtime.list(std::move(groups));
}

constexpr FilterEntry kFilters[] = {
    {"batch", filter_batch},     {"count", filter_length},    {"dictsort", filter_dictsort},
    {"first", filter_first},     {"groupby", filter_groupby}, {"items", filter_items},
    {"join", filter_join},       {"last", filter_last},       {"length", filter_length},
    {"list", filter_list},       {"max", filter_max},         {"min", filter_min},
    {"reverse", filter_reverse}, {"slice", filter_slice},     {"sort", filter_sort},
    {"sum", filter_sum},         {"unique", filter_unique},
};

}  // namespace

FilterTable sequence_filters() { return {std::begin(kFilters), std::end(kFilters)}; }

}  // namespace hedge::text::jinja
