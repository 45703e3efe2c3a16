// The chat template engine on any template, over conversations with all that a context can hold. Whatever
// comes in, a render ends within its limits, and twice gives the same.
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "text/jinja.h"

namespace {

using namespace hedge;
using text::jinja::Limits;
using text::jinja::Template;
using text::jinja::Value;

Value message(std::string_view role, Value content) {
  return Value::dict({{"role", Value::string(role)}, {"content", std::move(content)}});
}

Value plain_context() {
  return Value::dict({
      {"messages",
       Value::list({message("system", Value::string("Be brief.")),
                    message("user", Value::string(" Grüße 日本 👍\n<think>a</think> ")),
                    message("assistant", Value::string("")), message("user", Value::string("x"))})},
      {"tools", Value::none()},
      {"documents", Value::none()},
      {"add_generation_prompt", Value::boolean(true)},
      {"bos_token", Value::string("<s>")},
      {"eos_token", Value::string("</s>")},
  });
}

Value tools_context() {
  const Value schema = Value::dict({
      {"type", Value::string("object")},
      {"properties", Value::dict({{"city", Value::dict({{"type", Value::string("string")}})},
                                  {"days", Value::dict({{"type", Value::string("integer")},
                                                        {"minimum", Value::integer(1)}})}})},
      {"required", Value::list({Value::string("city")})},
  });
  const Value function = Value::dict({{"name", Value::string("weather")},
                                      {"description", Value::string("It's \"w\"")},
                                      {"parameters", schema}});
  const Value arguments =
      Value::dict({{"city", Value::string("Paris")}, {"days", Value::real(1.5)}, {"none", Value::none()}});
  const Value call = Value::dict(
      {{"id", Value::string("c1")},
       {"type", Value::string("function")},
       {"function", Value::dict({{"name", Value::string("weather")}, {"arguments", arguments}})}});
  const Value parts =
      Value::list({Value::dict({{"type", Value::string("text")}, {"text", Value::string("hi")}})});
  return Value::dict({
      {"messages", Value::list({message("user", parts),
                                Value::dict({{"role", Value::string("assistant")},
                                             {"content", Value::none()},
                                             {"tool_calls", Value::list({call})}}),
                                message("tool", Value::string("{\"t\": 21}"))})},
      {"tools", Value::list({Value::dict({{"type", Value::string("function")}, {"function", function}})})},
      {"add_generation_prompt", Value::boolean(false)},
      {"bos_token", Value::string("")},
      {"eos_token", Value::string("")},
      {"enable_thinking", Value::boolean(false)},
  });
}

// Smaller than the product's, so that one input takes milliseconds.
Limits fuzz_limits() {
  Limits limits;
  limits.steps = 200'000;
  limits.output_bytes = size_t{256} << 10;
  limits.string_bytes = size_t{256} << 10;
  limits.live_bytes = size_t{4} << 20;
  return limits;
}

void render_twice(const Template& parsed, const Value& context) {
  const std::tm time{};
  const auto first = parsed.render(context, time, fuzz_limits());
  const auto second = parsed.render(context, time, fuzz_limits());
  HEDGE_CHECK(first.ok() == second.ok());
  if (!first.ok()) {
    HEDGE_CHECK(!first.error().detail.empty());
    HEDGE_CHECK(first.error().to_text() == second.error().to_text());
    return;
  }
  HEDGE_CHECK(*first == *second);
  HEDGE_CHECK(first->size() <= fuzz_limits().output_bytes);
  HEDGE_CHECK(utf8_valid(*first));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  if (!utf8_valid(source)) return 0;  // refused before the engine sees it
  const auto parsed = Template::parse(source);
  if (!parsed.ok()) {
    HEDGE_CHECK(!parsed.error().detail.empty());
    return 0;
  }
  static const Value plain = plain_context(), tools = tools_context();
  render_twice(*parsed, plain);
  render_twice(*parsed, tools);
  return 0;
}
