#include "api/openai_params.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/openai_tools.h"
#include "api/session_id.h"

namespace hedge::api {
namespace {

// A field that nothing here reads, with the types that OpenAI or whoever invented it gives it: b(oolean),
// n(umber), s(tring), a(rray), o(bject).
struct Ignored {
  const char* name;
  const char* types;
};
// Fields that change nothing: who asks, where it is kept, what it may cost, how fast it comes.
constexpr Ignored kIgnored[] = {
    {"user", "s"},
    {"safety_identifier", "s"},
    {"metadata", "o"},
    {"store", "b"},
    {"service_tier", "s"},
    {"prompt_cache_key", "s"},
    {"prompt_cache_retention", "s"},
    {"parallel_tool_calls", "b"},
    {"prediction", "o"},
    {"reasoning_effort", "s"},
    {"verbosity", "s"},
};

// Fields that would change the answer, each with the values under which it does not.
struct Unsupported {
  const char* name;
  const char* types;    // as above
  const char* neutral;  // a JSON array
};
constexpr Unsupported kUnsupported[] = {
    {"tools", "a", "[[]]"},
    {"tool_choice", "so", R"(["none","auto"])"},
    {"functions", "a", "[[]]"},
    {"function_call", "so", R"(["none","auto"])"},
    {"response_format", "o", R"([{"type":"text"}])"},
    {"logit_bias", "oa", "[{},[]]"},  // llama-server takes a list, too
    {"modalities", "a", R"([["text"],[]])"},
    {"audio", "o", "[]"},
    {"web_search_options", "o", "[]"},
    {"suffix", "s", R"([""])"},
    {"best_of", "n", "[1]"},
    // Extensions of llama-server and vLLM.
    {"grammar", "s", R"([""])"},
    {"json_schema", "o", "[{}]"},
    {"guided_json", "so", "[]"},
    {"guided_regex", "s", R"([""])"},
    {"guided_choice", "a", "[[]]"},
    {"guided_grammar", "s", R"([""])"},
    {"structured_outputs", "o", "[{}]"},
    {"chat_template", "s", R"([""])"},
    {"chat_template_kwargs", "o", "[{}]"},
    {"documents", "a", "[[]]"},
    {"use_beam_search", "b", "[false]"},
    {"min_tokens", "n", "[0]"},
    {"allowed_token_ids", "a", "[]"},
    {"bad_words", "a", "[[]]"},
    {"typical_p", "n", "[1]"},
    {"mirostat", "n", "[0]"},
    {"xtc_probability", "n", "[0]"},
    {"dry_multiplier", "n", "[0]"},
    {"dynatemp_range", "n", "[0]"},
    {"samplers", "as", "[]"},
    {"lora", "a", "[[]]"},
    {"prompt_logprobs", "n", "[0]"},
    {"n_probs", "n", "[0]"},
};

char type_letter(const Json& value) {
  if (value.is_boolean()) return 'b';
  if (value.is_number()) return 'n';
  if (value.is_string()) return 's';
  return value.is_array() ? 'a' : 'o';
}

// "a string or an object" of "so".
std::string type_names(std::string_view types) {
  std::string out;
  for (const char letter : types) {
    if (!out.empty()) out += " or ";
    out += letter == 'b'   ? "a boolean"
           : letter == 'n' ? "a number"
           : letter == 's' ? "a string"
           : letter == 'a' ? "an array"
                           : "an object";
  }
  return out;
}

}  // namespace

const Json* find_of_type(Reader& reader, const char* name, std::string_view types) {
  const Json* value = reader.ok() ? reader.find(name) : nullptr;
  if (value == nullptr || types.find(type_letter(*value)) != std::string_view::npos) return value;
  reader.fail(type_error(reader.field(name), type_names(types), *value));
  return nullptr;
}

namespace {

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
  bool ignored = false;  // Padding against eavesdroppers; this server adds none.
  inner.boolean("include_obfuscation", ignored);
  if (!inner.ok()) reader.fail(inner.status().error());
}

void read_tags(Reader& inner, std::vector<std::string>& tags) {
  const Json* list = inner.find("tags");
  if (list == nullptr) return;
  if (!list->is_array()) return inner.fail(type_error("hedge.tags", "an array of names", *list));
  for (const Json& item : *list) {
    if (!item.is_string()) return inner.fail(type_error("hedge.tags", "an array of names", item));
    tags.push_back(item.get<std::string>());
  }
  if (const Status valid = check_tags(tags, "hedge.tags"); !valid.ok()) inner.fail(valid.error());
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
  inner.only({"route", "session", "private", "escalate_after", "tags"});
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
  read_tags(inner, routing.tags);
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
    if (!text.empty()) text += '\n';  // As llama-server joins them.
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
  reader.string("tool_call_id", out.tool_call_id);
  reader.string("refusal", ignored);
  HEDGE_TRY(read_tool_calls(reader, out));
  constexpr Ignored kCalls[] = {{"function_call", "o"}, {"audio", "o"}};
  for (const Ignored& call : kCalls) {
    const Json* value = find_of_type(reader, call.name, call.types);
    if (value == nullptr || value->empty()) continue;
    reader.fail(make_error(ErrorCode::kUnsupported, path + call.name + ": not supported", path + call.name));
  }
  HEDGE_TRY(reader.status());
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
  if (!request.messages.back().tool_calls.empty()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "messages: expected the results of the last message's tool calls, got none",
                      "messages");
  }
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
    request.messages.pop_back();  // None may be left: some templates take that, as llama-server does.
  }
  return {};
}

}  // namespace

Status check_tags(std::span<const std::string> tags, const std::string& field) {
  const auto wrong = [&](const std::string& expected) {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("{}: expected {}", field, expected), field);
  };
  if (tags.size() > kTagsMax) return wrong(fmt::format("at most {} names, got {}", kTagsMax, tags.size()));
  for (size_t i = 0; i < tags.size(); ++i) {
    const std::string& tag = tags[i];
    const bool valid =
        !tag.empty() && tag.size() <= kTagBytesMax && std::all_of(tag.begin(), tag.end(), [](char c) {
          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 std::string_view("._:-").find(c) != std::string_view::npos;
        });
    if (!valid)
      return wrong(fmt::format(
          "names of 1 to {} letters, digits, '.', '_', ':' or '-'; number {} is none, of {} bytes",
          kTagBytesMax, i + 1, tag.size()));
  }
  return {};
}

void reject_unsupported(Reader& reader, bool takes_tools) {
  const auto is_read = [&](std::string_view name) {
    return takes_tools && (name == "tools" || name == "tool_choice" || name == "parallel_tool_calls");
  };
  for (const Ignored& ignored : kIgnored) {
    if (!is_read(ignored.name)) find_of_type(reader, ignored.name, ignored.types);
  }
  for (const Unsupported& unsupported : kUnsupported) {
    if (is_read(unsupported.name)) continue;
    const Json* value = find_of_type(reader, unsupported.name, unsupported.types);
    if (value == nullptr) continue;
    const Json neutral = Json::parse(unsupported.neutral);
    if (std::find(neutral.begin(), neutral.end(), *value) != neutral.end()) continue;
    std::string except;
    for (const Json& item : neutral) except += (except.empty() ? ", except " : " or ") + item.dump();
    reader.fail(make_error(ErrorCode::kUnsupported,
                           fmt::format("{}: not supported{}", unsupported.name, except), unsupported.name));
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
      call.requests.back().choices = call.choices_per_prompt;
      auto& seed = call.requests.back().sampling.seed;
      if (seed) *seed += static_cast<uint64_t>(choice);
    }
  }
}

}  // namespace hedge::api
