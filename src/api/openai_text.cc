// OpenAI's /v1/completions: raw prompts, no template.
#include <fmt/format.h>

#include "api/dialect.h"
#include "api/openai_format.h"
#include "api/openai_params.h"

namespace hedge::api {
namespace {

constexpr const char* kPromptForms = "a string, an array of token ids, or an array of these";

Result<chat::Request> read_prompt(const Json& prompt, const std::string& field, const chat::Request& base) {
  chat::Request request = base;
  request.raw = true;
  if (prompt.is_string()) {
    request.prompt = prompt.get<std::string>();
    return request;
  }
  if (!prompt.is_array()) return type_error(field, kPromptForms, prompt);
  HEDGE_TRY_SET(request.prompt_tokens, read_tokens(prompt, field, kJsonValuesMax));
  return request;
}

Result<std::vector<chat::Request>> read_prompts(const Json& body, const chat::Request& base) {
  const auto found = body.find("prompt");
  if (found == body.end()) return make_error(ErrorCode::kInvalidArgument, "prompt: required", "prompt");
  const bool many = found->is_array() && !found->empty() && !found->front().is_number();
  if (!many) {
    if (found->is_array() && found->empty()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "prompt: expected at least one token id or prompt, got none", "prompt");
    }
    HEDGE_TRY_SET(chat::Request request, read_prompt(*found, "prompt", base));
    return std::vector<chat::Request>{std::move(request)};
  }
  if (found->size() > kPromptsMax) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("prompt: expected at most {} prompts, got {}", kPromptsMax, found->size()),
                      "prompt");
  }
  std::vector<chat::Request> requests;
  for (size_t i = 0; i < found->size(); ++i) {
    HEDGE_TRY_SET(chat::Request request, read_prompt((*found)[i], fmt::format("prompt[{}]", i), base));
    requests.push_back(std::move(request));
  }
  return requests;
}

Result<Call> parse(std::string_view body) {
  HEDGE_TRY_SET(const Json json, parse_object(body));
  Reader reader(json);
  Call call;
  chat::Request base;
  read_common(reader, call, base);
  reader.integer("logprobs", base.top_logprobs, 0, kTopLogprobsMax);
  reader.boolean("echo", call.echo);
  reject_unsupported(reader, /*takes_tools=*/false);
  HEDGE_TRY(reader.status());
  if (call.echo && base.top_logprobs >= 0) {
    return make_error(ErrorCode::kUnsupported, "echo: not supported together with logprobs", "echo");
  }
  HEDGE_TRY_SET(std::vector<chat::Request> prompts, read_prompts(json, base));
  const size_t answers = prompts.size() * static_cast<size_t>(call.choices_per_prompt);
  if (answers > kAnswersMax) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("n: expected prompts times n to be at most {}, got {}", kAnswersMax, answers), "n");
  }
  expand_choices(call, std::move(prompts));
  if (call.echo) {
    for (const chat::Request& request : call.requests) call.echo_texts.push_back(request.prompt);
  }
  return call;
}

std::unique_ptr<Formatter> make_formatter(const Call& call, const AnswerHead& head) {
  return make_openai_formatter(OpenAiShape::kText, call, head);
}

}  // namespace

const Dialect kOpenAiText = {
    .path = "/v1/completions",
    .stream_content_type = "text/event-stream",
    .keep_alive = ": ping\n\n",
    .parse = parse,
    .make_formatter = make_formatter,
    .error_body = error_body,
};

}  // namespace hedge::api
