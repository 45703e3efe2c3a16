// Request bodies of every wire form: any bytes give a call within its limits or a 4xx that says why; and
// whatever text an answer has, what is sent is UTF-8.
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/dialect.h"
#include "api/llama_server_api.h"
#include "base/check.h"
#include "base/utf8.h"

namespace {

using namespace hedge;

void check_error(const Error& error) {
  HEDGE_CHECK(!error.detail.empty());
  const api::ApiError told = api::to_api_error(error);
  HEDGE_CHECK(told.status >= 400 && told.status < 500);
  HEDGE_CHECK(utf8_valid(api::error_body(told)));
}

void check_request(const chat::Request& request) {
  HEDGE_CHECK(request.raw || !request.messages.empty());
  for (const chat::Message& message : request.messages) HEDGE_CHECK(utf8_valid(message.content));
  HEDGE_CHECK(utf8_valid(request.prompt) && utf8_valid(request.assistant_prefix));
  for (const int32_t token : request.prompt_tokens) HEDGE_CHECK(token >= 0);
  HEDGE_CHECK(request.max_tokens == -1 || request.max_tokens >= 1);
  HEDGE_CHECK(request.stop.size() <= api::kStopsMax);
  HEDGE_CHECK(request.top_logprobs >= -1 && request.top_logprobs <= api::kTopLogprobsMax);
  HEDGE_CHECK(request.routing.session.size() <= api::kSessionBytesMax);
  HEDGE_CHECK(std::isfinite(request.sampling.temperature) && request.sampling.temperature >= 0);
  HEDGE_CHECK(request.sampling.top_k >= 0);
}

// One answer per request, whose text is the fuzzer's bytes.
void check_answer(const api::Dialect& dialect, const api::Call& call, std::string_view bytes) {
  const auto formatter = dialect.make_formatter(call, {"hd-1", "model", 1700000000});
  std::string sent;
  for (size_t i = 0; i < call.requests.size(); ++i) {
    chat::TokenInfo token;
    token.chosen.bytes = bytes;
    token.chosen.logprob = -1;
    token.top = {token.chosen};
    sent += formatter->add(i, chat::Started{"local", "model", 1, 0});
    sent += formatter->add(i, chat::Delta{std::string(bytes), {token}});
    sent += formatter->add(i, chat::Switched{"local", "cloud", "confidence.mid"});
    HEDGE_CHECK(!formatter->complete());
    sent += formatter->add(i, chat::Done{});
  }
  HEDGE_CHECK(formatter->complete());
  HEDGE_CHECK(sent.empty() != call.stream);
  HEDGE_CHECK(utf8_valid(call.stream ? sent : formatter->body()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const api::Dialect* dialect : api::dialects()) {
    const auto call = dialect->parse(body);
    if (!call.ok()) {
      check_error(call.error());
      continue;
    }
    HEDGE_CHECK(!call->requests.empty() && call->requests.size() <= api::kAnswersMax);
    HEDGE_CHECK(call->choices_per_prompt >= 1 && call->choices_per_prompt <= api::kChoicesMax);
    for (const chat::Request& request : call->requests) check_request(request);
    check_answer(*dialect, *call, body.substr(body.size() / 2));
  }
  const auto tokenize = api::parse_tokenize(body);
  if (!tokenize.ok()) check_error(tokenize.error());
  const auto detokenize = api::parse_detokenize(body);
  if (!detokenize.ok()) check_error(detokenize.error());
  const auto conversation = api::parse_apply_template(body);
  if (!conversation.ok()) check_error(conversation.error());
  return 0;
}
