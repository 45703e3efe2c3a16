// Values of the template language: what Python's str, list, dict and so on are to Jinja. Lists and dicts
// never change after they are made (the sandbox that templates are written for forbids it), so a Value is
// copied by sharing. A render charges what it allocates to a Budget; values made outside a render (the
// context, literals) are not charged. Containers know how deep they are, and none is deeper than
// kMaxValueDepth, so that walking one cannot overflow the stack. Values may be read by several threads; one
// render is one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace hedge::text::jinja {

inline constexpr int kMaxValueDepth = 128;

// Bytes that live values of one render hold.
struct Budget {
  size_t live_bytes = 0;
  size_t limit_bytes = 0;
};

// Gives its bytes back to the budget when the object that holds it dies.
class Charge {
 public:
  Charge() = default;
  Charge(Budget* budget, size_t bytes) : budget_(budget), bytes_(bytes) {
    if (budget_ != nullptr) budget_->live_bytes += bytes_;
  }
  Charge(Charge&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Charge() {
    if (budget_ != nullptr) budget_->live_bytes -= bytes_;
  }

 private:
  Budget* budget_ = nullptr;
  size_t bytes_ = 0;
};

enum class Kind : uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kObject };

class Value;

// A missing thing: prints as nothing and is false, any other use is an error that names it.
struct Undefined {
  enum class Why : uint8_t { kName, kItem, kNotPassed, kNoItem };
  Why why = Why::kName;
  const std::string* name = nullptr;  // of the variable or attribute, owned by the template; may be null
  const char* owner = nullptr;        // of an item: the type of what lacks it
};
struct None {};

struct Str {
  std::string text;     // valid UTF-8
  bool markup = false;  // came from |safe or |escape: `+` with it escapes the other side
  Charge charge;
};

// How Python would call the sequence: it decides printing, tojson, truth and what may be done with it.
enum class Sequence : uint8_t { kList, kTuple, kView, kRange, kGenerator };

struct List {
  std::vector<Value> items;
  Sequence sequence = Sequence::kList;
  int depth = 1;
  mutable size_t consumed = 0;  // of a generator: it can be walked once
  Charge charge;
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion, keys differ
  int depth = 1;
  Charge charge;
};

enum class ObjectKind : uint8_t { kNamespace, kMacro, kFunction, kMethod, kLoop, kCycler, kJoiner, kScope };

// What only a render makes: callables, namespaces, the loop variable (jinja_runtime.h).
struct Object {
  const ObjectKind kind;
  int depth = 1;
  Charge charge;
  explicit Object(ObjectKind object_kind) : kind(object_kind) {}
  virtual ~Object() = default;
  // Lets go of what it holds; called at the end of the render on objects that may be part of a cycle.
  virtual void clear() {}
};

class Value {
 public:
  using Entries = std::vector<std::pair<Value, Value>>;

  Value() : state_(Undefined{}) {}
  explicit Value(std::shared_ptr<const Str> text) : state_(std::move(text)) {}
  explicit Value(std::shared_ptr<const List> list) : state_(std::move(list)) {}
  explicit Value(std::shared_ptr<const Dict> dict) : state_(std::move(dict)) {}
  explicit Value(std::shared_ptr<Object> object) : state_(std::move(object)) {}

  static Value undefined(Undefined::Why why, const std::string* name, const char* owner = nullptr) {
    Value value;
    value.state_ = Undefined{why, name, owner};
    return value;
  }
  static Value none() { return of(None{}); }
  static Value boolean(bool value) { return of(value); }
  static Value integer(int64_t value) { return of(value); }
  static Value real(double value) { return of(value); }
  // Uncharged, for the context and for literals. Text that is not UTF-8 is sanitised.
  static Value string(std::string_view text);
  static Value list(std::vector<Value> items, Sequence sequence = Sequence::kList);
  // Keys must differ; string keys only.
  static Value dict(std::vector<std::pair<std::string, Value>> entries);

  Kind kind() const { return static_cast<Kind>(state_.index()); }
  bool is_undefined() const { return kind() == Kind::kUndefined; }
  bool is_none() const { return kind() == Kind::kNone; }
  bool is_bool() const { return kind() == Kind::kBool; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_list() const { return kind() == Kind::kList; }
  bool is_dict() const { return kind() == Kind::kDict; }
  bool is_object() const { return kind() == Kind::kObject; }
  // Python's bool is an int.
  bool is_integral() const { return kind() == Kind::kInt || is_bool(); }
  bool is_number() const { return is_integral() || kind() == Kind::kFloat; }
  bool is_sequence(Sequence sequence) const { return is_list() && as_list().sequence == sequence; }
  bool is_object(ObjectKind object_kind) const { return is_object() && as_object().kind == object_kind; }

  // Each REQUIRES its kind (as_int also takes a bool, as_real any number).
  const Undefined& as_undefined() const { return *std::get_if<Undefined>(&state_); }
  bool as_bool() const { return *std::get_if<bool>(&state_); }
  int64_t as_int() const { return is_bool() ? int64_t{as_bool()} : *std::get_if<int64_t>(&state_); }
  double as_real() const {
    return kind() == Kind::kFloat ? *std::get_if<double>(&state_) : static_cast<double>(as_int());
  }
  const std::string& text() const { return (*std::get_if<std::shared_ptr<const Str>>(&state_))->text; }
  bool is_markup() const {
    return is_string() && (*std::get_if<std::shared_ptr<const Str>>(&state_))->markup;
  }
  const List& as_list() const { return **std::get_if<std::shared_ptr<const List>>(&state_); }
  const Dict& as_dict() const { return **std::get_if<std::shared_ptr<const Dict>>(&state_); }
  Object& as_object() const { return **std::get_if<std::shared_ptr<Object>>(&state_); }
  const std::shared_ptr<Object>& object() const { return *std::get_if<std::shared_ptr<Object>>(&state_); }

  // 0 for scalars and strings.
  int depth() const;
  // The name that Python would give the type ("str", "NoneType"), for messages.
  const char* type_name() const;
  bool same_object(const Value& other) const;

 private:
  template <typename T>
  static Value of(T value) {
    Value result;
    result.state_ = value;
    return result;
  }

  // In the order of Kind.
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Str>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<Object>>
      state_;
};

// As Python prints a float: the shortest digits that read back the same.
std::string float_to_text(double value);

// The entry of a string key, or null.
const Value* find_key(const Dict& dict, std::string_view key);

}  // namespace hedge::text::jinja
