#include <fmt/format.h>

#include <cctype>
#include <cstdlib>
#include <memory>
#include <optional>
#include <regex>

#include "cli/models/fetch.h"
#include "os/file.h"
#include "upstream/libcurl.h"

namespace hedge::cli {
namespace {

using upstream::libcurl;

constexpr long kConnectTimeoutSeconds = 20;
constexpr long kStallSeconds = 60;  // no byte for so long: give up; what came is kept for the next try
constexpr long kRedirectsMax = 10;
constexpr size_t kTagBytesMax = 4096;
constexpr uint64_t kFileBytesMax =
    1ull << 40;  // no model file is larger; a server that sends on without end is cut here

// One try at a URL: what the callbacks of libcurl share.
struct Transfer {
  CURL* curl;
  PartFile& part;
  Progress& progress;
  uint64_t total_bytes;
  std::string etag;
  uint64_t range_start = 0;  // of a 206 answer
  bool body_began = false;
  std::optional<Error> error;
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

bool is_header(std::string_view line, std::string_view name) {
  if (line.size() <= name.size() || line[name.size()] != ':') return false;
  for (size_t i = 0; i < name.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(line[i])) != name[i]) return false;
  }
  return true;
}

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) {  // a redirect's headers end here
    t.etag.clear();
    t.range_start = 0;
  } else if (is_header(line, "etag")) {
    t.etag = trimmed(line.substr(5));
  } else if (is_header(line, "content-range")) {  // "bytes 100-199/200"
    const std::string value(trimmed(line.substr(14)));
    if (value.starts_with("bytes ")) t.range_start = std::strtoull(value.c_str() + 6, nullptr, 10);
  }
  return size * count;
}

// At the first byte of the body: does it continue what we hold, or is it the whole file?
Status begin_body(Transfer& t) {
  long status = 0;
  libcurl().easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status == 206 && t.range_start != t.part.bytes()) {
    return make_error(ErrorCode::kUnavailable, fmt::format("the server continued at byte {}, expected {}",
                                                           t.range_start, t.part.bytes()));
  }
  if (status == 200 && t.part.bytes() > 0) HEDGE_TRY(t.part.restart());
  curl_off_t length = -1;
  libcurl().easy_getinfo(t.curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  if (t.total_bytes == 0 && length > 0) t.total_bytes = t.part.bytes() + static_cast<uint64_t>(length);
  // Kept beside the part, so that a later try knows whether the server still has the same file.
  return os::write_file_atomic(t.part.path() + ".etag", t.etag);
}

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  Status status;
  if (!t.body_began) {
    t.body_began = true;
    status = begin_body(t);
  }
  if (status.ok() && bytes > kFileBytesMax - std::min(kFileBytesMax, t.part.bytes())) {
    status = make_error(ErrorCode::kExhausted,
                        fmt::format("the file is larger than {}", human_bytes(kFileBytesMax)));
  }
  if (status.ok()) status = t.part.append({data, bytes});
  if (!status.ok()) {
    t.error = status.error();
    return 0;
  }
  t.progress.update(t.part.bytes(), t.total_bytes);
  return bytes;
}

int on_progress(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) { return interrupted() ? 1 : 0; }

Error http_error(long status, const std::string& url) {
  std::string hint;
  if (status == 401 || status == 403) hint = "; the file may need an accepted licence and a token (HF_TOKEN)";
  const ErrorCode code = status == 404 ? ErrorCode::kNotFound : ErrorCode::kUnavailable;
  return make_error(code, fmt::format("'{}' answered with status {}{}", url, status, hint));
}

struct HeaderList {
  curl_slist* list = nullptr;
  ~HeaderList() { libcurl().slist_free_all(list); }
  void add(const std::string& line) { list = libcurl().slist_append(list, line.c_str()); }
};

Status run_transfer(const UrlFetch& fetch, const std::string& known_etag, PartFile& part, Progress& progress,
                    long& http_status) {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(libcurl().easy_init(), libcurl().easy_cleanup);
  if (!curl) return make_error(ErrorCode::kInternal, "libcurl did not start");
  Transfer transfer{curl.get(), part, progress, fetch.total_bytes, {}, 0, false, std::nullopt};
  HeaderList headers;
  if (part.bytes() > 0) {
    headers.add(fmt::format("Range: bytes={}-", part.bytes()));
    headers.add("If-Range: " + known_etag);
  }
  char message[CURL_ERROR_SIZE] = "";
  CURL* c = curl.get();
  libcurl().easy_setopt(c, CURLOPT_URL, fetch.url.c_str());
  libcurl().easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  libcurl().easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  libcurl().easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  libcurl().easy_setopt(c, CURLOPT_MAXREDIRS, kRedirectsMax);
  libcurl().easy_setopt(c, CURLOPT_FAILONERROR, 1L);
  libcurl().easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  libcurl().easy_setopt(c, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  libcurl().easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
  libcurl().easy_setopt(c, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  libcurl().easy_setopt(c, CURLOPT_USERAGENT, "hedge/" HEDGE_VERSION);
  libcurl().easy_setopt(c, CURLOPT_HTTPHEADER, headers.list);
  libcurl().easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
  libcurl().easy_setopt(c, CURLOPT_HEADERDATA, &transfer);
  libcurl().easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
  libcurl().easy_setopt(c, CURLOPT_WRITEDATA, &transfer);
  libcurl().easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
  libcurl().easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  libcurl().easy_setopt(c, CURLOPT_ERRORBUFFER, message);
  if (!fetch.bearer_token.empty()) {
    libcurl().easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    libcurl().easy_setopt(c, CURLOPT_XOAUTH2_BEARER, fetch.bearer_token.c_str());
  }
  const CURLcode code = libcurl().easy_perform(c);
  libcurl().easy_getinfo(c, CURLINFO_RESPONSE_CODE, &http_status);
  if (transfer.error) return *transfer.error;
  switch (code) {
    case CURLE_OK:
      return {};
    case CURLE_ABORTED_BY_CALLBACK:
      return make_error(ErrorCode::kCancelled,
                        "interrupted; what came is kept, the same command goes on from there");
    case CURLE_HTTP_RETURNED_ERROR:
      return http_error(http_status, fetch.url);
    default:
      return make_error(ErrorCode::kUnavailable,
                        fmt::format("'{}': {}; what came is kept, the same command goes on from there",
                                    fetch.url, message[0] != '\0' ? message : libcurl().easy_strerror(code)));
  }
}

}  // namespace

Status fetch_url(const UrlFetch& fetch, PartFile& part, Progress& progress) {
  HEDGE_TRY(upstream::load_libcurl());

  // Only a strong validator proves that the server's file is the one we hold the beginning of.
  std::string etag;
  if (part.bytes() > 0) {
    if (const auto kept = os::read_file(part.path() + ".etag", kTagBytesMax); kept.ok()) etag = *kept;
    if (etag.empty() || etag.starts_with("W/")) {
      HEDGE_TRY(part.restart());
      etag.clear();
    }
  }
  long http_status = 0;
  Status status = run_transfer(fetch, etag, part, progress, http_status);
  if (!status.ok() && http_status == 416 && part.bytes() > 0) {
    HEDGE_TRY(part.restart());  // what we hold is not a beginning of the server's file
    status = run_transfer(fetch, {}, part, progress, http_status);
  }
  return status;
}

Result<std::string> hugging_face_url(const std::string& spec) {
  static const std::regex kSpec(
      "hf:([A-Za-z0-9][A-Za-z0-9._-]*)/([A-Za-z0-9][A-Za-z0-9._-]*)/([A-Za-z0-9._/+-]+\\.gguf)");
  std::smatch match;
  if (!std::regex_match(spec, match, kSpec) || ("/" + match[3].str()).find("/..") != std::string::npos) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is not of the form hf:OWNER/REPO/FILE.gguf", spec));
  }
  const char* endpoint = std::getenv("HF_ENDPOINT");
  return fmt::format("{}/{}/{}/resolve/main/{}",
                     endpoint != nullptr && *endpoint != '\0' ? endpoint : "https://huggingface.co",
                     match[1].str(), match[2].str(), match[3].str());
}

}  // namespace hedge::cli
