// OpenAI's chat completions and completions, as OpenAI, llama-server, vLLM, LiteRT-LM, Ollama and Hedge speak
// them.
//
// The limit on tokens goes out twice, as max_tokens and max_completion_tokens, because an endpoint that does
// not know the one it gets ignores it and writes on at the caller's expense (LiteRT-LM knows only the second,
// older servers only the first). Endpoints that refuse the pair (OpenAI itself) say so, and get the one they
// name from then on.
//
// The start of the assistant's turn goes out as a trailing assistant message. llama-server continues it by
// default; vLLM only with continue_final_message and add_generation_prompt:false; strict clouds refuse the
// two flags as unknown.

#include <algorithm>
#include <cctype>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "upstream/align.h"
#include "upstream/dialects/dialect.h"

namespace hedge::upstream::dialects {
namespace {

using Json = nlohmann::json;

// ---- Requests

// The API allows four; the rest is applied on our side, as all of them are in any case.
constexpr size_t kStopStringsMax = 4;
constexpr int kTopLogprobsMax = 20;

void put_limit(Json& body, int max_tokens, TokenLimit form) {
  if (max_tokens < 0) return;
  if (form != TokenLimit::kMaxCompletionTokens) body["max_tokens"] = max_tokens;
  if (form != TokenLimit::kMaxTokens) body["max_completion_tokens"] = max_tokens;
}

void put_sampling(Json& body, const chat::Sampling& sampling) {
  if (sampling.temperature_set) body["temperature"] = sampling.temperature;
  if (sampling.top_p_set) body["top_p"] = sampling.top_p;
  if (sampling.presence_penalty != 0) body["presence_penalty"] = sampling.presence_penalty;
  if (sampling.frequency_penalty != 0) body["frequency_penalty"] = sampling.frequency_penalty;
  if (sampling.seed) body["seed"] = *sampling.seed;
}

Json message_json(chat::Role role, const std::string& content) {
  return {{"role", chat::to_string(role)}, {"content", content}};
}

// What the backend itself added to a call goes back as it came; the fields that everybody knows are ours.
Json tool_call_json(const chat::ToolCall& call) {
  Json out = call.extra.empty() ? Json::object() : Json::parse(call.extra, nullptr, false);
  if (!out.is_object()) out = Json::object();
  out["id"] = call.id;
  out["type"] = "function";
  out["function"] = {{"name", call.name}, {"arguments", call.arguments}};
  return out;
}

// Tools as the client sent them; what is no JSON is refused before it comes here.
void put_tools(Json& body, const chat::Request& request) {
  if (request.tools.empty()) return;
  body["tools"] = Json::parse(request.tools, nullptr, false);
  if (!request.tool_choice.empty()) body["tool_choice"] = Json::parse(request.tool_choice, nullptr, false);
  if (request.parallel_tool_calls) body["parallel_tool_calls"] = *request.parallel_tool_calls;
}

Json messages_json(const chat::Request& request, const std::string& start) {
  Json messages = Json::array();
  for (const chat::Message& message : request.messages) {
    messages.push_back(message_json(message.role, message.content));
    if (!message.name.empty()) messages.back()["name"] = message.name;
    if (!message.tool_call_id.empty()) messages.back()["tool_call_id"] = message.tool_call_id;
    for (const chat::ToolCall& call : message.tool_calls)
      messages.back()["tool_calls"].push_back(tool_call_json(call));
  }
  if (start.empty()) return messages;
  // Two assistant messages in a row are refused by some endpoints; the start already holds the text of the
  // first.
  if (!request.messages.empty() && request.messages.back().role == chat::Role::kAssistant)
    messages.erase(messages.size() - 1);
  messages.push_back(message_json(chat::Role::kAssistant, start));
  return messages;
}

Result<HttpRequest> encode(const chat::Request& request, std::string_view model, const WireOptions& options) {
  const std::string start(sent_part(turn_start(request)));
  Json body = {{"model", model}, {"stream", true}};
  HttpRequest http;
  if (request.raw) {
    const bool as_ids = options.token_prompts && !request.prompt_tokens.empty();
    if (request.prompt.empty() && !as_ids) {
      return make_error(ErrorCode::kUnsupported,
                        "prompt: an upstream needs text, got token ids of the local model", "prompt");
    }
    http.path = "/v1/completions";
    if (as_ids) {
      body["prompt"] = request.prompt_tokens;
    } else {
      body["prompt"] = request.prompt + start;
    }
    if (request.top_logprobs >= 0) body["logprobs"] = std::min(request.top_logprobs, kTopLogprobsMax);
    if (request.max_tokens >= 0) body["max_tokens"] = request.max_tokens;
  } else {
    if (request.messages.empty() && start.empty()) {
      return make_error(ErrorCode::kInvalidArgument, "messages: expected at least one, got none", "messages");
    }
    http.path = "/v1/chat/completions";
    body["messages"] = messages_json(request, start);
    if (!start.empty() && options.continue_flags) {
      body["continue_final_message"] = true;
      body["add_generation_prompt"] = false;
    }
    if (request.top_logprobs >= 0) {
      body["logprobs"] = true;
      body["top_logprobs"] = std::min(request.top_logprobs, kTopLogprobsMax);
    }
    put_tools(body, request);
    put_limit(body, request.max_tokens, options.token_limit);
  }
  if (options.stream_usage) body["stream_options"] = {{"include_usage", true}};
  put_sampling(body, request.sampling);
  if (!request.stop.empty()) {
    body["stop"] = std::vector<std::string>(
        request.stop.begin(),
        request.stop.begin() + static_cast<ptrdiff_t>(std::min(request.stop.size(), kStopStringsMax)));
  }
  if (request.ignore_eos)
    body["ignore_eos"] = true;  // an extension; sent only because the client asked for it
  http.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return http;
}

// ---- Answers

Error wrong_type(std::string_view where, std::string_view expected, const Json& got) {
  return make_error(ErrorCode::kCorrupt,
                    fmt::format("{}: expected {}, got {}", where, expected, got.type_name()));
}

// A member, or null when `object` is none or has none.
const Json& member(const Json& object, const char* name) {
  static const Json kNull;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : kNull;
}

std::string string_or_empty(const Json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

int count_or_zero(const Json& value) {
  if (!value.is_number_integer()) return 0;
  if (value.is_number_unsigned())
    return static_cast<int>(std::min<uint64_t>(value.get<uint64_t>(), 1u << 30));
  return static_cast<int>(std::clamp<int64_t>(value.get<int64_t>(), 0, 1 << 30));
}

// Some endpoints cut a character between two events and write its bytes raw, which is no JSON. Each such byte
// goes through the parser as a private character of the last plane and comes back as itself, so that the
// pieces join again.
constexpr char32_t kBrokenByteBase = 0x10ff00;

std::string protect_broken_bytes(std::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size();) {
    size_t next = at;
    utf8_next(bytes, next);
    const std::string_view piece = bytes.substr(at, next - at);
    if (piece.size() == 1 && static_cast<unsigned char>(piece[0]) >= 0x80) {
      utf8_append(out, kBrokenByteBase + static_cast<unsigned char>(piece[0]));
    } else {
      out.append(piece);
    }
    at = next;
  }
  return out;
}

void restore_broken_bytes(std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const char32_t c = utf8_next(text, at);
    if (c >= kBrokenByteBase + 0x80 && c <= kBrokenByteBase + 0xff) {
      out.push_back(static_cast<char>(c - kBrokenByteBase));
    } else {
      out.append(text, begin, at - begin);
    }
  }
  text = std::move(out);
}

// Text that is a string, null, absent, or a list of {"type":"text","text":...}.
Status append_text(const Json& content, std::string_view where, std::string& out) {
  if (content.is_null()) return {};
  if (content.is_string()) {
    out += content.get_ref<const std::string&>();
    return {};
  }
  if (!content.is_array()) return wrong_type(where, "a string", content);
  for (const Json& part : content) {
    if (const Json& text = member(part, "text"); text.is_string()) out += text.get_ref<const std::string&>();
  }
  return {};
}

chat::TokenLogprob logprob_of(const Json& entry) {
  chat::TokenLogprob out;
  if (const Json& id = member(entry, "id"); id.is_number_integer()) out.id = id.get<int32_t>();
  if (const Json& value = member(entry, "logprob"); value.is_number()) out.logprob = value.get<float>();
  if (const Json& bytes = member(entry, "bytes"); bytes.is_array()) {
    for (const Json& byte : bytes) {
      if (byte.is_number_unsigned()) out.bytes.push_back(static_cast<char>(byte.get<unsigned>()));
    }
  } else {
    out.bytes = string_or_empty(member(entry, "token"));
  }
  return out;
}

// logprobs.content of a chat answer. Anything else (the older lists of /v1/completions) is left out.
std::vector<chat::TokenInfo> tokens_of(const Json& logprobs) {
  std::vector<chat::TokenInfo> out;
  const Json& content = member(logprobs, "content");
  if (!content.is_array()) return out;
  for (const Json& entry : content) {
    chat::TokenInfo info;
    info.chosen = logprob_of(entry);
    if (const Json& top = member(entry, "top_logprobs"); top.is_array()) {
      for (const Json& other : top) info.top.push_back(logprob_of(other));
    }
    out.push_back(std::move(info));
  }
  return out;
}

chat::Usage usage_of(const Json& usage) {
  chat::Usage out;
  out.prompt_tokens = count_or_zero(member(usage, "prompt_tokens"));
  out.completion_tokens = count_or_zero(member(usage, "completion_tokens"));
  out.cached_tokens = count_or_zero(member(member(usage, "prompt_tokens_details"), "cached_tokens"));
  return out;
}

bool is_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view w) { return text.find(w) != std::string_view::npos; });
}

// The code for an error object; `status` is HTTP's, or the object's own in a stream, or 0.
ErrorCode code_for(int status, std::string_view names) {
  if (is_any(names, {"context_length", "exceed_context", "context_window"}))
    return ErrorCode::kContextExceeded;
  if (status == 429 || status == 402 || is_any(names, {"rate_limit", "insufficient_quota", "overloaded"})) {
    return ErrorCode::kExhausted;
  }
  if (status == 401 || status == 403 || is_any(names, {"authentication", "permission", "invalid_api_key"})) {
    return ErrorCode::kPermission;
  }
  if (status == 404 || is_any(names, {"not_found"})) return ErrorCode::kNotFound;
  // A Hedge that this request has come by: it is well, and others may be sent to it.
  if (status == 508 || is_any(names, {"loop_detected"})) return ErrorCode::kUnsupported;
  if (status == 408 || status == 409 || status == 425) return ErrorCode::kUnavailable;
  if (status >= 400 && status < 500) return ErrorCode::kInvalidArgument;
  if (status == 0 && is_any(names, {"invalid_request", "BadRequest"})) return ErrorCode::kInvalidArgument;
  return ErrorCode::kUnavailable;
}

// The whole numbers in a sentence, at most four: of a refusal for length they are the lengths.
std::string numbers_in(std::string_view text) {
  std::string out;
  int found = 0;
  for (size_t i = 0; i < text.size() && found < 4;) {
    size_t end = i;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    if (end > i && end - i <= 9) out += (found++ == 0 ? "" : ", ") + std::string(text.substr(i, end - i));
    i = end > i ? end : i + 1;
  }
  return out;
}

// Our error for the endpoint's. `what` names the occasion. Of its words only what looks like a name is kept.
Error error_from(const Json& object, int status, std::string what) {
  const Json& error = member(object, "error").is_null() ? object : member(object, "error");
  const std::string type = string_or_empty(member(error, "type")),
                    param = string_or_empty(member(error, "param"));
  const Json& raw_code = member(error, "code");
  const std::string code =
      raw_code.is_number_integer() ? std::to_string(count_or_zero(raw_code)) : string_or_empty(raw_code);
  if (status == 0) status = raw_code.is_number_integer() ? count_or_zero(raw_code) : 0;
  const std::string message = string_or_empty(member(error, "message"));
  std::string names = type + " " + code;
  if (message.find("maximum context length") != std::string::npos) names += " context_length";

  Error out = make_error(code_for(status, names), std::move(what));
  std::string said;
  for (const std::string& name : {type, code}) {
    if (!safe_identifier(name).empty()) said += (said.empty() ? "" : ", ") + name;
  }
  if (!said.empty()) out.detail += fmt::format(" ({})", said);
  if (out.code == ErrorCode::kInvalidArgument || out.code == ErrorCode::kUnsupported)
    out.field = safe_identifier(param);
  if (out.code == ErrorCode::kContextExceeded) {
    const int prompt = count_or_zero(member(error, "n_prompt_tokens")),
              context = count_or_zero(member(error, "n_ctx"));
    if (prompt > 0 && context > 0) {
      out.detail += fmt::format(": the prompt has {} tokens, the endpoint's context {}", prompt, context);
    } else if (const std::string numbers = numbers_in(message); !numbers.empty()) {
      out.detail += fmt::format(": the lengths it names are {}", numbers);
    }
  }
  return out;
}

// Parts of tool calls in a chunk, or whole ones. Members that are not OpenAI's are kept as the backend's own.
Status read_tool_calls(const Json& list, std::vector<ToolCallPiece>& out) {
  if (list.is_null()) return {};
  if (!list.is_array()) return wrong_type("choices[0].delta.tool_calls", "a list", list);
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& item = list[i];
    if (!item.is_object()) return wrong_type("choices[0].delta.tool_calls[]", "an object", item);
    const Json& function = member(item, "function");
    ToolCallPiece piece;
    const Json& index = member(item, "index");
    piece.index = index.is_number_integer() ? static_cast<size_t>(count_or_zero(index)) : i;
    piece.part.id = string_or_empty(member(item, "id"));
    piece.part.name = string_or_empty(member(function, "name"));
    const Json& arguments = member(function, "arguments");  // some servers write the object itself
    piece.part.arguments = arguments.is_object() ? arguments.dump() : string_or_empty(arguments);
    Json extra = item;
    for (const char* known : {"index", "id", "type", "function"}) extra.erase(known);
    if (!extra.empty()) piece.part.extra = extra.dump(-1, ' ', false, Json::error_handler_t::replace);
    out.push_back(std::move(piece));
  }
  return {};
}

// choices[0] of a chunk ("delta") or of a whole answer ("message"), of chat ("content") or completions
// ("text").
Status read_choice(const Json& choice, Decoded& out) {
  if (!choice.is_object()) return wrong_type("choices[0]", "an object", choice);
  const Json& delta = member(choice, "delta").is_null() ? member(choice, "message") : member(choice, "delta");
  if (!delta.is_null() && !delta.is_object()) return wrong_type("choices[0].delta", "an object", delta);
  HEDGE_TRY(append_text(member(delta, "content"), "choices[0].delta.content", out.text));
  HEDGE_TRY(append_text(member(choice, "text"), "choices[0].text", out.text));
  // A model that declines in words has answered: to ask another one would be to go behind its back.
  out.text += string_or_empty(member(delta, "refusal"));
  out.tokens = tokens_of(member(choice, "logprobs"));
  HEDGE_TRY(read_tool_calls(member(delta, "tool_calls"), out.tool_calls));
  for (const char* silent : {"reasoning_content", "reasoning", "tool_calls"}) {
    const Json& value = member(delta, silent);
    out.progress |=
        !value.is_null() && !value.empty() && !(value.is_string() && string_or_empty(value).empty());
  }
  out.progress |= !out.text.empty();
  const Json& reason = member(choice, "finish_reason");
  if (reason.is_string()) {
    // Every other reason ("stop", "eos") means that the endpoint has no more to say.
    const std::string& word = reason.get_ref<const std::string&>();
    out.finish = word == "length" || word == "max_tokens" ? chat::FinishReason::kLength
                 : word == "content_filter"               ? chat::FinishReason::kContentFilter
                 : word == "tool_calls"                   ? chat::FinishReason::kToolCalls
                                                          : chat::FinishReason::kStop;
  } else if (!reason.is_null()) {
    return wrong_type("choices[0].finish_reason", "a string", reason);
  }
  return {};
}

constexpr size_t kTraceItemsMax = 64;

// What a Hedge says of its own decision. Names alone are taken over: the object comes from outside and goes
// into our trace. Null when it is none, or nested too deep.
std::shared_ptr<const chat::Trace> trace_of(const Json& hedge, int depth) {
  if (!hedge.is_object() || depth >= chat::kTraceDepthMax) return nullptr;
  auto trace = std::make_shared<chat::Trace>();
  const auto name = [](const Json& value) { return std::string(safe_identifier(string_or_empty(value))); };
  trace->id = name(member(hedge, "id"));
  trace->route = name(member(hedge, "route"));
  const std::string path = string_or_empty(member(hedge, "path"));
  for (size_t at = 0; at < path.size();) {
    const size_t end = std::min(path.find(',', at), path.size());
    const std::string_view node = safe_identifier(std::string_view(path).substr(at, end - at));
    trace->path += (at == 0 ? "" : ",") + std::string(node.empty() ? "?" : node);
    at = end + 1;
    if (trace->path.size() > 4096) break;
  }
  if (const Json& reasons = member(hedge, "reasons"); reasons.is_array()) {
    for (const Json& reason : reasons) {
      if (std::string word = name(reason); !word.empty() && trace->reasons.size() < kTraceItemsMax)
        trace->reasons.push_back(std::move(word));
    }
  }
  if (const Json& segments = member(hedge, "segments"); segments.is_array()) {
    for (const Json& segment : segments) {
      if (trace->segments.size() >= kTraceItemsMax) break;
      const std::string backend = name(member(segment, "backend"));
      trace->segments.push_back(
          {backend.empty() ? "?" : backend, static_cast<size_t>(count_or_zero(member(segment, "bytes")))});
    }
  }
  trace->upstream = trace_of(member(hedge, "upstream"), depth + 1);
  return trace;
}

// A chunk or a whole answer.
Result<Decoded> decode_object(std::string_view bytes, const char* what) {
  const bool clean = utf8_valid(bytes);
  const Json object =
      clean ? Json::parse(bytes, nullptr, false) : Json::parse(protect_broken_bytes(bytes), nullptr, false);
  if (object.is_discarded()) {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("{}: expected JSON, got {} bytes that are none", what, bytes.size()));
  }
  if (!object.is_object()) return wrong_type(what, "a JSON object", object);
  const Json& error = member(object, "error");
  const bool is_error = !error.is_null() && error != Json(false) && error != Json("");
  if (is_error || string_or_empty(member(object, "object")) == "error") {
    return error_from(object, 0, "the endpoint sent an error");
  }
  Decoded out;
  out.model = string_or_empty(member(object, "model"));
  out.trace = trace_of(member(object, "hedge"), 0);
  if (member(object, "usage").is_object()) out.usage = usage_of(member(object, "usage"));
  const Json& choices = member(object, "choices");
  if (!choices.is_null() && !choices.is_array()) return wrong_type("choices", "a list", choices);
  if (choices.is_array() && !choices.empty() && count_or_zero(member(choices.front(), "index")) == 0) {
    HEDGE_TRY(read_choice(choices.front(), out));
  }
  if (!clean) restore_broken_bytes(out.text);
  return out;
}

Result<Decoded> decode_event(const SseEvent& event) {
  if (event.data == "[DONE]") {
    Decoded out;
    out.end = true;
    return out;
  }
  if (event.name == "error" || event.name == "response.error") {
    const Json object = Json::parse(event.data, nullptr, false);
    return error_from(object.is_object() ? object : Json::object(), 0,
                      fmt::format("the endpoint sent the event {}", event.name));
  }
  if (event.data.empty()) return Decoded{};
  return decode_object(event.data, "chunk");
}

Result<Decoded> decode_body(std::string_view body) {
  Result<Decoded> out = decode_object(body, "answer");
  if (out.ok()) out->end = true;
  return out;
}

Error classify(const HttpReply& reply) {
  const Json object = Json::parse(reply.body, nullptr, false);
  std::string what = fmt::format("expected status 200, got {}", reply.status);
  if (reply.status >= 300 && reply.status < 400) what += " (redirects are not followed)";
  Error out = error_from(object.is_object() ? object : Json::object(), reply.status, std::move(what));
  if (reply.status < 400) out.code = ErrorCode::kUnavailable;
  if (out.code == ErrorCode::kExhausted || out.code == ErrorCode::kUnavailable)
    out.retry_after_ms = retry_after_ms(reply);
  return out;
}

std::optional<WireOptions> plainer(const WireOptions& sent, const HttpReply& reply) {
  if (reply.status != 400 && reply.status != 422) return std::nullopt;
  if (classify(reply).code == ErrorCode::kContextExceeded) return std::nullopt;
  const std::string_view body = reply.body;
  const auto names = [&](std::string_view word) { return body.find(word) != std::string_view::npos; };
  WireOptions next = sent;
  if (names("continue_final_message") || names("add_generation_prompt")) next.continue_flags = false;
  if (names("stream_options")) next.stream_usage = false;
  if (names("max_completion_tokens")) {
    // "'max_tokens' is not supported, use 'max_completion_tokens'", against "unknown field
    // max_completion_tokens".
    next.token_limit = names("max_tokens") ? TokenLimit::kMaxCompletionTokens : TokenLimit::kMaxTokens;
  }
  if (next == sent) {
    next = {.continue_flags = false,
            .stream_usage = false,
            .token_limit = TokenLimit::kMaxTokens,
            .token_prompts = sent.token_prompts};
  }
  return next == sent ? std::nullopt : std::optional(next);
}

std::string auth_header(std::string_view key) { return fmt::format("Authorization: Bearer {}", key); }

}  // namespace

extern const Dialect openai;
const Dialect openai = {
    .name = "openai",
    .probe_path = "/v1/models",
    .auth_header = auth_header,
    .encode = encode,
    .decode_event = decode_event,
    .decode_body = decode_body,
    .classify = classify,
    .plainer = plainer,
};

}  // namespace hedge::upstream::dialects
