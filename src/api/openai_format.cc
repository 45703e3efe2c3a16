#include "api/openai_format.h"

#include <algorithm>

#include "api/hedge_json.h"
#include "api/json_reader.h"
#include "api/json_text.h"
#include "api/logprobs.h"
#include "api/openai_tools.h"
#include "base/utf8.h"

namespace hedge::api {
namespace {

constexpr std::string_view kDone = "data: [DONE]\n\n";

// The segment of an echoed prompt. No upstream may be called so.
constexpr const char* kPromptSegment = "prompt";

struct Choice {
  std::string echo;  // the prompt, where the text begins with it
  std::string text;  // only when the call does not stream
  LogprobQueue logprobs;
  OrderedJson logprobs_whole;  // only when the call does not stream
  chat::FinishReason reason = chat::FinishReason::kStop;
  std::vector<chat::ToolCall> tool_calls;  // only when the call does not stream
  chat::Usage usage;
  chat::Trace trace;    // segments counted here until the router's own trace comes with Done
  std::string backend;  // who writes now
  bool done = false;
};

OrderedJson usage_json(const chat::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

// llama-server's extra object, which its users read speeds from.
OrderedJson timings_json(const chat::Usage& usage) {
  const auto per_second = [](int tokens, double ms) { return ms > 0 ? tokens * 1000.0 / ms : 0.0; };
  const int evaluated = std::max(0, usage.prompt_tokens - usage.cached_tokens);
  OrderedJson timings{{"cache_n", usage.cached_tokens},
                      {"prompt_n", evaluated},
                      {"prompt_ms", usage.prefill_ms},
                      {"prompt_per_second", per_second(evaluated, usage.prefill_ms)},
                      {"predicted_n", usage.completion_tokens},
                      {"predicted_ms", usage.decode_ms},
                      {"predicted_per_second", per_second(usage.completion_tokens, usage.decode_ms)}};
  if (usage.draft_tokens > 0) {
    timings["draft_n"] = usage.draft_tokens;
    timings["draft_n_accepted"] = usage.draft_tokens_accepted;
  }
  return timings;
}

class OpenAiFormatter final : public Formatter {
 public:
  OpenAiFormatter(OpenAiShape shape, const Call& call, const AnswerHead& head)
      : shape_(shape),
        stream_(call.stream),
        include_usage_(call.include_usage),
        choices_per_prompt_(static_cast<size_t>(call.choices_per_prompt)),
        head_(head),
        choices_(call.requests.size()),
        open_(call.requests.size()) {
    for (size_t i = 0; i < choices_.size(); ++i) {
      const chat::Request& request = call.requests[i];
      choices_[i].logprobs = LogprobQueue(request.top_logprobs);
      choices_[i].trace.id = head.id;
      choices_[i].trace.session = request.routing.session;
      choices_[i].trace.route = "local";
      // Made whole at once: what is counted and what is sent must be the same bytes.
      if (i < call.echo_texts.size()) choices_[i].echo = utf8_sanitize(call.echo_texts[i]);
      if (!stream_) choices_[i].text = choices_[i].echo;
    }
    chunk_head_ = "data: {\"id\":";
    append_json_string(chunk_head_, response_id());
    chunk_head_ += shape_ == OpenAiShape::kChat ? R"(,"object":"chat.completion.chunk","created":)"
                                                : R"(,"object":"text_completion","created":)";
    chunk_head_ += std::to_string(head_.created_s) + ",\"model\":";
    append_json_string(chunk_head_, head_.model);
    chunk_head_ += ",\"choices\":[";
  }

  std::string add(size_t index, const chat::Event& event) override {
    HEDGE_CHECK(index < choices_.size() && !choices_[index].done);
    return std::visit([&](const auto& value) { return on(index, value); }, event);
  }

  bool complete() const override { return open_ == 0; }

  std::string body() override {
    OrderedJson choices = OrderedJson::array();
    for (size_t i = 0; i < choices_.size(); ++i) choices.push_back(whole_choice(i));
    OrderedJson out = {{"id", response_id()},
                       {"object", shape_ == OpenAiShape::kChat ? "chat.completion" : "text_completion"},
                       {"created", head_.created_s},
                       {"model", head_.model},
                       {"choices", std::move(choices)}};
    add_totals(out, true);
    return dump(out);
  }

  std::string stream_error(const ApiError& error) override {
    return "data: " + error_body(error) + "\n\n" + std::string(kDone);
  }

 private:
  std::string response_id() const {
    return (shape_ == OpenAiShape::kChat ? "chatcmpl-" : "cmpl-") + head_.id;
  }

  std::string on(size_t index, const chat::Started& started) {
    choices_[index].backend = started.backend;
    if (!stream_) return {};
    std::string out;
    const std::string& echo = choices_[index].echo;
    if (!echo.empty()) out = comment(kPromptSegment, {}, {}) + text_chunk(index, echo, "null");
    out += comment(started.backend, {}, {});
    if (shape_ == OpenAiShape::kChat) {
      out += chunk(index, R"({"role":"assistant","content":""})", "null", "null", {});
    }
    return out;
  }

  std::string on(size_t index, const chat::Switched& switched) {
    choices_[index].backend = switched.to;
    return stream_ ? comment(switched.to, switched.from, switched.reason) : std::string();
  }

  std::string on(size_t index, const chat::Delta& delta) {
    Choice& choice = choices_[index];
    chat::append_segment(choice.trace.segments, choice.backend, delta.text.size());
    choice.logprobs.push(delta);
    if (!stream_) {
      choice.text += delta.text;
      return {};
    }
    if (delta.text.empty()) return {};
    const auto ready = choice.logprobs.take();
    return text_chunk(index, delta.text, logprobs_text(index, ready));
  }

  std::string on(size_t index, const chat::Done& done) {
    Choice& choice = choices_[index];
    choice.done = true;
    choice.reason = done.reason;
    choice.usage = done.usage;
    if (!stream_) choice.tool_calls = done.tool_calls;
    if (done.trace) choice.trace = *done.trace;
    // The trace knows what was generated; the segments told here add up to the whole text.
    if (!choice.echo.empty()) {
      choice.trace.segments.insert(choice.trace.segments.begin(), {kPromptSegment, choice.echo.size()});
    }
    --open_;
    const auto rest = choice.logprobs.take();
    if (!stream_) {
      choice.logprobs_whole = logprobs_json(choice, rest);
      return {};
    }
    // The hedge object stands in the very last chunk: this one, unless one with the usage follows.
    OrderedJson extra = OrderedJson::object();
    if (complete() && !include_usage_) add_totals(extra, false);
    const std::string reason = std::string("\"") + chat::to_string(done.reason) + "\"";
    const std::string delta = shape_ == OpenAiShape::kChat ? "{}" : "\"\"";
    std::string out;
    if (!done.tool_calls.empty()) {
      out = chunk(index, dump({{"tool_calls", tool_calls_json(done.tool_calls, true)}}), "null", "null", {});
    }
    out += chunk(index, delta, rest.empty() ? "null" : logprobs_text(index, rest), reason, extra);
    if (!complete()) return out;
    if (include_usage_) {
      OrderedJson last = OrderedJson::object();
      add_totals(last, true);
      out += chunk_head_ + "]," + dump(last).substr(1) + "\n\n";
    }
    out += kDone;
    return out;
  }

  // Usage over all answers, and what happened to the first one; with several, each choice carries its own
  // trace too.
  void add_totals(OrderedJson& out, bool with_usage) const {
    if (with_usage) {
      chat::Usage total;
      for (size_t i = 0; i < choices_.size(); ++i) {
        const chat::Usage& usage = choices_[i].usage;
        total.completion_tokens += usage.completion_tokens;
        if (i % choices_per_prompt_ != 0) continue;  // The choices of one prompt share its tokens.
        total.prompt_tokens += usage.prompt_tokens;
        total.cached_tokens += usage.cached_tokens;
      }
      out["usage"] = usage_json(total);
      if (choices_.size() == 1) out["timings"] = timings_json(choices_.front().usage);
    }
    out["hedge"] = hedge_object(choices_.front().trace);
  }

  OrderedJson whole_choice(size_t index) const {
    const Choice& choice = choices_[index];
    OrderedJson out = {{"index", index}};
    if (shape_ == OpenAiShape::kChat) {
      out["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
      if (!choice.tool_calls.empty()) {
        if (choice.text.empty()) out["message"]["content"] = nullptr;
        out["message"]["tool_calls"] = tool_calls_json(choice.tool_calls, false);
      }
    } else {
      out["text"] = choice.text;
    }
    out["logprobs"] = choice.logprobs_whole;
    out["finish_reason"] = chat::to_string(choice.reason);
    if (choices_.size() > 1) out["hedge"] = hedge_object(choice.trace);
    return out;
  }

  // One stream chunk of one choice. `delta` (or the text), `logprobs` and `reason` are JSON.
  std::string chunk(size_t index, std::string_view delta, std::string_view logprobs, std::string_view reason,
                    const OrderedJson& extra) const {
    std::string out = chunk_head_;
    out += "{\"index\":" + std::to_string(index);
    out += shape_ == OpenAiShape::kChat ? ",\"delta\":" : ",\"text\":";
    out += delta;
    out += ",\"logprobs\":";
    out += logprobs;
    out += ",\"finish_reason\":";
    out += reason;
    if (choices_.size() > 1 && reason != "null")
      out += ",\"hedge\":" + dump(hedge_object(choices_[index].trace));
    out += "}]";
    if (include_usage_) out += ",\"usage\":null";
    if (!extra.empty()) out += "," + dump(extra).substr(1, std::string::npos);
    if (extra.empty()) out += "}";
    out += "\n\n";
    return out;
  }

  std::string text_chunk(size_t index, std::string_view text, std::string_view logprobs) const {
    std::string delta;
    if (shape_ == OpenAiShape::kChat) {
      delta = "{\"content\":";
      append_json_string(delta, text);
      delta += "}";
    } else {
      append_json_string(delta, text);
    }
    return chunk(index, delta, logprobs, "null", OrderedJson::object());
  }

  OrderedJson logprobs_json(Choice& choice, const std::vector<PlacedToken>& tokens) {
    if (!choice.logprobs.wanted()) return nullptr;
    if (shape_ == OpenAiShape::kChat) return chat_logprobs(tokens, choice.logprobs.top());
    return text_logprobs(tokens, choice.logprobs.top());
  }

  std::string logprobs_text(size_t index, const std::vector<PlacedToken>& tokens) {
    if (!choices_[index].logprobs.wanted()) return "null";
    return dump(logprobs_json(choices_[index], tokens));
  }

  // Who writes, as it happens, for people who watch a stream: a comment, which clients of server-sent events
  // skip.
  static std::string comment(std::string_view backend, std::string_view from, std::string_view reason) {
    std::string out = ": hedge {\"backend\":";
    append_json_string(out, backend);
    if (!from.empty()) {
      out += ",\"from\":";
      append_json_string(out, from);
      out += ",\"reason\":";
      append_json_string(out, reason);
    }
    return out + "}\n\n";
  }

  const OpenAiShape shape_;
  const bool stream_;
  const bool include_usage_;
  const size_t choices_per_prompt_;
  const AnswerHead head_;
  std::string chunk_head_;
  std::vector<Choice> choices_;
  size_t open_;  // answers without Done
};

}  // namespace

std::unique_ptr<Formatter> make_openai_formatter(OpenAiShape shape, const Call& call,
                                                 const AnswerHead& head) {
  return std::make_unique<OpenAiFormatter>(shape, call, head);
}

}  // namespace hedge::api
