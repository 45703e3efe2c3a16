#include "upstream/libcurl.h"

#include "os/library.h"

namespace hedge::upstream {
namespace {

constexpr char kSoname[] = "libcurl.so.4";

LibCurl functions;

Status load() {
  HEDGE_TRY_SET(const os::Library library, os::Library::open(kSoname));
#define HEDGE_CURL_FUNCTION(name) HEDGE_TRY(library.find("curl_" #name, functions.name));
#include "upstream/libcurl_list.inc"
#undef HEDGE_CURL_FUNCTION
  if (functions.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    return make_error(ErrorCode::kInternal, "libcurl: cannot be initialised");
  return {};
}

}  // namespace

Status load_libcurl() {
  static const Status loaded = load();
  return loaded;
}

const LibCurl& libcurl() { return functions; }

}  // namespace hedge::upstream
