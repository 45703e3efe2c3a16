// Shared libraries that are loaded when they are first needed: what few commands use costs the others no time
// at their start (docs/decisions/0011-cold-start.md). A loaded library stays until the process ends.
#pragma once

#include <string>

#include "base/result.h"

namespace hedge::os {

class Library {
 public:
  // `name` is the library's soname, such as "libcurl.so.4". kUnavailable with the loader's words.
  static Result<Library> open(const char* name);

  // Sets `function` to the library's function of this name. kUnavailable when it has none.
  template <typename Function>
  Status find(const char* symbol, Function*& function) const {
    HEDGE_TRY_SET(void* const address, address_of(symbol));
    function = reinterpret_cast<Function*>(address);
    return {};
  }

 private:
  Library(std::string name, void* handle) : name_(std::move(name)), handle_(handle) {}
  Result<void*> address_of(const char* symbol) const;

  std::string name_;
  void* handle_;
};

}  // namespace hedge::os
