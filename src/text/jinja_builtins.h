// The tables of everything a template can call by name: methods of values, filters, tests and globals. One
// line each.
#pragma once

#include <string_view>

#include "text/jinja_runtime.h"

namespace hedge::text::jinja {

using Filter = Value (*)(Runtime&, const Value& input, const Args&);
using Test = bool (*)(Runtime&, const Value& input, const Args&);

struct FilterEntry {
  const char* name;
  Filter call;
};
struct TestEntry {
  const char* name;
  Test call;
};
struct MethodEntry {
  const char* name;
  Method call;  // null: a method of the Python type that Hedge does not have
};
struct FunctionEntry {
  const char* name;
  Function call;
};

// Null when there is none of this name.
const FilterEntry* find_filter(std::string_view name);
const TestEntry* find_test(std::string_view name);
// Of a string, list, dict or the loop variable.
const MethodEntry* find_method(const Value& self, std::string_view name);
const FunctionEntry* find_function(std::string_view name);

// The larger tables stand in files of their own.
struct MethodTable {
  const MethodEntry* begin;
  const MethodEntry* end;
};
MethodTable string_methods();
struct FilterTable {
  const FilterEntry* begin;
  const FilterEntry* end;
};
FilterTable text_filters();
FilterTable sequence_filters();
FilterTable selection_filters();

}  // namespace hedge::text::jinja
