#include "api/openai_params.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/session_id.h"

namespace hedge::api {
namespace {

// Fields that would change the answer, each with the values under which it does not.
struct Unsupported {
  const char* name;
  const char* neutral;  // a JSON array
};
constexpr Unsupported kUnsupported[] = {
    {"tools", "[[]]"},
    {"tool_choice", R"(["none","auto"])"},
    {"functions", "[[]]"},
    {"function_call", R"(["none","auto"])"},
    {"response_format", R"([{"type":"text"}])"},
    {"logit_bias", "[{},[]]"},
    {"modalities", R"([["text"],[]])"},
    {"audio", "[]"},
    {"web_search_options", "[]"},
    {"suffix", R"([""])"},
    {"best_of", "[1]"},
    // Extensions of llama-server and vLLM.
    {"grammar", R"([""])"},
    {"json_schema", "[{}]"},
    {"guided_json", "[]"},
    {"guided_regex", R"([""])"},
    {"guided_choice", "[[]]"},
    {"guided_grammar", R"([""])"},
    {"structured_outputs", "[{}]"},
    {"chat_template", R"([""])"},
    {"chat_template_kwargs", "[{}]"},
    {"documents", "[[]]"},
    {"use_beam_search", "[false]"},
    {"min_tokens", "[0]"},
    {"allowed_token_ids", "[]"},
    {"bad_words", "[[]]"},
    {"typical_p", "[1,1.0]"},
    {"mirostat", "[0]"},
    {"xtc_probability", "[0,0.0]"},
    {"dry_multiplier", "[0,0.0]"},
    {"dynatemp_range", "[0,0.0]"},
    {"samplers", "[]"},
    {"lora", "[[]]"},
    {"prompt_logprobs", "[0]"},
    {"n_probs", "[0]"},
};

void read_sampling(Reader& reader, chat::Sampling& sampling) {
  sampling.temperature_set = reader.number("temperature", sampling.temperature, 0, 100);
  sampling.top_p_set = reader.number("top_p", sampling.top_p, 0, 1);
  reader.integer("top_k", sampling.top_k, -1, kTokensMax);
  if (sampling.top_k < 0) sampling.top_k = 0;  // vLLM's "off" is -1.
  reader.number("min_p", sampling.min_p, 0, 1);
  reader.number("repetition_penalty", sampling.repeat_penalty, 0.01, 100);
  reader.number("repeat_penalty", sampling.repeat_penalty, 0.01, 100);
  reader.integer("repeat_last_n", sampling.repeat_last_n, 0, kTokensMax);
  reader.number("presence_penalty", sampling.presence_penalty, -2, 2);
  reader.number("frequency_penalty", sampling.frequency_penalty, -2, 2);
  int64_t seed = -1;
  reader.integer64("seed", seed);
  if (seed != -1) sampling.seed = static_cast<uint64_t>(seed);  // -1 is llama-server's "a fresh one".
}

void read_max_tokens(Reader& reader, chat::Request& request) {
  for (const char* name : {"n_predict", "max_tokens", "max_completion_tokens"}) {
    int count = -1;
    reader.integer(name, count, -1, kTokensMax);
    if (count == 0) {
      reader.fail(make_error(ErrorCode::kInvalidArgument,
                             fmt::format("{}: expected at least 1 (or -1 for no limit), got 0", name), name));
    }
    if (count > 0) request.max_tokens = count;
  }
}

void add_stop(Reader& reader, const std::string& field, const Json& value, std::vector<std::string>& stops) {
  if (!value.is_string()) {
    reader.fail(type_error(field, "a string", value));
    return;
  }
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() > kStopBytesMax) {
    reader.fail(make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected at most {} bytes, got {}", field, kStopBytesMax, text.size()), field));
    return;
  }
  if (!text.empty()) stops.push_back(text);
}

void read_stop(Reader& reader, std::vector<std::string>& stops) {
  const Json* stop = reader.find("stop");
  if (stop == nullptr) return;
  if (stop->is_string()) {
    add_stop(reader, "stop", *stop, stops);
  } else if (stop->is_array()) {
    if (stop->size() > kStopsMax) {
      reader.fail(make_error(
          ErrorCode::kInvalidArgument,
          fmt::format("stop: expected at most {} strings, got {}", kStopsMax, stop->size()), "stop"));
      return;
    }
    for (size_t i = 0; i < stop->size(); ++i) add_stop(reader, fmt::format("stop[{}]", i), (*stop)[i], stops);
  } else {
    reader.fail(type_error("stop", "a string or an array of strings", *stop));
  }
}

void read_stream(Reader& reader, Call& call) {
  reader.boolean("stream", call.stream);
  const Json* options = reader.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) {
    reader.fail(type_error("stream_options", "an object", *options));
    return;
  }
  Reader inner(*options, "stream_options.");
  inner.boolean("include_usage", call.include_usage);
  if (!inner.ok()) reader.fail(inner.status().error());
}

void read_routing(Reader& reader, chat::Routing& routing) {
  const Json* hedge = reader.find("hedge");
  if (hedge == nullptr) return;
  if (!hedge->is_object()) {
    reader.fail(type_error("hedge", "an object", *hedge));
    return;
  }
  Reader inner(*hedge, "hedge.");
  // A misspelt "private" that is ignored would send a private prompt away, so nothing unknown is ignored
  // here.
  inner.only({"route", "session", "private", "escalate_after"});
  std::string route = "auto";
  inner.string("route", route);
  if (route == "local") {
    routing.route = chat::Route::kLocal;
  } else if (route == "upstream") {
    routing.route = chat::Route::kUpstream;
  } else if (route != "auto") {
    inner.fail(make_error(ErrorCode::kInvalidArgument,
                          "hedge.route: expected \"auto\", \"local\" or \"upstream\", got another string",
                          "hedge.route"));
  }
  if (inner.string("session", routing.session)) {
    const Status valid = check_session_id(routing.session, "hedge.session");
    if (!valid.ok()) inner.fail(valid.error());
  }
  inner.boolean("private", routing.private_session);
  int after = -1;
  inner.integer("escalate_after", after, 0, kTokensMax);
  if (after >= 0) routing.escalate_after = after;
  if (!inner.ok()) reader.fail(inner.status().error());
}

Result<std::string> read_content(const Json& content, const std::string& field) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return type_error(field, "a string or an array of parts", content);
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string part_field = fmt::format("{}[{}]", field, i);
    const Json& part = content[i];
    if (!part.is_object()) return type_error(part_field, "an object", part);
    Reader reader(part, part_field + ".");
    std::string type;
    const bool has_type = reader.string("type", type);
    HEDGE_TRY(reader.status());
    if (!has_type)
      return make_error(ErrorCode::kInvalidArgument, part_field + ".type: required", part_field + ".type");
    if (type != "text") {
      return make_error(ErrorCode::kUnsupported,
                        part_field + ".type: only parts of type \"text\" are supported",
                        part_field + ".type");
    }
    std::string piece;
    const bool has_text = reader.string("text", piece);
    HEDGE_TRY(reader.status());
    if (!has_text)
      return make_error(ErrorCode::kInvalidArgument, part_field + ".text: required", part_field + ".text");
    if (i > 0) text += "\n\n";  // As llama-server joins them.
    text += piece;
  }
  return text;
}

Result<chat::Role> read_role(const Json& message, const std::string& path) {
  Reader reader(message, path);
  std::string role;
  const bool present = reader.string("role", role);
  HEDGE_TRY(reader.status());
  if (!present) return make_error(ErrorCode::kInvalidArgument, path + "role: required", path + "role");
  if (role == "system" || role == "developer") return chat::Role::kSystem;
  if (role == "user") return chat::Role::kUser;
  if (role == "assistant") return chat::Role::kAssistant;
  if (role == "tool") return chat::Role::kTool;
  return make_error(
      ErrorCode::kInvalidArgument,
      path + "role: expected one of system, developer, user, assistant, tool, got another string",
      path + "role");
}

Result<chat::Message> read_message(const Json& message, const std::string& field) {
  if (!message.is_object()) return type_error(field, "an object", message);
  const std::string path = field + ".";
  HEDGE_TRY_SET(const chat::Role role, read_role(message, path));
  chat::Message out;
  out.role = role;
  Reader reader(message, path);
  reader.string("name", out.name);
  std::string ignored;
  reader.string("tool_call_id", ignored);
  HEDGE_TRY(reader.status());
  for (const char* name : {"tool_calls", "function_call", "audio"}) {
    const Json* value = reader.find(name);
    if (value != nullptr && !value->empty()) {
      return make_error(ErrorCode::kUnsupported, path + name + ": not supported", path + name);
    }
  }
  const Json* content = reader.find("content");
  if (content == nullptr) {
    // The SDKs send back an empty answer as null.
    if (role == chat::Role::kAssistant) return out;
    return make_error(ErrorCode::kInvalidArgument,
                      path + "content: expected a string or an array of parts, got " +
                          (message.contains("content") ? "null" : "nothing"),
                      path + "content");
  }
  HEDGE_TRY_SET(out.content, read_content(*content, path + "content"));
  return out;
}

// What the two flags of vLLM and llama-server make of a conversation's end.
Status continue_last(const Json& body, chat::Request& request) {
  Reader reader(body);
  bool continue_final = true;
  bool generation_prompt = true;
  const bool says_continue = reader.boolean("continue_final_message", continue_final);
  const bool says_generation = reader.boolean("add_generation_prompt", generation_prompt);
  HEDGE_TRY(reader.status());
  const bool assistant_last = request.messages.back().role == chat::Role::kAssistant;
  if (says_continue && continue_final && says_generation && generation_prompt) {
    return make_error(ErrorCode::kInvalidArgument,
                      "continue_final_message: true contradicts add_generation_prompt: true",
                      "continue_final_message");
  }
  if (says_continue && continue_final && !assistant_last) {
    return make_error(ErrorCode::kInvalidArgument,
                      "continue_final_message: expected the last message to be the assistant's",
                      "continue_final_message");
  }
  if (!generation_prompt && (!assistant_last || !continue_final)) {
    return make_error(
        ErrorCode::kUnsupported,
        "add_generation_prompt: false is supported only to continue a last message of the assistant",
        "add_generation_prompt");
  }
  if (assistant_last && continue_final) {
    request.assistant_prefix = std::move(request.messages.back().content);
    request.messages.pop_back();
    if (request.messages.empty()) {
      return make_error(ErrorCode::kInvalidArgument, "messages: expected a message before the assistant's",
                        "messages");
    }
  }
  return {};
}

}  // namespace

void reject_unsupported(Reader& reader) {
  for (const Unsupported& unsupported : kUnsupported) {
    const Json* value = reader.ok() ? reader.find(unsupported.name) : nullptr;
    if (value == nullptr) continue;
    const Json neutral = Json::parse(unsupported.neutral);
    if (std::find(neutral.begin(), neutral.end(), *value) != neutral.end()) continue;
    reader.fail(make_error(ErrorCode::kUnsupported,
                           fmt::format("{}: not supported, got {}", unsupported.name, type_name(*value)),
                           unsupported.name));
  }
}

void read_common(Reader& reader, Call& call, chat::Request& request) {
  reader.string("model", request.model);
  read_sampling(reader, request.sampling);
  read_max_tokens(reader, request);
  read_stop(reader, request.stop);
  read_stream(reader, call);
  reader.integer("n", call.choices_per_prompt, 1, kChoicesMax);
  reader.boolean("ignore_eos", request.ignore_eos);
  read_routing(reader, request.routing);
}

void read_conversation(const Json& body, Reader& reader, chat::Request& request) {
  if (!reader.ok()) return;
  const auto found = body.find("messages");
  if (found == body.end()) {
    reader.fail(make_error(ErrorCode::kInvalidArgument, "messages: required", "messages"));
    return;
  }
  if (!found->is_array()) {
    reader.fail(type_error("messages", "an array", *found));
    return;
  }
  if (found->empty() || found->size() > kMessagesMax) {
    reader.fail(make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("messages: expected from 1 to {} messages, got {}", kMessagesMax, found->size()),
        "messages"));
    return;
  }
  for (size_t i = 0; i < found->size(); ++i) {
    auto message = read_message((*found)[i], fmt::format("messages[{}]", i));
    if (!message.ok()) {
      reader.fail(std::move(message).error());
      return;
    }
    request.messages.push_back(std::move(message).value());
  }
  const Status continued = continue_last(body, request);
  if (!continued.ok()) reader.fail(continued.error());
}

void expand_choices(Call& call, std::vector<chat::Request> prompts) {
  for (const chat::Request& prompt : prompts) {
    for (int choice = 0; choice < call.choices_per_prompt; ++choice) {
      call.requests.push_back(prompt);
      auto& seed = call.requests.back().sampling.seed;
      if (seed) *seed += static_cast<uint64_t>(choice);
    }
  }
}

}  // namespace hedge::api
