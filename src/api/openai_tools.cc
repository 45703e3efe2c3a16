#include "api/openai_tools.h"

#include <fmt/format.h>

#include "api/call.h"
#include "api/openai_params.h"

namespace hedge::api {
namespace {

// One call of an assistant's message. What is not OpenAI's is the backend's own and goes back to it.
Result<chat::ToolCall> read_tool_call(const Json& json, const std::string& field) {
  if (!json.is_object()) return type_error(field, "an object", json);
  Reader reader(json, field + ".");
  chat::ToolCall call;
  std::string type = "function";
  reader.string("id", call.id);
  reader.string("type", type);
  const Json* function = reader.find("function");
  HEDGE_TRY(reader.status());
  if (type != "function") {
    return make_error(ErrorCode::kUnsupported, field + ".type: only calls of type \"function\" are supported",
                      field + ".type");
  }
  if (function == nullptr || !function->is_object()) {
    return type_error(field + ".function", "an object", function == nullptr ? Json() : *function);
  }
  Reader inner(*function, field + ".function.");
  inner.string("name", call.name);
  inner.string("arguments", call.arguments);
  HEDGE_TRY(inner.status());
  if (call.id.empty() || call.name.empty()) {
    const std::string which = field + (call.id.empty() ? ".id" : ".function.name");
    return make_error(ErrorCode::kInvalidArgument, which + ": required", which);
  }
  Json extra = json;
  for (const char* known : {"id", "type", "function", "index"}) extra.erase(known);
  if (!extra.empty()) call.extra = dump(extra);
  return call;
}

}  // namespace

Status read_tool_calls(Reader& reader, chat::Message& message) {
  const Json* list = find_of_type(reader, "tool_calls", "a");
  if (list == nullptr || list->empty()) return {};
  const std::string field = reader.field("tool_calls");
  if (message.role != chat::Role::kAssistant) {
    return make_error(ErrorCode::kInvalidArgument, field + ": expected the role assistant, got another",
                      field);
  }
  if (list->size() > kToolsMax) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{}: expected at most {}, got {}", field, kToolsMax, list->size()), field);
  }
  for (size_t i = 0; i < list->size(); ++i) {
    HEDGE_TRY_SET(chat::ToolCall call, read_tool_call((*list)[i], fmt::format("{}[{}]", field, i)));
    message.tool_calls.push_back(std::move(call));
  }
  return {};
}

void read_tools(Reader& reader, chat::Request& request) {
  const Json* tools = find_of_type(reader, "tools", "a");
  const Json* choice = find_of_type(reader, "tool_choice", "so");
  bool parallel = true;
  if (reader.boolean("parallel_tool_calls", parallel)) request.parallel_tool_calls = parallel;
  const bool has_tools = tools != nullptr && !tools->empty();
  if (has_tools && tools->size() > kToolsMax) {
    reader.fail(make_error(ErrorCode::kInvalidArgument,
                           fmt::format("tools: expected at most {}, got {}", kToolsMax, tools->size()),
                           "tools"));
    return;
  }
  for (size_t i = 0; has_tools && i < tools->size(); ++i) {
    const Json& tool = (*tools)[i];
    const std::string field = fmt::format("tools[{}]", i);
    const auto function = tool.is_object() ? tool.find("function") : tool.end();
    const bool named = tool.is_object() && tool.value("type", Json()) == "function" &&
                       function != tool.end() && function->is_object() && function->contains("name") &&
                       (*function)["name"].is_string();
    if (!named) {
      reader.fail(make_error(ErrorCode::kInvalidArgument,
                             field + ": expected {\"type\":\"function\",\"function\":{\"name\":...}}",
                             field));
      return;
    }
  }
  if (choice != nullptr && choice->is_string() && *choice != "none" && *choice != "auto" &&
      *choice != "required") {
    reader.fail(
        make_error(ErrorCode::kInvalidArgument,
                   "tool_choice: expected \"none\", \"auto\", \"required\" or an object, got another string",
                   "tool_choice"));
    return;
  }
  if (!has_tools && choice != nullptr && *choice != "none" && *choice != "auto") {
    reader.fail(make_error(ErrorCode::kInvalidArgument,
                           "tool_choice: expected tools to choose from, got none", "tool_choice"));
    return;
  }
  if (!has_tools) return;
  request.tools = dump(*tools);
  if (choice != nullptr) request.tool_choice = dump(*choice);
}

OrderedJson tool_calls_json(const std::vector<chat::ToolCall>& calls, bool numbered) {
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    OrderedJson call = OrderedJson::object();
    if (numbered) call["index"] = i;
    call["id"] = calls[i].id;
    call["type"] = "function";
    call["function"] = {{"name", calls[i].name}, {"arguments", calls[i].arguments}};
    OrderedJson extra = OrderedJson::parse(calls[i].extra, nullptr, false);
    if (extra.is_object()) {
      for (const auto& [name, value] : extra.items()) {
        if (!call.contains(name)) call[name] = value;
      }
    }
    list.push_back(std::move(call));
  }
  return list;
}

}  // namespace hedge::api
