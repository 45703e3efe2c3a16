#include "cli/http_get.h"

#include <fmt/format.h>

#include <utility>

#include "upstream/libcurl.h"

namespace hedge::cli {
namespace {

using upstream::libcurl;

constexpr long kConnectTimeoutMs = 3000;
constexpr long kTimeoutMs = 10'000;

struct Body {
  std::string bytes;
  bool too_long = false;
};

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& body = *static_cast<Body*>(user);
  const size_t bytes = size * count;
  if (bytes > HttpGet::kBodyBytesMax - body.bytes.size()) {
    body.too_long = true;
    return 0;
  }
  body.bytes.append(data, bytes);
  return bytes;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return (*static_cast<const std::function<bool()>*>(user))() ? 1 : 0;
}

}  // namespace

Result<std::unique_ptr<HttpGet>> HttpGet::create(std::string key, std::function<bool()> stop) {
  HEDGE_TRY(upstream::load_libcurl());
  auto out = std::make_unique<HttpGet>(std::move(key), std::move(stop));
  if (out->curl_ == nullptr) return make_error(ErrorCode::kInternal, "libcurl did not start");
  return out;
}

HttpGet::HttpGet(std::string key, std::function<bool()> stop)
    : key_(std::move(key)), stop_(std::move(stop)), curl_(libcurl().easy_init()) {}

HttpGet::~HttpGet() {
  if (curl_ != nullptr) libcurl().easy_cleanup(curl_);
}

Result<HttpGet::Reply> HttpGet::get(const std::string& url) {
  const auto& curl = libcurl();
  Body body;
  char message[CURL_ERROR_SIZE] = "";
  curl.easy_setopt(curl_, CURLOPT_URL, url.c_str());
  curl.easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl.easy_setopt(curl_, CURLOPT_PROXY, "");  // one's own server is no business of $http_proxy
  curl.easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
  curl.easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  curl.easy_setopt(curl_, CURLOPT_TIMEOUT_MS, kTimeoutMs);
  curl.easy_setopt(curl_, CURLOPT_USERAGENT, "hedge/" HEDGE_VERSION);
  curl.easy_setopt(curl_, CURLOPT_WRITEFUNCTION, on_body);
  curl.easy_setopt(curl_, CURLOPT_WRITEDATA, &body);
  curl.easy_setopt(curl_, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl.easy_setopt(curl_, CURLOPT_XFERINFODATA, &stop_);
  curl.easy_setopt(curl_, CURLOPT_NOPROGRESS, 0L);
  curl.easy_setopt(curl_, CURLOPT_ERRORBUFFER, message);
  if (!key_.empty()) {
    curl.easy_setopt(curl_, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl.easy_setopt(curl_, CURLOPT_XOAUTH2_BEARER, key_.c_str());
  }
  const CURLcode code = curl.easy_perform(curl_);
  curl.easy_setopt(curl_, CURLOPT_ERRORBUFFER, nullptr);
  if (code == CURLE_ABORTED_BY_CALLBACK) return make_error(ErrorCode::kCancelled, "interrupted");
  if (body.too_long)
    return make_error(ErrorCode::kCorrupt, fmt::format("{} gave more than {} bytes", url, kBodyBytesMax));
  if (code != CURLE_OK) {
    return make_error(ErrorCode::kUnavailable,
                      fmt::format("{}: {}", url, message[0] != '\0' ? message : curl.easy_strerror(code)));
  }
  Reply reply;
  curl.easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &reply.status);
  reply.body = std::move(body.bytes);
  return reply;
}

}  // namespace hedge::cli
