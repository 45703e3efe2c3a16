// Methods of lists, dicts and the loop variable, as Python has them, and the look-up of all methods.
#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace hedge::text::jinja {

namespace {

Value refuse_change(Runtime& runtime, const Value& self, const Args& args) {
  (void)args;
  return runtime.fail(std::string("templates may not change a ") + self.type_name());
}

Value copy_self(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "copy", args, {});
  return params.ok() ? self : Value();
}

Value list_index(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "index", args, {"value"}, 1);
  if (!params.ok()) return Value();
  const auto& items = self.as_list().items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(runtime, items[i], *params.get(0))) return Value::integer(static_cast<int64_t>(i));
  }
  return runtime.fail("the list does not hold the value");
}

Value list_count(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "count", args, {"value"}, 1);
  if (!params.ok()) return Value();
  int64_t count = 0;
  for (const Value& item : self.as_list().items) count += equal(runtime, item, *params.get(0)) ? 1 : 0;
  return Value::integer(count);
}

Value dict_get(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "get", args, {"key", "default"}, 1);
  if (!params.ok()) return Value();
  if (!contains(runtime, self, *params.get(0))) return params.value(1, Value::none());
  return get_item(runtime, self, *params.get(0));
}

Value dict_view(Runtime& runtime, const Value& self, const Args& args, bool keys, bool values) {
  const Params params(runtime, "method", args, {});
  const auto& entries = self.as_dict().entries;
  if (!params.ok() || !runtime.step(entries.size())) return Value();
  std::vector<Value> items;
  items.reserve(entries.size());
  for (const auto& [key, value] : entries) {
    items.push_back(keys && values ? runtime.list({key, value}, Sequence::kTuple) : keys ? key : value);
  }
  return runtime.list(std::move(items), Sequence::kView);
}

Value dict_items(Runtime& rt, const Value& self, const Args& args) {
  return dict_view(rt, self, args, true, true);
}
Value dict_keys(Runtime& rt, const Value& self, const Args& args) {
  return dict_view(rt, self, args, true, false);
}
Value dict_values(Runtime& rt, const Value& self, const Args& args) {
  return dict_view(rt, self, args, false, true);
}

Value loop_cycle(Runtime& runtime, const Value& self, const Args& args) {
  if (args.positional.empty()) return runtime.fail("no items for cycling given");
  const auto& loop = static_cast<const LoopObject&>(self.as_object());
  return args.positional[static_cast<size_t>(loop.index0) % args.positional.size()];
}

Value loop_changed(Runtime& runtime, const Value& self, const Args& args) {
  auto& loop = static_cast<LoopObject&>(self.as_object());
  bool same = loop.changed && loop.changed->size() == args.positional.size();
  for (size_t i = 0; same && i < args.positional.size(); ++i) {
    same = equal(runtime, (*loop.changed)[i], args.positional[i]);
  }
  if (same || runtime.failed()) return Value::boolean(false);
  if (!loop.changed) runtime.keep(self.object());  // it may now hold itself
  if (!runtime.charge_for_good(args.positional.size() * sizeof(Value))) return Value();
  loop.changed = args.positional;
  return Value::boolean(true);
}

Value cycler_next(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "next", args, {});
  auto& cycler = static_cast<CyclerObject&>(self.as_object());
  if (!params.ok()) return Value();
  const Value item = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return item;
}

Value cycler_reset(Runtime& runtime, const Value& self, const Args& args) {
  const Params params(runtime, "reset", args, {});
  static_cast<CyclerObject&>(self.as_object()).position = 0;
  return params.ok() ? Value::none() : Value();
}

constexpr MethodEntry kListMethods[] = {
    {"append", refuse_change}, {"clear", refuse_change},   {"copy", copy_self},       {"count", list_count},
    {"extend", refuse_change}, {"index", list_index},      {"insert", refuse_change}, {"pop", refuse_change},
    {"remove", refuse_change}, {"reverse", refuse_change}, {"sort", refuse_change},
};

constexpr MethodEntry kTupleMethods[] = {{"count", list_count}, {"index", list_index}};

constexpr MethodEntry kDictMethods[] = {
    {"clear", refuse_change},   {"copy", copy_self},           {"get", dict_get},
    {"items", dict_items},      {"keys", dict_keys},           {"pop", refuse_change},
    {"popitem", refuse_change}, {"setdefault", refuse_change}, {"update", refuse_change},
    {"values", dict_values},
};

constexpr MethodEntry kLoopMethods[] = {{"changed", loop_changed}, {"cycle", loop_cycle}};

constexpr MethodEntry kCyclerMethods[] = {{"next", cycler_next}, {"reset", cycler_reset}};

const MethodEntry* find_in(MethodTable table, std::string_view name) {
  const auto* const entry =
      std::find_if(table.begin, table.end, [&](const MethodEntry& m) { return m.name == name; });
  return entry == table.end ? nullptr : entry;
}

template <size_t N>
const MethodEntry* find_in(const MethodEntry (&table)[N], std::string_view name) {
  return find_in(MethodTable{table, table + N}, name);
}

}  // namespace

const MethodEntry* find_method(const Value& self, std::string_view name) {
  if (self.is_string()) return find_in(string_methods(), name);
  if (self.is_dict()) return find_in(kDictMethods, name);
  if (self.is_sequence(Sequence::kList)) return find_in(kListMethods, name);
  if (self.is_sequence(Sequence::kTuple)) return find_in(kTupleMethods, name);
  if (self.is_object(ObjectKind::kLoop)) return find_in(kLoopMethods, name);
  if (self.is_object(ObjectKind::kCycler)) return find_in(kCyclerMethods, name);
  return nullptr;
}

}  // namespace hedge::text::jinja
