#include "upstream/transfer.h"

#include <algorithm>
#include <system_error>

#include <fmt/format.h>

#include "upstream/endpoint.h"

namespace hedge::upstream {
namespace {

// A refusal may name one field at a time: the two flags, stream_options, the pair of limits.
constexpr int kTriesMax = 4;
constexpr size_t kReplyHeadersMax = 100;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return out;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size()));
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

}  // namespace

Transfer::Transfer(const Endpoint& endpoint, const chat::Outbound& outbound, Letter letter,
                   std::shared_ptr<Mailbox> mailbox, std::function<void(const Transfer&)> on_end)
    : endpoint_(endpoint),
      outbound_(outbound),
      mailbox_(std::move(mailbox)),
      on_end_(std::move(on_end)),
      started_at_(SteadyClock::now()),
      letter_(std::move(letter)) {}

Status Transfer::open(Expect expect) {
  ++tries_;
  const bool exact = how() == Continuation::kTokens || how() == Continuation::kRaw;
  reader_.emplace(*endpoint_.dialect,
                  ReplyReader::Options{endpoint_.name, endpoint_.model, turn_start(request()), expect,
                                       request().stop, kAnswerTextBytesMax, exact, endpoint_.id()});
  head_over_ = false;
  status_ = 0;
  reply_headers_.clear();
  refusal_.reset();
  return exchange_.open(endpoint_, letter_, {&Transfer::on_write, &Transfer::on_header, this});
}

size_t Transfer::on_header(char* data, size_t size, size_t count, void* self) {
  static_cast<Transfer*>(self)->take_header({data, size * count});
  return size * count;
}

size_t Transfer::on_write(char* data, size_t size, size_t count, void* self) {
  return static_cast<Transfer*>(self)->take_body({data, size * count});
}

void Transfer::take_header(std::string_view line) {
  if (line.starts_with("HTTP/")) {  // also after "100 Continue"
    reply_headers_.clear();
    const size_t space = line.find(' ');
    status_ = space == std::string_view::npos ? 0 : std::atoi(std::string(line.substr(space + 1)).c_str());
    return;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || reply_headers_.size() >= kReplyHeadersMax) return;
  reply_headers_.emplace_back(lower(line.substr(0, colon)), trimmed(line.substr(colon + 1)));
}

void Transfer::head_is_over() {
  if (!std::exchange(head_over_, true)) reader_->on_head(status_, std::move(reply_headers_));
}

size_t Transfer::take_body(std::string_view bytes) {
  if (abandoned()) return CURL_WRITEFUNC_ERROR;
  if (!backlog_.empty()) {
    paused_ = true;
    return CURL_WRITEFUNC_PAUSE;  // libcurl keeps the bytes and gives them again
  }
  head_is_over();
  received_bytes_ += bytes.size();
  if (ended_) return bytes.size();
  std::vector<chat::Event> events;
  Status status = reader_->on_body(bytes, events);
  if (status.ok() && received_bytes_ > kResponseBytesMax) {
    status = make_error(ErrorCode::kCorrupt,
                        fmt::format("answer: expected at most {} bytes, got more", kResponseBytesMax));
  }
  if (reader_->progress() != progress_seen_) {
    progress_seen_ = reader_->progress();
    progress_at_ = SteadyClock::now();
  }
  deliver(std::move(events));
  if (status.ok()) return bytes.size();
  refusal_ = std::move(status).error();
  return CURL_WRITEFUNC_ERROR;
}

void Transfer::deliver(std::vector<chat::Event> events) {
  for (chat::Event& event : events) {
    if (ended_) return;
    if (std::holds_alternative<chat::Done>(event)) {
      done_ = std::move(event);
      return;
    }
    if (backlog_.empty()) {
      Result<chat::Event> item(std::move(event));
      if (mailbox_->events.try_push(item)) continue;
      event = std::move(item).value();
    }
    auto* last = backlog_.empty() ? nullptr : std::get_if<chat::Delta>(&backlog_.back());
    auto* delta = std::get_if<chat::Delta>(&event);
    if (last != nullptr && delta != nullptr) {
      last->text += delta->text;
      std::move(delta->tokens.begin(), delta->tokens.end(), std::back_inserter(last->tokens));
    } else {
      backlog_.push_back(std::move(event));
    }
    mailbox_->wants_room = true;
  }
}

void Transfer::make_progress(Deadline now) {
  if (done_) end(*std::exchange(done_, std::nullopt));
  if (backlog_.empty() && !paused_) return;
  if (ended_ || !mailbox_->has_room()) return;
  mailbox_->wants_room = false;
  std::vector<chat::Event> held;
  held.swap(backlog_);
  deliver(std::move(held));
  if (!backlog_.empty()) return;
  progress_at_ = now;  // the pause was ours, not the endpoint's
  if (!std::exchange(paused_, false)) return;
  libcurl().easy_pause(easy(), CURLPAUSE_CONT);  // may call take_body at once
  if (refusal_) end(*std::exchange(refusal_, std::nullopt));
  if (done_) end(*std::exchange(done_, std::nullopt));
}

Deadline Transfer::deadline() const {
  if (ended_) return progress_at_ + kTailTimeout;
  if (paused_ || !backlog_.empty()) return kNoDeadline;
  if (progress_seen_ == 0) return started_at_ + endpoint_.first_token_timeout;
  return progress_at_ +
         (reader_->finished() ? std::min(kTailTimeout, endpoint_.gap_timeout) : endpoint_.gap_timeout);
}

void Transfer::on_deadline() {
  if (ended_) return;
  if (progress_seen_ == 0) {
    fail(make_error(ErrorCode::kUnavailable, fmt::format("first token: expected within {} ms, got none",
                                                         endpoint_.first_token_timeout.count())));
  } else {
    fail(make_error(ErrorCode::kUnavailable,
                    fmt::format("next token: expected within {} ms of the last, got none",
                                endpoint_.gap_timeout.count())));
  }
}

bool Transfer::on_complete(CURLcode code) {
  if (done_) end(*std::exchange(done_, std::nullopt));
  if (ended_) return false;
  if (refusal_) {
    end(*std::exchange(refusal_, std::nullopt));
    return false;
  }
  head_is_over();
  std::vector<chat::Event> events;
  Status status = code == CURLE_OK ? reader_->on_end(events) : reader_->on_cut(transport_error(code), events);
  if (!status.ok() && code == CURLE_OK && tries_ < kTriesMax) {
    if (const auto next = endpoint_.dialect->plainer(letter_.wire(), reader_->reply())) {
      if (std::optional<Letter> plainer = letter_.with(endpoint_, *next)) {
        letter_ = *std::move(plainer);
        return true;
      }
    }
  }
  deliver(std::move(events));
  if (status.ok()) {
    end(*std::exchange(done_, std::nullopt));  // the reader gives Done or an error
  } else {
    end(std::move(status).error());
  }
  return false;
}

void Transfer::fail(Error error) {
  if (done_) end(*std::exchange(done_, std::nullopt));
  if (ended_) return;
  std::vector<chat::Event> events;
  const Status status = reader_ ? reader_->on_cut(error, events) : Status(error);
  deliver(std::move(events));
  if (status.ok()) {
    end(*std::exchange(done_, std::nullopt));
  } else {
    end(status.error());
  }
}

void Transfer::drop() {
  dropped_ = true;
  end(make_error(ErrorCode::kCancelled, "cancelled"));
}

void Transfer::end(Result<chat::Event> last) {
  if (std::exchange(ended_, true)) return;
  progress_at_ = SteadyClock::now();
  if (!last.ok()) {
    Error error = std::move(last).error();
    error.detail = redact(fmt::format("{}: {}", endpoint_.name, error.detail), endpoint_.key);
    error_ = error;
    last = std::move(error);
  }
  on_end_(*this);
  for (chat::Event& held : backlog_) mailbox_->events.push_final(std::move(held));
  backlog_.clear();
  mailbox_->events.push_final(std::move(last));
  mailbox_->events.close();
}

// Always kUnavailable or kCorrupt: to a stream's consumer kTimeout means "go on waiting".
Error Transfer::transport_error(CURLcode code) const {
  const auto unavailable = [](std::string detail) {
    return make_error(ErrorCode::kUnavailable, std::move(detail));
  };
  long os_error = 0;
  libcurl().easy_getinfo(easy(), CURLINFO_OS_ERRNO, &os_error);
  switch (static_cast<int>(code)) {
    case CURLE_OPERATION_TIMEDOUT:
      return unavailable(fmt::format("connect: expected a connection to {} within {} ms, got none",
                                     endpoint_.base_url, endpoint_.connect_timeout.count()));
    case CURLE_COULDNT_CONNECT:
      return unavailable(fmt::format("connect: no connection to {} ({})", endpoint_.base_url,
                                     os_error != 0
                                         ? std::generic_category().message(static_cast<int>(os_error))
                                         : libcurl().easy_strerror(code)));
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return unavailable(fmt::format("connect: the host of {} cannot be resolved", endpoint_.base_url));
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:  // "HTTP/0.9": the answer does not begin as HTTP does
      return make_error(ErrorCode::kCorrupt, "answer: expected HTTP, got something else");
    default:
      return unavailable(fmt::format("{}: {}", progress_seen_ > 0 ? "answer broken off" : "no answer",
                                     libcurl().easy_strerror(code)));
  }
}

}  // namespace hedge::upstream
