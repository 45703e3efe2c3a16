// The door to the network: the one file of the program that gives libcurl bytes to send to an endpoint
// (scripts/check_outbound.py holds it to that). They come as a Letter, and a Letter is written from three
// things alone: a request that the privacy gate has let pass (chat::Outbound), a test of how an endpoint
// continues an answer (text that stands in this program, continuation.h), and a probe (a path that stands in
// it). Beside a letter an endpoint gets what the operator wrote: its URL, its model's name and its key.
//
// Network thread only, but for the making of letters.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "base/clock.h"
#include "base/result.h"
#include "chat/outbound.h"
#include "upstream/continuation.h"
#include "upstream/dialects/dialect.h"
#include "upstream/libcurl.h"
#include "upstream/rendered.h"

namespace hedge::upstream {

// What all requests to one endpoint share. Outlives every transfer.
struct Endpoint {
  const Dialect* dialect = nullptr;
  std::string name;
  std::string base_url;
  std::string model;
  std::string key;      // empty: none
  std::string ca_file;  // empty: the system's
  Milliseconds connect_timeout{};
  Milliseconds first_token_timeout{};
  Milliseconds gap_timeout{};

  // Which machine and model it is, whatever its name: BackendInfo::endpoint.
  std::string id() const;
};

class Letter {
 public:
  // The request in that manner, or as kPrefix where it cannot be written so. Errors: what the dialect cannot
  // write.
  static Result<Letter> write(const Endpoint& endpoint, const chat::Outbound& outbound, Continuation how,
                              const Renderer& renderer, WireOptions wire);
  // The detector's next test; none when it has no more.
  static std::optional<Letter> test(const Detector& detector);
  static Letter probe(const Endpoint& endpoint);

  // The same request with other options; none where that changes nothing or cannot be written.
  std::optional<Letter> with(const Endpoint& endpoint, const WireOptions& wire) const;

  Continuation how() const { return how_; }
  const WireOptions& wire() const { return wire_; }

 private:
  friend class Exchange;
  Letter() = default;

  Continuation how_ = Continuation::kPrefix;
  chat::Request sent_;  // the cleared request, written anew for that manner; empty of a test or probe
  WireOptions wire_;
  HttpRequest http_;
  bool has_body_ = true;
};

static_assert(!std::is_default_constructible_v<Letter> && !std::is_aggregate_v<Letter>);
static_assert(!std::is_constructible_v<Letter, chat::Request> &&
              !std::is_constructible_v<Letter, HttpRequest>);

// Where the answer goes; functions as libcurl wants them.
struct Receiver {
  using Function = size_t (*)(char* data, size_t size, size_t count, void* self);
  Function on_body = nullptr;
  Function on_header = nullptr;  // null: not looked at
  void* self = nullptr;
};

struct EasyCleanup {
  void operator()(CURL* easy) const { libcurl().easy_cleanup(easy); }
};
struct SlistCleanup {
  void operator()(curl_slist* list) const { libcurl().slist_free_all(list); }
};

// One letter under way: a libcurl easy handle with all that it needs.
class Exchange {
 public:
  // Makes the handle; the letter and `self` must outlive it. A timeout of 0 is none beside the connection's.
  // kInternal when libcurl gives no handle.
  Status open(const Endpoint& endpoint, const Letter& letter, const Receiver& receiver,
              Milliseconds timeout = {});
  // Sends it. kInternal when the multi handle does not take it.
  Status send(CURLM* multi);
  // Takes it off the multi handle, which closes its connection if the answer was not complete; what is known
  // of it can still be asked.
  void stop(CURLM* multi);
  // And lets go of the handle. Nothing happens where none is open.
  void close(CURLM* multi);

  CURL* easy() const { return easy_.get(); }  // null when it is not open
  bool is_open() const { return easy_ != nullptr; }

 private:
  std::unique_ptr<curl_slist, SlistCleanup> headers_;
  std::unique_ptr<CURL, EasyCleanup> easy_;
};

}  // namespace hedge::upstream
