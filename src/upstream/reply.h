// One answer of an endpoint, from response bytes to chat events: head, SSE or JSON body, whole characters,
// alignment with what was sent, stop strings, and the rules for how an answer ends. No sockets or clock; one
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/event.h"
#include "chat/stop_filter.h"
#include "upstream/align.h"
#include "upstream/dialects/dialect.h"
#include "upstream/sse.h"

namespace hedge::upstream {

inline constexpr size_t kErrorBodyBytesMax = 64u << 10;   // the rest of a longer one is not read
inline constexpr size_t kAnswerBodyBytesMax = 8u << 20;   // a whole answer as one JSON object
inline constexpr size_t kToolCallsMax = 128;              // of one answer
inline constexpr size_t kAnswerTextBytesMax = 16u << 20;  // 4 million tokens; no context is that long

class ReplyReader {
 public:
  struct Options {
    std::string backend;  // for Started
    std::string model;    // for Started, unless the endpoint names another
    std::string start;    // what the assistant's turn begins with (turn_start)
    Expect expect = Expect::kUnknown;
    std::vector<std::string> stop;
    size_t text_bytes_max = kAnswerTextBytesMax;
    bool exact = false;      // the endpoint read the start as its own text: nothing is to be aligned
    std::string endpoint{};  // for Started
  };

  ReplyReader(const Dialect& dialect, Options options);

  // Status and headers, once, before any body.
  void on_head(int status, std::vector<std::pair<std::string, std::string>> headers);
  // Appends the events that `bytes` complete. An error ends the answer; events appended before it stand.
  // After Done the rest is ignored.
  Status on_body(std::string_view bytes, std::vector<chat::Event>& out);
  // The response is over, whole as HTTP sees it: appends Done, or says what is missing.
  Status on_end(std::vector<chat::Event>& out);
  // The connection broke or a deadline passed: `reason` is the error, unless the answer was complete.
  Status on_cut(Error reason, std::vector<chat::Event>& out);

  bool done() const { return done_; }                    // Done was given out
  bool finished() const { return finish_.has_value(); }  // the endpoint said why it stopped
  bool end_seen() const { return end_seen_; }            // ... and that nothing follows
  // Counts up whenever the endpoint shows that it generates; deadlines between tokens go by it.
  uint64_t progress() const { return progress_; }
  Expect learned() const { return aligner_.learned(); }
  const chat::Usage& usage() const { return usage_; }
  const HttpReply& reply() const { return reply_; }

 private:
  enum class Form : uint8_t { kUnknown, kEvents, kWhole, kError };

  Status choose_form(std::string_view bytes);
  Status take(Decoded decoded, std::vector<chat::Event>& out);
  Status take_calls(std::vector<ToolCallPiece> pieces);
  Status take_text(std::string_view text, std::vector<chat::TokenInfo> tokens, std::vector<chat::Event>& out);
  void emit(std::string text, std::vector<chat::Event>& out);
  Status complete(std::vector<chat::Event>& out);

  const Dialect& dialect_;
  const Options options_;
  HttpReply reply_;
  Form form_ = Form::kUnknown;
  SseParser sse_;
  std::string body_;         // of a whole answer, or bytes that do not tell the form yet
  std::string broken_tail_;  // an incomplete character
  Aligner aligner_;
  chat::StopFilter stop_filter_;
  std::vector<chat::TokenInfo> tokens_;  // of text that is held back
  std::optional<chat::FinishReason> finish_;
  std::vector<chat::ToolCall> tool_calls_;
  chat::Usage usage_;
  std::shared_ptr<const chat::Trace> trace_;
  size_t text_bytes_ = 0;  // received, before alignment
  uint64_t progress_ = 0;
  bool generated_ = false;  // some event showed that tokens came
  bool started_ = false;
  bool end_seen_ = false;
  bool done_ = false;
};

}  // namespace hedge::upstream
