// Functions that a template finds without being given them.
#include <algorithm>
#include <ctime>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace hedge::text::jinja {

namespace {

// As Jinja's sandbox.
constexpr int64_t kMaxRange = 100'000;

Value call_range(Runtime& runtime, const Args& args) {
  const Params params(runtime, "range", args, {"start", "stop", "step"}, 1);
  for (size_t i = 0; i < 3 && params.ok(); ++i) {
    if (params.get(i) == nullptr || params.get(i)->is_integral()) continue;
    if (params.get(i)->is_undefined()) return fail_undefined(runtime, *params.get(i));
    return runtime.fail(std::string("range() expects integers, found ") + params.get(i)->type_name());
  }
  if (!params.ok()) return Value();
  const bool one = params.get(1) == nullptr;
  const int64_t start = one ? 0 : params.integer(0, 0),
                stop = one ? params.integer(0, 0) : params.integer(1, 0);
  const int64_t step = params.integer(2, 1);
  if (step == 0) return runtime.fail("range() step must not be zero");
  const auto too_big = [&] {
    return runtime.fail("range() of more than " + std::to_string(kMaxRange) + " items",
                        ErrorCode::kExhausted);
  };
  std::vector<Value> items;
  for (int64_t value = start; step > 0 ? value < stop : value > stop;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) return too_big();
    items.push_back(Value::integer(value));
    if (__builtin_add_overflow(value, step, &value)) break;
  }
  if (!runtime.step(items.size() / 4)) return Value();
  return runtime.list(std::move(items), Sequence::kRange);
}

// Arguments of dict() and namespace(): a mapping or pairs, then keywords.
Value::Entries named_entries(Runtime& runtime, const Args& args) {
  Value::Entries entries;
  const auto set = [&](const Value& key, Value value) {
    if (!runtime.step(entries.size() / 16 + 1)) return;
    for (auto& entry : entries) {
      if (equal(runtime, entry.first, key)) {
        entry.second = std::move(value);
        return;
      }
    }
    entries.emplace_back(key, std::move(value));
  };
  if (args.positional.size() > 1) runtime.fail("dict() and namespace() take at most one positional argument");
  if (args.positional.size() == 1) {
    const Value& source = args.positional[0];
    if (source.is_dict()) {
      entries = source.as_dict().entries;
    } else {
      Iter iter(runtime, source);
      for (Value item; iter.next(item);) {
        if (!item.is_list() || item.as_list().items.size() != 2) {
          runtime.fail("dict() expects pairs");
          break;
        }
        const Value& key = item.as_list().items[0];
        if (key.is_dict() || key.is_sequence(Sequence::kList)) runtime.fail("unhashable key in dict()");
        set(key, item.as_list().items[1]);
      }
    }
  }
  for (const auto& [name, value] : args.keywords) set(runtime.str(name, false), value);
  return entries;
}

Value call_dict(Runtime& runtime, const Args& args) {
  Value::Entries entries = named_entries(runtime, args);
  return runtime.failed() ? Value() : runtime.dict(std::move(entries));
}

Value call_namespace(Runtime& runtime, const Args& args) {
  const Value::Entries entries = named_entries(runtime, args);
  auto made = std::make_shared<NamespaceObject>();
  size_t bytes = 0;
  for (const auto& [key, value] : entries) {
    if (!key.is_string()) continue;  // no attribute can have this name
    made->attributes.emplace_back(key.text(), value);
    bytes += key.text().size() + sizeof(made->attributes[0]);
  }
  runtime.keep(made);
  return runtime.object(std::move(made), bytes);
}

Value call_raise_exception(Runtime& runtime, const Args& args) {
  const Params params(runtime, "raise_exception", args, {"message"}, 1);
  if (!params.ok()) return Value();
  std::string words = to_text(runtime, *params.get(0));
  if (runtime.failed()) return Value();
  return runtime.fail_in_words(words.empty() ? "the chat template refuses the conversation"
                                             : std::move(words));
}

Value call_strftime_now(Runtime& runtime, const Args& args) {
  constexpr size_t kMaxFormatBytes = 256;
  const Params params(runtime, "strftime_now", args, {"format"}, 1);
  const auto format = params.string(0);
  if (!params.ok() || !format) return runtime.fail("strftime_now() expects a format");
  if (format->size() > kMaxFormatBytes || format->find('\0') != std::string_view::npos) {
    return runtime.fail("strftime_now() with a format above " + std::to_string(kMaxFormatBytes) + " bytes",
                        ErrorCode::kExhausted);
  }
  char
      text[16 * kMaxFormatBytes];  // a letter of a format gives at most some 30 characters, a width none in C
  const std::string terminated(*format);
  const size_t size = std::strftime(text, sizeof(text), terminated.c_str(), &runtime.now());
  if (size == 0 && !format->empty()) return runtime.fail("strftime_now() with a format that gives nothing");
  return runtime.str(std::string_view(text, size), false);
}

Value call_cycler(Runtime& runtime, const Args& args) {
  if (args.positional.empty() || !args.keywords.empty())
    return runtime.fail("cycler() needs at least one item");
  auto made = std::make_shared<CyclerObject>();
  made->items = args.positional;
  for (const Value& item : made->items) made->depth = std::max(made->depth, item.depth() + 1);
  return runtime.object(std::move(made), args.positional.size() * sizeof(Value));
}

Value call_joiner(Runtime& runtime, const Args& args) {
  const Params params(runtime, "joiner", args, {"sep"});
  if (!params.ok()) return Value();
  auto made = std::make_shared<JoinerObject>();
  made->separator = params.value(0, runtime.str(", "));
  made->depth = made->separator.depth() + 1;
  return runtime.object(std::move(made));
}

constexpr FunctionEntry kFunctions[] = {
    {"cycler", call_cycler},
    {"dict", call_dict},
    {"joiner", call_joiner},
    {"namespace", call_namespace},
    {"range", call_range},
    {"raise_exception", call_raise_exception},
    {"strftime_now", call_strftime_now},
};

}  // namespace

const FunctionEntry* find_function(std::string_view name) {
  const auto* const entry =
      std::find_if(std::begin(kFunctions), std::end(kFunctions),
                   [&](const FunctionEntry& function) { return function.name == name; });
  return entry == std::end(kFunctions) ? nullptr : entry;
}

}  // namespace hedge::text::jinja
