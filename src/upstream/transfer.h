// One request on the wire: its exchange, the reader of its answer, and the mailbox the answer goes to.
// Network thread only. Private to the module.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "chat/outbound.h"
#include "upstream/mailbox.h"
#include "upstream/reply.h"
#include "upstream/wire.h"

namespace hedge::upstream {

// After the endpoint has said why it stopped, so long may usage and the end of the stream take; and after the
// end of the stream, so long may the connection take to become reusable.
inline constexpr Milliseconds kTailTimeout{1000};
// 1.7 million tokens at the 300 bytes that a chunk with one token takes. What is no text (reasoning) counts
// here too.
inline constexpr size_t kResponseBytesMax = 512u << 20;
// A probe asks for a list of models; the time for it comes on top of that for the connection.
inline constexpr Milliseconds kProbeTimeout{2000};

class Transfer {
 public:
  // `on_end` is called once, before the consumer can see the end: what it books is true for whoever has seen
  // it.
  Transfer(const Endpoint& endpoint, const chat::Outbound& outbound, Letter letter,
           std::shared_ptr<Mailbox> mailbox, std::function<void(const Transfer&)> on_end);

  // Before open(): another manner, found out since.
  void rewrite(Letter letter) { letter_ = std::move(letter); }
  Continuation how() const { return letter_.how(); }
  // Makes the handle for the first or the next try. kInternal when libcurl gives none.
  Status open(Expect expect);
  Exchange& exchange() { return exchange_; }
  CURL* easy() const { return exchange_.easy(); }
  Mailbox& mailbox() { return *mailbox_; }

  // The consumer has gone and the answer was not complete.
  bool abandoned() const { return !ended_ && mailbox_->cancelled; }
  // After libcurl had its turn: hands over Done, and held-back events as far as there is room; then reads on.
  void make_progress(Deadline now);
  // When on_deadline() is to be called; kNoDeadline while the consumer is the slow one.
  Deadline deadline() const;
  void on_deadline();
  // libcurl is through with it. True when it is to be opened again, in a plainer form that the refusal
  // suggests.
  bool on_complete(CURLcode code);
  // Ends the answer with an error, or with Done if it was complete.
  void fail(Error error);
  // Ends it without a word, for a consumer that has gone.
  void drop();

  bool ended() const { return ended_; }  // Done or an error was handed over, or nobody waits for one
  // Ended, but worth keeping for a moment: when the rest of the response has come, the connection can be used
  // again.
  bool lingers() const { return ended_ && !dropped_ && !error_ && reader_ && reader_->end_seen(); }
  bool cancelled() const { return dropped_; }
  const std::optional<Error>& error() const { return error_; }
  const WireOptions& wire() const { return letter_.wire(); }
  const chat::Outbound& outbound() const { return outbound_; }
  const chat::Request& request() const { return outbound_.request(); }
  bool retried() const { return tries_ > 1; }
  size_t received_bytes() const { return received_bytes_; }
  const ReplyReader& reader() const { return *reader_; }

 private:
  static size_t on_header(char* data, size_t size, size_t count, void* self);
  static size_t on_write(char* data, size_t size, size_t count, void* self);
  void take_header(std::string_view line);
  size_t take_body(std::string_view bytes);
  void head_is_over();
  void deliver(std::vector<chat::Event> events);
  void end(Result<chat::Event> last);
  Error transport_error(CURLcode code) const;

  const Endpoint& endpoint_;
  const chat::Outbound outbound_;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::function<void(const Transfer&)> on_end_;
  const Deadline started_at_;
  Letter letter_;
  int tries_ = 0;

  Exchange exchange_;
  std::optional<ReplyReader> reader_;
  bool head_over_ = false;
  int status_ = 0;
  std::vector<std::pair<std::string, std::string>> reply_headers_;

  std::vector<chat::Event> backlog_;  // events the mailbox had no room for; at most what one read gave
  bool paused_ = false;               // libcurl holds the connection back
  std::optional<Error> refusal_;      // why on_write stopped the transfer
  // Done waits for the end of libcurl's turn: most often that brings the end of the response too, and a
  // consumer that asks again at once finds the connection free.
  std::optional<chat::Event> done_;
  std::optional<Error> error_;
  bool ended_ = false, dropped_ = false;
  uint64_t progress_seen_ = 0;
  Deadline progress_at_{};
  size_t received_bytes_ = 0;  // of the bodies of all tries
};

}  // namespace hedge::upstream
