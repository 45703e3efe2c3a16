#include "text/chat_template.h"

#include <ctime>

#include "base/clock.h"
#include "base/utf8.h"
#include "text/jinja.h"

namespace hedge::text {

namespace {

using jinja::Value;

std::tm local_time_now() {
  const auto seconds = static_cast<std::time_t>(unix_time_ms() / 1000);
  std::tm time{};
  localtime_r(&seconds, &time);
  return time;
}

Value message_value(const chat::Message& message) {
  std::vector<std::pair<std::string, Value>> entries = {
      {"role", Value::string(chat::to_string(message.role))},
      {"content", Value::string(message.content)},
  };
  if (!message.name.empty()) entries.emplace_back("name", Value::string(message.name));
  if (!message.tool_call_id.empty()) {
    entries.emplace_back("tool_call_id", Value::string(message.tool_call_id));
  }
  if (!message.tool_calls.empty()) {
    std::vector<Value> calls;
    for (const chat::ToolCall& call : message.tool_calls) {
      const Value function =
          Value::dict({{"name", Value::string(call.name)}, {"arguments", Value::string(call.arguments)}});
      calls.push_back(Value::dict(
          {{"id", Value::string(call.id)}, {"type", Value::string("function")}, {"function", function}}));
    }
    entries.emplace_back("tool_calls", Value::list(std::move(calls)));
  }
  return Value::dict(std::move(entries));
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(std::string source, jinja::Template parsed)
      : source_(std::move(source)), template_(std::move(parsed)) {}

  Result<std::string> render(const TemplateInput& input) const override {
    std::vector<Value> messages;
    messages.reserve(input.messages.size());
    for (const chat::Message& message : input.messages) messages.push_back(message_value(message));
    // Tools and documents are passed as none, as transformers does, so that templates may compare them.
    const Value context = Value::dict({
        {"messages", Value::list(std::move(messages))},
        {"tools", Value::none()},
        {"documents", Value::none()},
        {"add_generation_prompt", Value::boolean(input.add_generation_prompt)},
        {"bos_token", Value::string(input.bos_token)},
        {"eos_token", Value::string(input.eos_token)},
    });
    return template_.render(context, local_time_now());
  }

  const std::string& source() const override { return source_; }

 private:
  const std::string source_;
  const jinja::Template template_;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string source) {
  if (!utf8_valid(source)) return make_error(ErrorCode::kInvalidArgument, "chat template is not valid UTF-8");
  HEDGE_TRY_SET(jinja::Template parsed, jinja::Template::parse(source));
  return std::unique_ptr<ChatTemplate>(new JinjaChatTemplate(std::move(source), std::move(parsed)));
}

}  // namespace hedge::text
