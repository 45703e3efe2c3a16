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

std::string number_text(const Json& value) {
  if (value.is_number_unsigned()) return std::to_string(value.get<uint64_t>());
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  return fmt::format("{}", value.get<double>());
}

bool fits_int64(const Json& value) {
  if (!value.is_number_integer()) return false;
  return !value.is_number_unsigned() ||
         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

}  // namespace

Result<Json> parse_object(std::string_view body) {
  HEDGE_TRY(check_size(body));
  try {
    Json json = Json::parse(body);
    if (!json.is_object()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "request body: expected a JSON object, got " + type_name(json));
    }
    return json;
  } catch (const Json::parse_error& error) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("request body is not valid JSON (at byte {} of {})", error.byte, body.size()));
  } catch (const Json::exception&) {  // out_of_range: a number such as 1e999
    return make_error(ErrorCode::kInvalidArgument,
                      "request body is not valid JSON: a number is out of range");
  }
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
    case Json::value_t::number_float:
      return "a number with a fraction";
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
  if (!value->is_number_integer()) {
    fail(type_error(field(name), "an integer", *value));
    return false;
  }
  if (!fits_int64(*value)) {
    fail(make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected an integer of 64 bits, got {}", field(name), number_text(*value)),
        field(name)));
    return false;
  }
  out = value->get<int64_t>();
  return true;
}

bool Reader::integer(const char* name, int& out, int min, int max) {
  const Json* value = ok() ? find(name) : nullptr;
  if (value == nullptr) return false;
  if (!value->is_number_integer()) {
    fail(type_error(field(name), "an integer", *value));
    return false;
  }
  if (!fits_int64(*value) || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    fail(make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}: expected an integer from {} to {}, got {}", field(name), min, max,
                                number_text(*value)),
                    field(name)));
    return false;
  }
  out = value->get<int>();
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
    if (!item.is_number_integer()) return type_error(fmt::format("{}[{}]", field, i), "a token id", item);
    if (!fits_int64(item) || item.get<int64_t>() < 0 ||
        item.get<int64_t>() > std::numeric_limits<int32_t>::max()) {
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{}[{}]: expected a token id from 0 to 2147483647, got {}", field, i,
                                    number_text(item)),
                        fmt::format("{}[{}]", field, i));
    }
    tokens.push_back(item.get<int32_t>());
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
    // The name is the client's own text; a short one is a typing error worth showing.
    const std::string shown = item.key().size() <= 64 ? item.key() : item.key().substr(0, 64) + "...";
    fail(make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{}{}: unknown field, expected one of {}", path_, shown, list),
                    path_ + shown));
  }
}

}  // namespace hedge::api
