// What one render has: its limits, its first error, its memory, and the objects that only a render makes.
// Errors are sticky: fail() keeps the first one and everything after it is dropped, so functions here return
// a Value and callers check failed() before they act on it. One Runtime is one render on one thread.
#pragma once

#include <ctime>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace hedge::text::jinja {

struct Limits {
  // One step is one node walked, one item handled or kBytesPerStep bytes copied: some 20 to 100 ns. A
  // conversation of a thousand turns through the largest known template takes about a million.
  size_t steps = 10'000'000;
  size_t output_bytes = size_t{16} << 20;  // the longest contexts are a few megabytes of text
  size_t string_bytes = size_t{16} << 20;
  size_t live_bytes = size_t{64} << 20;  // of all strings, lists and dicts that are alive at once
  // Nodes and macro calls inside one another. A level takes under 1 kB of stack (jinja_eval.cc).
  int depth = 500;
};
inline constexpr size_t kBytesPerStep = 256;
inline constexpr size_t kBytesPerScanStep = 32;

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;
};

class Runtime {
 public:
  Runtime(const Limits& limits, const std::tm& now) : limits_(limits), now_(now) {
    budget_.limit_bytes = limits.live_bytes;
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime();

  const Limits& limits() const { return limits_; }
  const std::tm& now() const { return now_; }

  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }
  // Keeps the first error, with the line; gives a Value to return.
  Value fail(const std::string& what, ErrorCode code = ErrorCode::kInvalidArgument);
  // The template's own words, from raise_exception().
  Value fail_in_words(std::string words);
  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  // False, with an error, when the render has done too much or has failed before.
  bool step(size_t cost = 1) {
    steps_ += cost;
    if (steps_ <= limits_.steps && !error_) return true;
    return out_of_steps();
  }
  // For bytes that are copied or compared, and for bytes that are decoded to code points.
  bool work(size_t bytes) { return step(bytes / kBytesPerStep + 1); }
  bool scan(size_t bytes) { return step(bytes / kBytesPerScanStep + 1); }
  // Whether a string of this size may be made.
  bool string_fits(size_t bytes);

  Value str(std::string text, bool markup = false);
  Value str(std::string_view text, bool markup) {
    return work(text.size()) ? str(std::string(text), markup) : Value();
  }
  Value list(std::vector<Value> items, Sequence sequence = Sequence::kList);
  // REQUIRES: keys differ.
  Value dict(Value::Entries entries);
  template <typename T>
  Value object(std::shared_ptr<T> made, size_t bytes = 0);

  // Objects that can hold themselves are emptied when the render ends; their memory is charged until then.
  void keep(std::shared_ptr<Object> object) { kept_.push_back(std::move(object)); }
  // Books memory that is given back only when the render ends.
  bool charge_for_good(size_t bytes) {
    budget_.live_bytes += bytes;
    return memory_ok();
  }

 private:
  bool out_of_steps();
  bool memory_ok();
  bool depth_ok(int depth);

  const Limits limits_;
  const std::tm now_;
  Budget budget_;
  size_t steps_ = 0;
  int line_ = 1;
  std::optional<Error> error_;
  std::vector<std::shared_ptr<Object>> kept_;
};

// A string that is being made; every append checks the limit.
class Builder {
 public:
  explicit Builder(Runtime& runtime) : runtime_(runtime) {}
  bool append(std::string_view text) {
    if (!runtime_.work(text.size()) || !runtime_.string_fits(text_.size() + text.size())) return false;
    text_ += text;
    return true;
  }
  bool append(size_t count, char c) {
    if (!runtime_.string_fits(count) || !runtime_.string_fits(text_.size() + count)) return false;
    text_.append(count, c);
    return true;
  }
  std::string take() { return std::move(text_); }
  const std::string& text() const { return text_; }

 private:
  Runtime& runtime_;
  std::string text_;
};

using Function = Value (*)(Runtime&, const Args&);
using Method = Value (*)(Runtime&, const Value& self, const Args&);

struct FunctionObject : Object {
  Function call;
  explicit FunctionObject(Function function) : Object(ObjectKind::kFunction), call(function) {}
};

struct MethodObject : Object {
  Value self;
  Method call;
  MethodObject(Value bound, Method method)
      : Object(ObjectKind::kMethod), self(std::move(bound)), call(method) {
    depth = self.depth() + 1;
  }
};

struct NamespaceObject : Object {
  std::vector<std::pair<std::string, Value>> attributes;
  NamespaceObject() : Object(ObjectKind::kNamespace) {}
  Value* find(std::string_view name);
  void clear() override { attributes.clear(); }
};

struct CyclerObject : Object {
  std::vector<Value> items;
  size_t position = 0;
  CyclerObject() : Object(ObjectKind::kCycler) {}
};

struct JoinerObject : Object {
  Value separator;
  bool used = false;
  JoinerObject() : Object(ObjectKind::kJoiner) {}
};

// Walks what Python's iter() would walk: items of a list, keys of a dict, characters of a string; an
// undefined value has none. Anything else fails.
class Iter {
 public:
  Iter(Runtime& runtime, const Value& source);
  bool next(Value& out);
  int64_t remaining() const;

 private:
  Runtime& runtime_;
  Value source_;
  size_t position_ = 0;
};

// All items; empty after an error.
std::vector<Value> collect(Runtime& runtime, const Value& source);

// The loop variable. Looks one item ahead, as Jinja does.
struct LoopObject : Object {
  Iter iter;
  int64_t index0 = -1;
  int64_t level = 0;
  std::optional<Value> before, current, after;
  std::optional<std::vector<Value>> changed;  // arguments of the last loop.changed()
  LoopObject(Runtime& runtime, const Value& source) : Object(ObjectKind::kLoop), iter(runtime, source) {
    depth = source.depth() + 1;
  }
  bool advance();
  bool peek();
  void clear() override { changed.reset(); }
};

// Arguments by the names of a function's parameters, in order. Fails on too many, unknown and missing ones.
class Params {
 public:
  Params(Runtime& runtime, const char* function, const Args& args, std::initializer_list<const char*> names,
         size_t required = 0);

  bool ok() const { return !runtime_.failed(); }
  // Null when it was not passed.
  const Value* get(size_t index) const { return values_[index]; }
  Value value(size_t index, Value fallback) const {
    return values_[index] != nullptr ? *values_[index] : fallback;
  }
  // None counts as not passed. Another type fails.
  int64_t integer(size_t index, int64_t fallback) const;
  std::optional<std::string_view> string(size_t index) const;
  bool flag(size_t index, bool fallback) const;

 private:
  Runtime& runtime_;
  const char* function_;
  static constexpr size_t kMaxParams = 6;
  const char* names_[kMaxParams] = {};
  const Value* values_[kMaxParams] = {};
};

template <typename T>
Value Runtime::object(std::shared_ptr<T> made, size_t bytes) {
  made->charge = Charge(&budget_, bytes + sizeof(T));
  if (!depth_ok(made->depth) || !memory_ok()) return Value();
  return Value(std::shared_ptr<Object>(std::move(made)));
}

}  // namespace hedge::text::jinja
