#include "upstream/continuation.h"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

namespace hedge::upstream {
namespace {

using Json = nlohmann::json;

// Room for a repeated start and the next number.
constexpr int kTestTokensMax = 32;

constexpr const char* kInstruction =
    "Your last message was cut off. Write the rest of it: begin with the very next word after its last one, "
    "as if "
    "you had not been interrupted. Do not repeat anything that stands there already, do not start over, and "
    "add no "
    "comment.";

constexpr std::array<const char*, 4> kNames = {"prefix", "tokens", "raw", "instruct"};

Json conversation_json(bool with_start) {
  Json messages = Json::array();
  for (const chat::Message& message : test_conversation())
    messages.push_back({{"role", chat::to_string(message.role)}, {"content", message.content}});
  if (with_start) messages.push_back({{"role", "assistant"}, {"content", test_start()}});
  return messages;
}

const Json* find(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

// The text of choices[0]; none where there is none.
std::optional<std::string> answer_text(const Json& reply) {
  const Json* choices = find(reply, "choices");
  if (choices == nullptr || !choices->is_array() || choices->empty()) return std::nullopt;
  const Json& choice = choices->front();
  const Json* text = find(choice, "text");
  if (text == nullptr) {
    const Json* message = find(choice, "message");
    text = message == nullptr ? nullptr : find(*message, "content");
  }
  if (text == nullptr || !text->is_string()) return std::nullopt;
  return text->get<std::string>();
}

chat::Request test_request() {
  chat::Request request;
  request.messages = test_conversation();
  request.assistant_prefix = test_start();
  return request;
}

std::vector<int32_t> ids_of(const Json& reply) {
  std::vector<int32_t> out;
  const Json* tokens = find(reply, "tokens");
  if (tokens == nullptr || !tokens->is_array()) return out;
  for (const Json& id : *tokens) {
    if (!id.is_number_integer()) return {};
    out.push_back(id.get<int32_t>());
  }
  return out;
}

}  // namespace

std::optional<Continuation> parse_continuation(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Continuation>(found - kNames.begin());
}

const char* to_string(Continuation how) { return kNames[static_cast<size_t>(how)]; }

std::vector<chat::Message> test_conversation() {
  return {{chat::Role::kSystem, "You count.", ""},
          {chat::Role::kUser, "Count from one to twelve in words, separated by commas.", ""}};
}

std::string_view test_start() { return "My count, as asked: one, two, three, four, five, six, seven,"; }

bool goes_on(std::string_view answer) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const auto trim = [&] { answer.remove_prefix(std::min(answer.find_first_not_of(kSpaces), answer.size())); };
  trim();
  // A new turn would say the same words; whoever repeats the start goes on in the same way, and either is
  // right.
  if (answer.starts_with(test_start())) answer.remove_prefix(test_start().size());
  trim();
  std::string word;
  for (const char c : answer.substr(0, 5))
    word += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return word == "eight" || word.starts_with("8");
}

std::optional<chat::Request> in_manner(Continuation how, const chat::Request& request,
                                       const Renderer& renderer) {
  chat::Request out = request;
  switch (how) {
    case Continuation::kPrefix:
      return out;
    case Continuation::kTokens:
    case Continuation::kRaw: {
      if (!renderer || request.top_logprobs >= 0) return std::nullopt;
      const std::optional<Rendered> rendered = renderer(request);
      if (!rendered) return std::nullopt;
      out.raw = true;
      out.messages.clear();
      if (how == Continuation::kTokens) {
        if (rendered->ids_with_start.empty()) return std::nullopt;
        out.prompt_tokens = rendered->ids_with_start;
      } else {
        if (rendered->text.empty()) return std::nullopt;
        out.prompt = rendered->text + request.assistant_prefix;
      }
      out.assistant_prefix.clear();
      return out;
    }
    case Continuation::kInstruct: {
      std::string start = turn_start(request);
      if (!out.messages.empty() && out.messages.back().role == chat::Role::kAssistant)
        out.messages.pop_back();
      out.messages.push_back({chat::Role::kAssistant, std::move(start), ""});
      out.messages.push_back({chat::Role::kUser, kInstruction, ""});
      out.assistant_prefix.clear();
      return out;
    }
  }
  return std::nullopt;
}

Detector::Detector(std::string model, const Renderer& renderer)
    : model_(std::move(model)),
      local_(renderer ? renderer(test_request()) : std::nullopt),
      step_(local_ ? Step::kTemplateIds : Step::kFlags) {}

std::optional<HttpRequest> Detector::next() const {
  Json body = {{"model", model_}};
  const auto answer_to = [&](const char* path) {
    body["max_tokens"] = kTestTokensMax;
    body["temperature"] = 0;
    return HttpRequest{path, body.dump()};
  };
  switch (step_) {
    case Step::kTemplateIds:  // vLLM: the ids of a conversation
      body["messages"] = conversation_json(false);
      body["add_generation_prompt"] = true;
      return HttpRequest{"/tokenize", body.dump()};
    case Step::kTemplateText:  // llama-server, Hedge: the text of one ...
      body["messages"] = conversation_json(false);
      return HttpRequest{"/apply-template", body.dump()};
    case Step::kTextIds:  // ... and the ids of a text
      body["content"] = local_->text;
      body["add_special"] = local_->add_special;
      body["parse_special"] = true;
      return HttpRequest{"/tokenize", body.dump()};
    case Step::kTokens:
      body["prompt"] = local_->ids_with_start;
      return answer_to("/v1/completions");
    case Step::kFlags:
      body["messages"] = conversation_json(true);
      body["continue_final_message"] = true;
      body["add_generation_prompt"] = false;
      return answer_to("/v1/chat/completions");
    case Step::kPlain:
      body["messages"] = conversation_json(true);
      return answer_to("/v1/chat/completions");
    case Step::kRaw:
      body["prompt"] = local_->text + std::string(test_start());
      return answer_to("/v1/completions");
    case Step::kDone:
      return std::nullopt;
  }
  return std::nullopt;
}

void Detector::take(int status, std::string_view body) {
  const bool ok = status >= 200 && status < 300;
  const Json reply = ok ? Json::parse(body, nullptr, false) : Json();
  const std::optional<std::string> text = answer_text(reply);
  answered_ |= text.has_value();
  switch (step_) {
    case Step::kTemplateIds:
      if (status == 0) {  // nobody is there; the request itself will find out why
        step_ = Step::kDone;
      } else if (ids_of(reply) == local_->ids) {
        same_text_ = true;
        step_ = Step::kTokens;
      } else {
        step_ = Step::kTemplateText;
      }
      return;
    case Step::kTemplateText: {
      const Json* prompt = find(reply, "prompt");
      same_text_ = prompt != nullptr && prompt->is_string() && prompt->get<std::string>() == local_->text;
      step_ = same_text_ ? Step::kTextIds : Step::kFlags;
      return;
    }
    case Step::kTextIds:
      step_ = ids_of(reply) == local_->ids ? Step::kTokens : Step::kFlags;
      return;
    case Step::kTokens:
      // Another Hedge could neither judge token ids nor pass them on: messages are better there.
      if (text && goes_on(*text) && find(reply, "hedge") == nullptr)
        return finish(Continuation::kTokens, true);
      step_ = Step::kFlags;
      return;
    case Step::kFlags:
      if (text && goes_on(*text)) return finish(Continuation::kPrefix, true);
      // A refusal of the flags; an answer that did not go on will not do so without them either, except where
      // they are what confused it.
      step_ = status == 0 ? Step::kDone : Step::kPlain;
      return;
    case Step::kPlain:
      if (text && goes_on(*text)) return finish(Continuation::kPrefix, false);
      if (!answered_) {
        step_ = Step::kDone;
      } else if (same_text_) {
        step_ = Step::kRaw;
      } else {
        finish(Continuation::kInstruct, false);
      }
      return;
    case Step::kRaw:
      finish(text && goes_on(*text) ? Continuation::kRaw : Continuation::kInstruct, false);
      return;
    case Step::kDone:
      return;
  }
}

void Detector::finish(Continuation how, bool continue_flags) {
  step_ = Step::kDone;
  found_ = Found{how, continue_flags};
}

}  // namespace hedge::upstream
