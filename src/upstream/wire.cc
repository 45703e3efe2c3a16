#include "upstream/wire.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/hash.h"

namespace hedge::upstream {

std::string Endpoint::id() const { return fmt::format("{:016x}", fnv1a(model, fnv1a(base_url + "\n"))); }

Result<Letter> Letter::write(const Endpoint& endpoint, const chat::Outbound& outbound, Continuation how,
                             const Renderer& renderer, WireOptions wire) {
  Letter out;
  std::optional<chat::Request> sent = in_manner(how, outbound.request(), renderer);
  out.how_ = sent ? how : Continuation::kPrefix;
  out.sent_ = sent ? *std::move(sent) : outbound.request();
  out.wire_ = wire;
  out.wire_.token_prompts = out.how_ == Continuation::kTokens;
  HEDGE_TRY_SET(out.http_, endpoint.dialect->encode(out.sent_, endpoint.model, out.wire_));
  return out;
}

std::optional<Letter> Letter::test(const Detector& detector) {
  std::optional<HttpRequest> next = detector.next();
  if (!next) return std::nullopt;
  Letter out;
  out.http_ = *std::move(next);
  return out;
}

Letter Letter::probe(const Endpoint& endpoint) {
  Letter out;
  out.http_.path = endpoint.dialect->probe_path;
  out.has_body_ = false;
  return out;
}

std::optional<Letter> Letter::with(const Endpoint& endpoint, const WireOptions& wire) const {
  Result<HttpRequest> http = endpoint.dialect->encode(sent_, endpoint.model, wire);
  if (!http.ok() || http->body == http_.body) return std::nullopt;
  Letter out = *this;
  out.wire_ = wire;
  out.http_ = std::move(http).value();
  return out;
}

Status Exchange::open(const Endpoint& endpoint, const Letter& letter, const Receiver& receiver,
                      Milliseconds timeout) {
  easy_.reset(libcurl().easy_init());
  if (!easy_) return make_error(ErrorCode::kInternal, "libcurl: no handle");
  CURL* easy = easy_.get();
  const auto set = [easy](CURLoption option, auto value) { libcurl().easy_setopt(easy, option, value); };

  curl_slist* list = nullptr;
  const auto header = [&list](const std::string& line) { list = libcurl().slist_append(list, line.c_str()); };
  header("Accept: text/event-stream, application/json");
  if (letter.has_body_) {
    header("Content-Type: application/json");
    header("Expect:");  // no round trip before a long body
  }
  if (!endpoint.key.empty()) header(endpoint.dialect->auth_header(endpoint.key));
  const chat::Way& way = letter.sent_.way;
  if (!way.path.empty()) {  // for an upstream that is a Hedge; others ignore them
    header("x-hedge-path: " + way.path);
    header(fmt::format("x-hedge-hops: {}", std::max(0, way.hops_left - 1)));
  }
  headers_.reset(list);
  set(CURLOPT_HTTPHEADER, list);

  set(CURLOPT_URL, (endpoint.base_url + letter.http_.path).c_str());
  if (letter.has_body_) {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDS, letter.http_.body.c_str());  // not copied: the letter outlives the handle
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(letter.http_.body.size()));
  }
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);  // a redirect would carry prompt and key elsewhere
  // One answer per connection at a time: a stream that is paused for a slow consumer then holds back nobody
  // else.
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_TCP_NODELAY, 1L);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // a name look-up in progress does not hold up a cancel
  set(CURLOPT_USERAGENT, "hedge");
  if (!endpoint.ca_file.empty()) {
    set(CURLOPT_CAINFO, endpoint.ca_file.c_str());
    set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));  // these and no others
  }
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(endpoint.connect_timeout.count()));
  if (timeout.count() > 0) set(CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));

  set(CURLOPT_WRITEFUNCTION, receiver.on_body);
  set(CURLOPT_WRITEDATA, receiver.self);
  if (receiver.on_header != nullptr) {
    set(CURLOPT_HEADERFUNCTION, receiver.on_header);
    set(CURLOPT_HEADERDATA, receiver.self);
  }
  return {};
}

Status Exchange::send(CURLM* multi) {
  if (libcurl().multi_add_handle(multi, easy_.get()) == CURLM_OK) return {};
  return make_error(ErrorCode::kInternal, "libcurl: the handle was not taken");
}

void Exchange::stop(CURLM* multi) {
  if (easy_) libcurl().multi_remove_handle(multi, easy_.get());
}

void Exchange::close(CURLM* multi) {
  stop(multi);
  easy_.reset();
  headers_.reset();
}

}  // namespace hedge::upstream
