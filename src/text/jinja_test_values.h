// JSON to template values, and the fixed time of tests/golden/template/make.py; for tests only.
#pragma once

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace hedge::text::jinja {

inline Value value_of(const nlohmann::ordered_json& json) {
  if (json.is_null()) return Value::none();
  if (json.is_boolean()) return Value::boolean(json.get<bool>());
  if (json.is_number_integer()) return Value::integer(json.get<int64_t>());
  if (json.is_number()) return Value::real(json.get<double>());
  if (json.is_string()) return Value::string(json.get<std::string>());
  if (json.is_array()) {
    std::vector<Value> items;
    for (const auto& item : json) items.push_back(value_of(item));
    return Value::list(std::move(items));
  }
  std::vector<std::pair<std::string, Value>> entries;
  for (const auto& [key, value] : json.items()) entries.emplace_back(key, value_of(value));
  return Value::dict(std::move(entries));
}

// Thursday, 2 January 2025, 03:04:05.
inline std::tm golden_time() {
  std::tm time{};
  time.tm_year = 125;
  time.tm_mday = 2;
  time.tm_hour = 3;
  time.tm_min = 4;
  time.tm_sec = 5;
  time.tm_wday = 4;
  time.tm_yday = 1;
  return time;
}

// Empty when the file is absent.
inline std::string read_text(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

}  // namespace hedge::text::jinja
