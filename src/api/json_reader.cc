#include "api/json_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "api/call.h"

namespace hedge::api {
namespace {

// Depth and number of values, counted before anything is built: 8 MiB of "[[[[" or "{},{}," would cost far
// more parsed.
Status check_size(std::string_view body) {
  int depth = 0;
  size_t values = 1;
  bool in_string = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    switch (c) {
      case '"':
        in_string = true;
        break;
      case '[':
      case '{':
        ++values;
        if (++depth > kJsonDepthMax) {
          return make_error(ErrorCode::kInvalidArgument,
                            fmt::format("request body is nested deeper than {} levels", kJsonDepthMax));
        }
        break;
      case ']':
      case '}':
        --depth;
        break;
      case ',':
        ++values;
        break;
      default:
        break;
    }
  }
  if (values > kJsonValuesMax) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("request body holds {} values, at most {} are allowed", values, kJsonValuesMax));
  }
  return {};
}

// A key as error texts show it: it is the client's own text, and a short one is a typing error worth showing.
std::string shown_key(const std::string& key) { return key.size() <= 64 ? key : key.substr(0, 64) + "..."; }

// Builds the document, and keeps the way to the value that is being read, so that errors name the field.
// Equal keys are an error: of {"private":true,"private":false} one would have to be believed.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(std::string_view body) : body_(body) {}

  Json take() { return std::move(root_); }
  const std::optional<Error>& error() const { return error_; }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // JSON has none

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [place, fresh] = open_.back().container->emplace(name, nullptr);
    open_.back().key = name;
    open_.back().value = &*place;
    if (fresh) return true;
    return fail("the field is given more than once");
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) override {
    constexpr int kNumberOverflow = 406;
    if (error.id == kNumberOverflow) return fail("expected a number, got one that is out of range");
    // Python writes these unless told not to.
    const std::string_view rest = body_.substr(std::min(body_.size(), position > 0 ? position - 1 : 0));
    for (const std::string_view word : {"NaN", "Infinity"}) {
      if (!rest.starts_with(word)) continue;
      return fail(fmt::format("expected a value, got {}, which JSON does not have", word));
    }
    // The parser counts what it has read, and the end as one more.
    const std::string where = position > body_.size()
                                  ? fmt::format("it ends too early, after {} bytes", body_.size())
                                  : fmt::format("at byte {} of {}", position, body_.size());
    error_ = make_error(ErrorCode::kInvalidArgument, "request body is not valid JSON: " + where);
    return false;
  }

 private:
  struct Open {
    Json* container;
    std::string key;        // of objects: the last one read
    Json* value = nullptr;  // ... and where its value goes
  };

  Json* place(Json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Open& top = open_.back();
    if (top.container->is_array()) return &top.container->emplace_back(std::move(value));
    *top.value = std::move(value);
    return top.value;
  }

  template <typename Value>
  bool add(Value&& value) {
    place(Json(std::forward<Value>(value)));
    return true;
  }

  // What is open above does not move while something inside is: only the innermost container grows.
  bool open(Json&& container) {
    Json* const placed = place(std::move(container));
    open_.push_back({placed, {}, nullptr});
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  bool fail(std::string_view what) {
    std::string path;
    for (const Open& open : open_) {
      if (open.container->is_array()) {
        // What is read now is not in the innermost container yet; what is open above is in its own.
        const size_t read = open.container->size();
        path += fmt::format("[{}]", &open == &open_.back() ? read : read - 1);
      } else {
        path += (path.empty() ? "" : ".") + shown_key(open.key);
      }
    }
    error_ = make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{}: {}", path.empty() ? "request body" : path, what), path);
    return false;
  }

  const std::string_view body_;
  Json root_;
  std::vector<Open> open_;
  std::optional<Error> error_;
};

constexpr double kTwoTo63 = 9223372036854775808.0;

// An integer in any way of writing it: clients send 16.0, too.
bool is_integral(const Json& value) {
  if (!value.is_number_float()) return value.is_number();
  const double number = value.get<double>();
  return std::trunc(number) == number;
}

std::string number_text(const Json& value) {
  if (value.is_number_unsigned()) return std::to_string(value.get<uint64_t>());
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  return fmt::format("{}", value.get<double>());
}

// REQUIRES: is_integral(value).
std::optional<int64_t> to_int64(const Json& value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (number < -kTwoTo63 || number >= kTwoTo63) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  return value.get<int64_t>();
}

}  // namespace

Result<Json> parse_object(std::string_view body) {
  if (body.empty()) {
    return make_error(ErrorCode::kInvalidArgument, "request body: expected a JSON object, got nothing");
  }
  HEDGE_TRY(check_size(body));
  Builder builder(body);
  Json::sax_parse(body, &builder);
  if (builder.error()) return *builder.error();
  Json json = builder.take();
  if (!json.is_object()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "request body: expected a JSON object, got " + type_name(json));
  }
  return json;
}

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:  // with a fraction, or an integer that 64 bits do not hold
      return is_integral(value) ? "a number" : "a number with a fraction";
    case Json::value_t::binary:
    case Json::value_t::discarded:
      break;
  }
  return "something else";
}

Error type_error(const std::string& field, std::string_view expected, const Json& value) {
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: expected {}, got {}", field, expected, type_name(value)), field);
}

const Json* Reader::find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void Reader::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

bool Reader::string(const char* name, std::string& out) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return false;
  if (!value->is_string()) {
    fail(type_error(field(name), "a string", *value));
    return false;
  }
  out = value->get_ref<const std::string&>();
  return true;
}

bool Reader::boolean(const char* name, bool& out) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return false;
  if (!value->is_boolean()) {
    fail(type_error(field(name), "a boolean", *value));
    return false;
  }
  out = value->get<bool>();
  return true;
}

bool Reader::integer64(const char* name, int64_t& out) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return false;
  if (!is_integral(*value)) {
    fail(type_error(field(name), "an integer", *value));
    return false;
  }
  const std::optional<int64_t> number = to_int64(*value);
  if (!number) {
    fail(make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected an integer of 64 bits, got {}", field(name), number_text(*value)),
        field(name)));
    return false;
  }
  out = *number;
  return true;
}

bool Reader::integer(const char* name, int& out, int min, int max) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return false;
  if (!is_integral(*value)) {
    fail(type_error(field(name), "an integer", *value));
    return false;
  }
  const std::optional<int64_t> number = to_int64(*value);
  if (!number || *number < min || *number > max) {
    fail(make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: expected an integer from {} to {}, got {}", field(name), min, max,
                                number_text(*value)),
                    field(name)));
    return false;
  }
  out = static_cast<int>(*number);
  return true;
}

bool Reader::number(const char* name, float& out, double min, double max) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return false;
  if (!value->is_number()) {
    fail(type_error(field(name), "a number", *value));
    return false;
  }
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    fail(make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: expected a number from {} to {}, got {}", field(name), min, max, number),
                    field(name)));
    return false;
  }
  out = static_cast<float>(number);
  return true;
}

Result<std::vector<int32_t>> read_tokens(const Json& value, const std::string& field, size_t count_max) {
  if (!value.is_array()) return type_error(field, "an array of token ids", value);
  if (value.size() > count_max) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected at most {} token ids, got {}", field, count_max, value.size()), field);
  }
  std::vector<int32_t> tokens;
  tokens.reserve(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    const Json& item = value[i];
    if (!is_integral(item)) return type_error(fmt::format("{}[{}]", field, i), "a token id", item);
    const std::optional<int64_t> id = to_int64(item);
    if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{}[{}]: expected a token id from 0 to 2147483647, got {}", field, i,
                                    number_text(item)),
                        fmt::format("{}[{}]", field, i));
    }
    tokens.push_back(static_cast<int32_t>(*id));
  }
  return tokens;
}

bool Reader::tokens(const char* name, std::vector<int32_t>& out, size_t count_max) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return false;
  auto tokens = read_tokens(*value, field(name), count_max);
  if (!tokens.ok()) {
    fail(std::move(tokens).error());
    return false;
  }
  out = std::move(tokens).value();
  return true;
}

void Reader::only(std::initializer_list<std::string_view> known) {
  for (const auto& item : object_.items()) {
    if (!ok()) return;
    if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
    std::string list;
    for (const std::string_view name : known) list += (list.empty() ? "" : ", ") + std::string(name);
    const std::string shown = shown_key(item.key());
    fail(make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}{}: unknown field, expected one of {}", path_, shown, list),
                    path_ + shown));
  }
}

}  // namespace hedge::api
