#include "os/library.h"

#include <dlfcn.h>

namespace hedge::os {
namespace {

Error unavailable(const std::string& name) {
  const char* words = dlerror();
  return make_error(ErrorCode::kUnavailable,
                    "cannot use the library " + name + ": " + (words != nullptr ? words : "unknown reason"));
}

}  // namespace

Result<Library> Library::open(const char* name) {
  void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return unavailable(name);
  return Library(name, handle);
}

Result<void*> Library::address_of(const char* symbol) const {
  void* address = dlsym(handle_, symbol);
  if (address == nullptr) return unavailable(name_);
  return address;
}

}  // namespace hedge::os
