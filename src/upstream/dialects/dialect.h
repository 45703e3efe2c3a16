// A wire dialect: how one family of endpoints writes a request and an answer. Pure functions, no sockets,
// clock or state, so every exchange can be a text file (tests/golden/upstream). A new one is a file beside
// this and a line in dialect_list.inc; the client does not change.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chat/event.h"
#include "chat/request.h"
#include "upstream/sse.h"

namespace hedge::upstream {

// Which field carries Request::max_tokens.
enum class TokenLimit : uint8_t { kBoth, kMaxTokens, kMaxCompletionTokens };

// How an answer that another model has begun is continued (continuation.h).
enum class Continuation : uint8_t { kPrefix, kTokens, kRaw, kInstruct };

// Optional parts of a request. Not every endpoint takes all; which it takes is learned from its refusals.
struct WireOptions {
  bool continue_flags = true;
  bool stream_usage = true;
  TokenLimit token_limit = TokenLimit::kBoth;
  bool token_prompts = false;  // the endpoint reads the local model's token ids

  bool operator==(const WireOptions&) const = default;
};

struct HttpRequest {
  std::string path;  // after the base URL
  std::string body;
};

struct HttpReply {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;                                          // of an error; empty else

  // The first header of that name; empty when there is none.
  std::string_view header(std::string_view name) const;
};

// A part of a tool call; those of one index belong together, in the order in which they come.
struct ToolCallPiece {
  size_t index = 0;
  chat::ToolCall part;
};

// What one event of a stream, or a whole body, says.
struct Decoded {
  std::string text;  // may end inside a character, where the endpoint cut it there
  std::vector<chat::TokenInfo> tokens;
  std::vector<ToolCallPiece> tool_calls;
  std::optional<chat::FinishReason> finish;
  std::optional<chat::Usage> usage;
  std::string model;                         // as the endpoint names it
  std::shared_ptr<const chat::Trace> trace;  // of an endpoint that is a Hedge
  bool progress = false;  // tokens were generated, though they may be no text (reasoning, tool calls)
  bool end = false;       // nothing follows
};

struct Dialect {
  const char* name;
  const char* probe_path;  // GET; costs nothing, answers when the endpoint is well
  std::string (*auth_header)(std::string_view key);
  // kInvalidArgument or kUnsupported when the request cannot be written in this dialect.
  Result<HttpRequest> (*encode)(const chat::Request& request, std::string_view model,
                                const WireOptions& options);
  Result<Decoded> (*decode_event)(const SseEvent& event);
  Result<Decoded> (*decode_body)(std::string_view body);
  // For a status other than 2xx. Never kTimeout or kCancelled: those mean something else to a stream's
  // consumer.
  Error (*classify)(const HttpReply& reply);
  // After a refusal: what to leave out in the next try; none when the refusal is about the request itself.
  std::optional<WireOptions> (*plainer)(const WireOptions& sent, const HttpReply& reply);
};

// null when there is no dialect of that name.
const Dialect* find_dialect(std::string_view name);
std::vector<const Dialect*> all_dialects();

// The assistant's turn as the endpoint is to continue it: the prefix, after a trailing assistant message if
// the conversation ends in one. Empty when there is no prefix.
std::string turn_start(const chat::Request& request);

// Shared by dialects: the waiting time that the headers ask for, in ms; 0 when unknown. Dates are not read:
// the times that clouds send are numbers.
int retry_after_ms(const HttpReply& reply);
// Shared by dialects: `text` when it looks like a name ("rate_limit_exceeded"), else empty. Only such parts
// of an endpoint's error go into ours: its sentences may quote the prompt or the key.
std::string_view safe_identifier(std::string_view text);

}  // namespace hedge::upstream
