#include "text/jinja_runtime.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/jinja_lexer.h"
#include "text/jinja_strings.h"

namespace hedge::text::jinja {

namespace {

// What the allocator and the shared_ptr add to an object, roughly.
constexpr size_t kBlockOverhead = 48;
// A template's own words may quote the conversation; they go into an error for people.
constexpr size_t kMaxWordsBytes = 1000;

}  // namespace

Runtime::~Runtime() {
  for (const std::shared_ptr<Object>& object : kept_) object->clear();
}

Value Runtime::fail(const std::string& what, ErrorCode code) {
  if (!error_) error_ = parse_error(line_, what, code);
  return Value();
}

Value Runtime::fail_in_words(std::string words) {
  if (words.size() > kMaxWordsBytes) {
    words.resize(utf8_complete_prefix(std::string_view(words).substr(0, kMaxWordsBytes)));
  }
  if (!error_) error_ = make_error(ErrorCode::kInvalidArgument, std::move(words));
  return Value();
}

bool Runtime::out_of_steps() {
  if (!error_)
    fail("template does more than " + std::to_string(limits_.steps) + " steps", ErrorCode::kExhausted);
  return false;
}

bool Runtime::memory_ok() {
  if (budget_.live_bytes <= budget_.limit_bytes) return !error_;
  fail("template holds more than " + std::to_string(budget_.limit_bytes) + " bytes", ErrorCode::kExhausted);
  return false;
}

bool Runtime::depth_ok(int depth) {
  if (depth <= kMaxValueDepth) return !error_;
  fail("values nested deeper than " + std::to_string(kMaxValueDepth), ErrorCode::kExhausted);
  return false;
}

bool Runtime::string_fits(size_t bytes) {
  if (bytes <= limits_.string_bytes) return !error_;
  fail("template makes a string of more than " + std::to_string(limits_.string_bytes) + " bytes",
       ErrorCode::kExhausted);
  return false;
}

Value Runtime::str(std::string text, bool markup) {
  if (!string_fits(text.size())) return Value();
  auto made = std::make_shared<Str>();
  made->charge = Charge(&budget_, text.capacity() + sizeof(Str) + kBlockOverhead);
  made->text = std::move(text);
  made->markup = markup;
  if (!memory_ok()) return Value();
  return Value(std::shared_ptr<const Str>(std::move(made)));
}

Value Runtime::list(std::vector<Value> items, Sequence sequence) {
  auto made = std::make_shared<List>();
  made->charge = Charge(&budget_, items.capacity() * sizeof(Value) + sizeof(List) + kBlockOverhead);
  for (const Value& item : items) made->depth = std::max(made->depth, item.depth() + 1);
  made->items = std::move(items);
  made->sequence = sequence;
  if (!depth_ok(made->depth) || !memory_ok() || !step(made->items.size() / 16)) return Value();
  return Value(std::shared_ptr<const List>(std::move(made)));
}

Value Runtime::dict(Value::Entries entries) {
  auto made = std::make_shared<Dict>();
  made->charge = Charge(&budget_, entries.capacity() * 2 * sizeof(Value) + sizeof(Dict) + kBlockOverhead);
  for (const auto& [key, value] : entries)
    made->depth = std::max({made->depth, key.depth() + 1, value.depth() + 1});
  made->entries = std::move(entries);
  if (!depth_ok(made->depth) || !memory_ok() || !step(made->entries.size() / 16)) return Value();
  return Value(std::shared_ptr<const Dict>(std::move(made)));
}

Value* NamespaceObject::find(std::string_view name) {
  for (auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

Iter::Iter(Runtime& runtime, const Value& source) : runtime_(runtime), source_(source) {
  if (source.is_list() || source.is_dict() || source.is_string() || source.is_undefined()) return;
  runtime_.fail(std::string("'") + source.type_name() + "' object is not iterable");
  source_ = Value();
}

bool Iter::next(Value& out) {
  if (!runtime_.step()) return false;
  if (source_.is_list()) {
    const List& list = source_.as_list();
    size_t& position = list.sequence == Sequence::kGenerator ? list.consumed : position_;
    if (position >= list.items.size()) return false;
    out = list.items[position++];
    return true;
  }
  if (source_.is_dict()) {
    const Dict& dict = source_.as_dict();
    if (position_ >= dict.entries.size()) return false;
    out = dict.entries[position_++].first;
    return true;
  }
  if (source_.is_string()) {
    const std::string& text = source_.text();
    if (position_ >= text.size()) return false;
    const size_t start = position_;
    utf8_next(text, position_);
    out = runtime_.str(text.substr(start, position_ - start));
    return !runtime_.failed();
  }
  return false;
}

int64_t Iter::remaining() const {
  if (source_.is_list()) {
    const List& list = source_.as_list();
    return static_cast<int64_t>(list.items.size() -
                                (list.sequence == Sequence::kGenerator ? list.consumed : position_));
  }
  if (source_.is_dict()) return static_cast<int64_t>(source_.as_dict().entries.size() - position_);
  if (source_.is_string()) {
    runtime_.scan(source_.text().size());
    return count_points(std::string_view(source_.text()).substr(position_));
  }
  return 0;
}

std::vector<Value> collect(Runtime& runtime, const Value& source) {
  std::vector<Value> items;
  Iter iter(runtime, source);
  // The vector is not charged until it is a list, so it may not outgrow what the budget could hold.
  const size_t most = runtime.limits().live_bytes / sizeof(Value);
  for (Value item; iter.next(item);) {
    if (items.size() >= most) {
      runtime.fail("sequence of more than " + std::to_string(most) + " items", ErrorCode::kExhausted);
      break;
    }
    items.push_back(std::move(item));
  }
  if (runtime.failed()) items.clear();
  return items;
}

bool LoopObject::peek() {
  if (after) return true;
  Value item;
  if (!iter.next(item)) return false;
  after = std::move(item);
  return true;
}

bool LoopObject::advance() {
  if (!peek()) return false;
  before = std::move(current);
  current = std::move(after);
  after.reset();
  ++index0;
  return true;
}

Params::Params(Runtime& runtime, const char* function, const Args& args,
               std::initializer_list<const char*> names, size_t required)
    : runtime_(runtime), function_(function) {
  HEDGE_CHECK(names.size() <= kMaxParams);
  std::copy(names.begin(), names.end(), names_);
  const std::string prefix = std::string(function) + "() ";
  if (args.positional.size() > names.size()) {
    runtime_.fail(prefix + "takes at most " + std::to_string(names.size()) + " arguments, " +
                  std::to_string(args.positional.size()) + " given");
    return;
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.keywords) {
    const auto* const at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) {
      runtime_.fail(prefix + "has no parameter '" + name + "'");
      return;
    }
    const Value*& slot = values_[at - names.begin()];
    if (slot != nullptr) {
      runtime_.fail(prefix + "got two values for '" + name + "'");
      return;
    }
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) runtime_.fail(prefix + "lacks its argument '" + names_[i] + "'");
  }
}

int64_t Params::integer(size_t index, int64_t fallback) const {
  const Value* value = values_[index];
  if (value == nullptr || value->is_none()) return fallback;
  if (value->is_integral()) return value->as_int();
  runtime_.fail(std::string(function_) + "() expects an integer as '" + names_[index] + "', found " +
                value->type_name());
  return fallback;
}

std::optional<std::string_view> Params::string(size_t index) const {
  const Value* value = values_[index];
  if (value == nullptr || value->is_none()) return std::nullopt;
  if (value->is_string()) return value->text();
  runtime_.fail(std::string(function_) + "() expects a string as '" + names_[index] + "', found " +
                value->type_name());
  return std::nullopt;
}

bool Params::flag(size_t index, bool fallback) const {
  const Value* value = values_[index];
  if (value == nullptr) return fallback;
  if (value->is_bool()) return value->as_bool();
  if (value->is_integral()) return value->as_int() != 0;
  if (value->is_none() || value->is_undefined()) return false;
  if (value->is_string()) return !value->text().empty();
  return true;
}

}  // namespace hedge::text::jinja
