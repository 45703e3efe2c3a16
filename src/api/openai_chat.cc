// OpenAI's /v1/chat/completions.
#include "api/dialect.h"
#include "api/openai_format.h"
#include "api/openai_params.h"
#include "api/openai_tools.h"

namespace hedge::api {
namespace {

void read_logprobs(Reader& reader, chat::Request& request) {
  bool wanted = false;
  int top = -1;
  reader.boolean("logprobs", wanted);
  reader.integer("top_logprobs", top, 0, kTopLogprobsMax);
  if (wanted) {
    request.top_logprobs = top < 0 ? 0 : top;
  } else if (top > 0) {
    reader.fail(make_error(ErrorCode::kInvalidArgument, "top_logprobs: expected logprobs to be true",
                           "top_logprobs"));
  }
}

Result<Call> parse(std::string_view body) {
  HEDGE_TRY_SET(const Json json, parse_object(body));
  Reader reader(json);
  Call call;
  chat::Request request;
  read_common(reader, call, request);
  read_logprobs(reader, request);
  read_tools(reader, request);
  reject_unsupported(reader, /*takes_tools=*/true);
  read_conversation(json, reader, request);
  HEDGE_TRY(reader.status());
  expand_choices(call, {request});
  return call;
}

std::unique_ptr<Formatter> make_formatter(const Call& call, const AnswerHead& head) {
  return make_openai_formatter(OpenAiShape::kChat, call, head);
}

}  // namespace

const Dialect kOpenAiChat = {
    .path = "/v1/chat/completions",
    .stream_content_type = "text/event-stream",
    .keep_alive = ": ping\n\n",
    .parse = parse,
    .make_formatter = make_formatter,
    .error_body = error_body,
};

}  // namespace hedge::api
