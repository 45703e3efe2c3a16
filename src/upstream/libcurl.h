// libcurl, loaded when the first upstream or download needs it: with all that it stands on it is most of the
// time that a program linked with it takes to start. Thread-safe.
#pragma once

#include <curl/curl.h>

#include "base/result.h"

namespace hedge::upstream {

// libcurl's functions under their names without the prefix.
struct LibCurl {
#define HEDGE_CURL_FUNCTION(name) decltype(&::curl_##name) name = nullptr;
#include "upstream/libcurl_list.inc"
#undef HEDGE_CURL_FUNCTION
};

// Loads and initialises it, once in the process. kUnavailable when it is not installed.
Status load_libcurl();

// Only after load_libcurl() has succeeded.
const LibCurl& libcurl();

}  // namespace hedge::upstream
