// Private to api/: JSON from outside, read field by field with limits. The first field that is wrong gives
// the error, with its path, the expected and the actual type; no content is repeated.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hedge::api {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// kInvalidArgument for anything but one JSON object within the limits of call.h.
Result<Json> parse_object(std::string_view body);

// Compact, and never throws: broken UTF-8 becomes U+FFFD, infinities become null.
std::string dump(const OrderedJson& json);

// "a string", "an integer", "a number", ... of a value.
std::string type_name(const Json& value);

// "expected <expected>, got <type of value>" for the field.
Error type_error(const std::string& field, std::string_view expected, const Json& value);

// Reads the fields of one object. A field that is absent or null leaves its target as it is. After the first
// error every further call does nothing, so that callers check once.
class Reader {
 public:
  // `object` must outlive the reader and be a JSON object; `path` stands before its fields' names in errors
  // ("hedge.").
  Reader(const Json& object, std::string path = {}) : object_(object), path_(std::move(path)) {}

  const Json* find(const char* name) const;  // null when absent or null
  std::string field(const char* name) const { return path_ + name; }

  bool string(const char* name, std::string& out);
  bool boolean(const char* name, bool& out);
  bool integer(const char* name, int& out, int min, int max);
  bool integer64(const char* name, int64_t& out);
  bool number(const char* name, float& out, double min, double max);  // true: it was there and is right
  // An array of token ids of at most `count_max`.
  bool tokens(const char* name, std::vector<int32_t>& out, size_t count_max);

  // Any field outside the list is an error that names it.
  void only(std::initializer_list<std::string_view> known);

  void fail(Error error);
  bool ok() const { return !error_.has_value(); }
  Status status() const { return error_ ? Status(*error_) : Status(); }

 private:
  const Json& object_;
  const std::string path_;
  std::optional<Error> error_;
};

// An array of token ids, for fields that have other forms too.
Result<std::vector<int32_t>> read_tokens(const Json& value, const std::string& field, size_t count_max);

}  // namespace hedge::api
