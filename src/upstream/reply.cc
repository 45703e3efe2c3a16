#include "upstream/reply.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/utf8.h"

namespace hedge::upstream {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

Error restarted() {
  // Not a fault of the endpoint's health, so not kUnavailable: it answered, but this cannot be joined to what
  // stands.
  return make_error(ErrorCode::kUnsupported,
                    "continuation: expected the text that follows the start sent, got the answer begun anew");
}

}  // namespace

ReplyReader::ReplyReader(const Dialect& dialect, Options options)
    : dialect_(dialect),
      options_(std::move(options)),
      aligner_(options_.exact ? std::string() : options_.start, options_.expect),
      stop_filter_(options_.stop) {}

void ReplyReader::on_head(int status, std::vector<std::pair<std::string, std::string>> headers) {
  reply_.status = status;
  reply_.headers = std::move(headers);
  if (status < 200 || status >= 300) form_ = Form::kError;
}

// By the content type where it is one of the two; else by the first bytes, since small servers are careless
// with it.
Status ReplyReader::choose_form(std::string_view bytes) {
  const std::string_view type = reply_.header("content-type");
  if (type.starts_with("text/event-stream")) {
    form_ = Form::kEvents;
    return {};
  }
  body_.append(bytes);
  const size_t first = body_.find_first_not_of(kSpaces);
  if (first == std::string::npos) return {};
  const std::string_view begin = std::string_view(body_).substr(first);
  if (type.starts_with("application/json") || begin.front() == '{') {
    form_ = Form::kWhole;
  } else if (begin.front() == ':' || begin.starts_with("data") || begin.starts_with("event")) {
    form_ = Form::kEvents;
  } else if (!std::string_view("data").starts_with(begin) && !std::string_view("event").starts_with(begin)) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("answer: expected an event stream or JSON, got content of type {}",
                                  type.empty() ? "unknown" : type.substr(0, type.find_first_of("; \t"))));
  }
  return {};
}

Status ReplyReader::on_body(std::string_view bytes, std::vector<chat::Event>& out) {
  if (done_ || bytes.empty()) return {};
  if (form_ == Form::kError) {
    reply_.body.append(
        bytes.substr(0, kErrorBodyBytesMax - std::min(kErrorBodyBytesMax, reply_.body.size())));
    return {};
  }
  std::string opening;  // bytes that came before the form was known
  if (form_ == Form::kUnknown) {
    HEDGE_TRY(choose_form(bytes));
    if (form_ == Form::kUnknown) return {};
    if (!body_.empty()) bytes = opening = std::exchange(body_, {});
  }
  if (form_ == Form::kWhole) {
    if (bytes.size() > kAnswerBodyBytesMax - std::min(kAnswerBodyBytesMax, body_.size())) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("answer: expected at most {} bytes, got more", kAnswerBodyBytesMax));
    }
    body_.append(bytes);
    ++progress_;
    return {};
  }
  std::vector<SseEvent> events;
  const Status parsed = sse_.push(bytes, events);
  for (const SseEvent& event : events) {
    HEDGE_TRY_SET(Decoded decoded, dialect_.decode_event(event));
    HEDGE_TRY(take(std::move(decoded), out));
    if (done_) return {};
  }
  return parsed;
}

Status ReplyReader::take(Decoded decoded, std::vector<chat::Event>& out) {
  if (!started_) {
    started_ = true;
    out.push_back(chat::Started{options_.backend, decoded.model.empty() ? options_.model : decoded.model, 0,
                                0, options_.endpoint});
  }
  generated_ |= decoded.progress;
  progress_ += decoded.progress || decoded.finish ? 1 : 0;
  if (decoded.usage) usage_ = *decoded.usage;
  if (decoded.trace) trace_ = std::move(decoded.trace);
  HEDGE_TRY(take_calls(std::move(decoded.tool_calls)));
  HEDGE_TRY(take_text(decoded.text, std::move(decoded.tokens), out));
  if (decoded.finish && !finish_) finish_ = decoded.finish;
  if (stop_filter_.stopped()) finish_ = chat::FinishReason::kStop;
  end_seen_ |= decoded.end;
  // After a stop string nothing is left to wait for, not even the count of tokens: the endpoint may write on
  // for long.
  if (decoded.end || stop_filter_.stopped()) return complete(out);
  return {};
}

// Pieces of one call are joined: an id or name comes once, the arguments bit by bit.
Status ReplyReader::take_calls(std::vector<ToolCallPiece> pieces) {
  for (ToolCallPiece& piece : pieces) {
    if (piece.index >= kToolCallsMax) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("answer: expected at most {} tool calls, got more", kToolCallsMax));
    }
    if (piece.index >= tool_calls_.size()) tool_calls_.resize(piece.index + 1);
    chat::ToolCall& call = tool_calls_[piece.index];
    const size_t bytes =
        piece.part.id.size() + piece.part.name.size() + piece.part.arguments.size() + piece.part.extra.size();
    if (bytes > options_.text_bytes_max - std::min(options_.text_bytes_max, text_bytes_)) {
      return make_error(
          ErrorCode::kCorrupt,
          fmt::format("answer: expected at most {} bytes of text, got more", options_.text_bytes_max));
    }
    text_bytes_ += bytes;
    if (call.id.empty()) call.id = utf8_sanitize(piece.part.id);
    if (call.name.empty()) call.name = utf8_sanitize(piece.part.name);
    call.arguments += piece.part.arguments;
    if (!piece.part.extra.empty()) call.extra = std::move(piece.part.extra);
  }
  return {};
}

Status ReplyReader::take_text(std::string_view text, std::vector<chat::TokenInfo> tokens,
                              std::vector<chat::Event>& out) {
  if (text.empty() && tokens.empty()) return {};
  if (text.size() > options_.text_bytes_max - std::min(options_.text_bytes_max, text_bytes_)) {
    return make_error(ErrorCode::kCorrupt, fmt::format("answer: expected at most {} bytes of text, got more",
                                                       options_.text_bytes_max));
  }
  text_bytes_ += text.size();
  std::move(tokens.begin(), tokens.end(), std::back_inserter(tokens_));
  broken_tail_.append(text);
  const size_t whole = utf8_complete_prefix(broken_tail_);
  const std::string clean = utf8_sanitize(std::string_view(broken_tail_).substr(0, whole));
  broken_tail_.erase(0, whole);
  const bool undecided = aligner_.alignment() == Alignment::kUndecided;
  std::string fresh = aligner_.push(clean);
  if (aligner_.alignment() == Alignment::kRestart) return restarted();
  // Log-probabilities of a repeated start are nobody's.
  if (undecided && (aligner_.alignment() == Alignment::kEcho || aligner_.alignment() == Alignment::kOverlap))
    tokens_.clear();
  emit(stop_filter_.push(fresh), out);
  return {};
}

void ReplyReader::emit(std::string text, std::vector<chat::Event>& out) {
  if (aligner_.alignment() == Alignment::kUndecided || (text.empty() && tokens_.empty())) return;
  out.push_back(chat::Delta{std::move(text), std::exchange(tokens_, {})});
}

// The endpoint has said all it will. What is still held back belongs to the answer, unless the answer is an
// error.
Status ReplyReader::complete(std::vector<chat::Event>& out) {
  if (!finish_ && text_bytes_ == 0) {
    return make_error(ErrorCode::kUnavailable,
                      fmt::format("answer: expected text, got an empty one (status {})", reply_.status));
  }
  // An empty answer to a fresh question is a fault some endpoints report as success. It is none where the
  // start may have been the whole answer, or where a stop string or the limit may have ended it.
  if (!generated_ && options_.start.empty() && options_.stop.empty() &&
      finish_ == chat::FinishReason::kStop) {
    return make_error(ErrorCode::kUnavailable, "answer: expected text, got a finish reason alone");
  }
  if (!stop_filter_.stopped()) {
    std::string rest = aligner_.push(utf8_sanitize(std::exchange(broken_tail_, {})));
    rest += aligner_.finish();
    if (aligner_.alignment() == Alignment::kRestart) return restarted();
    std::string text = stop_filter_.push(rest);
    text += stop_filter_.flush();
    emit(std::move(text), out);
  }
  done_ = true;
  chat::Done done{
      stop_filter_.stopped() ? chat::FinishReason::kStop : finish_.value_or(chat::FinishReason::kStop),
      usage_, trace_};
  if (!stop_filter_.stopped() && done.reason != chat::FinishReason::kLength) {
    // A call without a name is none that anybody could make.
    std::erase_if(tool_calls_, [](const chat::ToolCall& call) { return call.name.empty(); });
    for (chat::ToolCall& call : tool_calls_) call.arguments = utf8_sanitize(call.arguments);
    done.tool_calls = std::move(tool_calls_);
  }
  // Some endpoints say "stop" after calls.
  if (!done.tool_calls.empty()) done.reason = chat::FinishReason::kToolCalls;
  if (done.tool_calls.empty() && done.reason == chat::FinishReason::kToolCalls)
    done.reason = chat::FinishReason::kStop;
  out.push_back(std::move(done));
  return {};
}

Status ReplyReader::on_end(std::vector<chat::Event>& out) {
  if (done_) return {};
  switch (form_) {
    case Form::kError:
      return dialect_.classify(reply_);
    case Form::kUnknown:
      return make_error(ErrorCode::kUnavailable,
                        fmt::format("answer: expected text, got an empty body (status {})", reply_.status));
    case Form::kWhole: {
      HEDGE_TRY_SET(Decoded decoded, dialect_.decode_body(body_));
      return take(std::move(decoded), out);
    }
    case Form::kEvents:
      break;
  }
  if (SseEvent last; sse_.finish(last)) {
    HEDGE_TRY_SET(Decoded decoded, dialect_.decode_event(last));
    HEDGE_TRY(take(std::move(decoded), out));
    if (done_) return {};
  }
  if (finish_) return complete(out);
  if (text_bytes_ == 0) {
    return make_error(ErrorCode::kUnavailable,
                      fmt::format("answer: expected text, got an empty stream (status {})", reply_.status));
  }
  return make_error(ErrorCode::kUnavailable,
                    "answer: expected a finish reason or [DONE], got the end of the stream");
}

Status ReplyReader::on_cut(Error reason, std::vector<chat::Event>& out) {
  if (done_) return {};
  if (finish_) return complete(out);
  return reason;
}

}  // namespace hedge::upstream
