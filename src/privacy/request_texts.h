// The one list of what a request is made of. Each field is named here, and what it means for the gate: a
// field that is added to chat::Request does not compile here until somebody has said whether it leaves. What
// a tool is called with is a text of Field::kTool.
#pragma once

#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include "base/json_strings.h"
#include "chat/request.h"
#include "privacy/policy.h"

namespace hedge::privacy {

inline Field field_of(chat::Role role) {
  switch (role) {
    case chat::Role::kSystem:
      return Field::kSystem;
    case chat::Role::kUser:
      return Field::kUser;
    case chat::Role::kAssistant:
      return Field::kAssistant;
    case chat::Role::kTool:
      return Field::kTool;
  }
  return Field::kUser;
}

// What JSON hides behind escapes, of which no placeholder could take the place.
template <typename Visit>
void each_escaped(std::string_view json, Visit visit) {
  if (json.find('\\') == std::string_view::npos) return;
  for (const std::string& text : json_strings(json)) visit(std::string_view(text));
}

// Calls `text(Field, std::string&)` for every text that leaves and may be masked, in the order of a
// conversation, and `rigid(std::string_view, Rigid)` for those that leave as they are. `Request` is
// chat::Request or const chat::Request.
template <typename Request, typename Text, typename Fixed>
void each_text(Request& request, Text text, Fixed rigid) {
  auto& [id, model, messages, prompt, prompt_tokens, raw, tools, tool_choice, parallel_tool_calls,
         assistant_prefix, assistant_prefix_tokens, heal_prefix, sampling, max_tokens, stop, ignore_eos,
         want_confidence, states_every, top_logprobs, choices, routing, way] = request;
  // Stay here: ids and the model's name as the client said it (an upstream is asked for its own), how it is
  // to be answered here, and what it says of its routing (session, tags, tenant).
  (void)id, (void)model, (void)raw, (void)heal_prefix, (void)want_confidence, (void)states_every,
      (void)choices, (void)routing;
  // Leave as small numbers or flags.
  (void)max_tokens, (void)ignore_eos, (void)top_logprobs, (void)parallel_tool_calls;
  // Token ids cannot be judged: a prompt of them stays here, and those of the prefix are its text, which is
  // judged; they are dropped where it is masked.
  (void)prompt_tokens, (void)assistant_prefix_tokens;
  const auto set = [&](std::string_view said) { rigid(said, Rigid::kSet); };
  for (auto& message : messages) {
    auto& [role, content, name, tool_calls, tool_call_id] = message;
    text(field_of(role), content);
    text(Field::kName, name);
    set(std::string_view(tool_call_id));
    for (auto& call : tool_calls) {
      // What a tool is called with may be masked, as the model that called it saw it. Ids, names and a
      // backend's own state mean nothing when they are changed.
      auto& [call_id, function, arguments, extra] = call;
      set(std::string_view(call_id));
      set(std::string_view(function));
      text(Field::kTool, arguments);
      // Of a text of JSON all strings are read; what is none may still be read by its escapes.
      if (!is_json_text(arguments))
        each_escaped(arguments, [&](std::string_view said) { rigid(said, Rigid::kSaid); });
      set(std::string_view(extra));
      each_escaped(extra, set);
    }
  }
  text(Field::kUser, prompt);
  text(Field::kAssistant, assistant_prefix);
  for (auto& one : stop) text(Field::kStop, one);
  // Definitions of tools are the program's: they leave as they are or not at all.
  for (const std::string* json : {&tools, &tool_choice}) {
    set(std::string_view(*json));
    each_escaped(*json, set);
  }
  // A number of any length, and a header that other Hedges read.
  if (sampling.seed) {
    std::array<char, 20> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), *sampling.seed).ptr;
    set(std::string_view(digits.data(), static_cast<size_t>(end - digits.data())));
  }
  set(std::string_view(way.path));
}

}  // namespace hedge::privacy
