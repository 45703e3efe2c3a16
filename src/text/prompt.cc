#include "text/prompt.h"

#include <algorithm>

#include "text/chat_template.h"

namespace hedge::text {

namespace {

class TemplateFormat final : public PromptFormat {
 public:
  TemplateFormat(std::unique_ptr<ChatTemplate> chat_template, const Tokenizer& tokenizer)
      : template_(std::move(chat_template)) {
    if (tokenizer.bos() >= 0) bos_ = tokenizer.token_name(tokenizer.bos());
    if (tokenizer.eos() >= 0) eos_ = tokenizer.token_name(tokenizer.eos());
    renders_bos_ = probe_bos();
  }

  Result<std::string> render(const std::vector<chat::Message>& messages,
                             std::string_view assistant_prefix) const override {
    Result<std::string> text = template_->render({messages, true, bos_, eos_});
    if (!text.ok()) {
      Error error = std::move(text).error();
      if (error.code == ErrorCode::kInvalidArgument) error.field = "messages";
      return error;
    }
    return std::move(text).value().append(assistant_prefix);
  }

  const std::vector<std::string>& stops() const override { return stops_; }
  bool renders_bos() const override { return renders_bos_; }
  bool has_template() const override { return true; }
  std::string_view template_source() const override { return template_->source(); }

 private:
  // A template either writes BOS itself or leaves it to the tokenizer; rendering the smallest conversation
  // that it accepts tells which.
  bool probe_bos() const {
    if (bos_.empty()) return false;
    const chat::Message system{chat::Role::kSystem, "x", ""};
    const chat::Message user{chat::Role::kUser, "x", ""};
    for (const auto& messages :
         {std::vector<chat::Message>{user}, std::vector<chat::Message>{system, user}}) {
      const Result<std::string> text = template_->render({messages, true, bos_, eos_});
      if (text.ok()) return text->starts_with(bos_);
    }
    return false;
  }

  const std::unique_ptr<ChatTemplate> template_;
  std::string bos_;
  std::string eos_;
  bool renders_bos_ = false;
  const std::vector<std::string> stops_;
};

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// A base model has read many dialogues written as lines of "Name: text", and goes on with the next line.
class TranscriptFormat final : public PromptFormat {
 public:
  Result<std::string> render(const std::vector<chat::Message>& messages,
                             std::string_view assistant_prefix) const override {
    std::string text;
    for (const chat::Message& message : messages) {
      switch (message.role) {
        case chat::Role::kSystem:  // the first is a paragraph of its own, what the dialogue stands under
          text += text.empty() ? "" : "System: ";
          text += trim(message.content);
          text += text.empty() ? "" : "\n\n";
          break;
        case chat::Role::kUser:
          append_turn(text, "User:", trim(message.content));
          break;
        case chat::Role::kAssistant:  // as it was generated, so that the KV cache of its tokens stays valid
          append_turn(text, "Assistant:", message.content);
          break;
        case chat::Role::kTool:
          append_turn(text, "Tool:", trim(message.content));
          break;
      }
    }
    text += "Assistant:";
    if (!assistant_prefix.empty()) (text += ' ') += assistant_prefix;
    return text;
  }

  const std::vector<std::string>& stops() const override { return stops_; }
  bool renders_bos() const override { return false; }
  bool has_template() const override { return false; }
  std::string_view template_source() const override { return {}; }

 private:
  static void append_turn(std::string& text, std::string_view name, std::string_view content) {
    text += name;
    if (!content.empty()) (text += ' ') += content;
    text += '\n';
  }

  // The blank line before a turn is part of the stop where the model writes one, so that it is not sent.
  const std::vector<std::string> stops_ = {"\n\nUser:",   "\nUser:",   "\n\nAssistant:", "\nAssistant:",
                                           "\n\nSystem:", "\nSystem:", "\n\nTool:",      "\nTool:"};
};

}  // namespace

namespace {

// Of Unicode's noncharacters, which no text means anything by, one that stands in none of the texts.
std::string unused_mark(const std::vector<chat::Message>& messages, std::string_view prefix) {
  std::string mark = "\uFDD0";
  const auto used = [&](std::string_view text) { return text.find(mark) != std::string_view::npos; };
  const auto used_anywhere = [&] {
    return used(prefix) || std::any_of(messages.begin(), messages.end(), [&](const chat::Message& message) {
             return used(message.content) || used(message.name);
           });
  };
  // Whoever writes all 32 of them loses the last one.
  for (int i = 1; i < 32 && used_anywhere(); ++i) ++mark.back();
  return mark;
}

}  // namespace

Result<std::vector<TokenId>> PromptFormat::encode(const Tokenizer& tokenizer,
                                                  const std::vector<chat::Message>& messages,
                                                  std::string_view assistant_prefix) const {
  const std::string mark = unused_mark(messages, assistant_prefix);
  std::vector<chat::Message> marked = messages;
  for (chat::Message& message : marked) {
    message.content = tokenizer.with_controls_marked(message.content, mark);
    message.name = tokenizer.with_controls_marked(message.name, mark);
  }
  HEDGE_TRY_SET(const std::string text,
                render(marked, tokenizer.with_controls_marked(assistant_prefix, mark)));
  return tokenizer.encode(text, {!renders_bos(), true, mark});
}

Result<std::unique_ptr<PromptFormat>> PromptFormat::load(const gguf::File& file, const Tokenizer& tokenizer) {
  HEDGE_TRY_SET(const std::string_view source, file.get_string_or("tokenizer.chat_template", ""));
  if (source.empty()) return std::unique_ptr<PromptFormat>(std::make_unique<TranscriptFormat>());
  HEDGE_TRY_SET(std::unique_ptr<ChatTemplate> parsed, ChatTemplate::parse(std::string(source)));
  return std::unique_ptr<PromptFormat>(std::make_unique<TemplateFormat>(std::move(parsed), tokenizer));
}

}  // namespace hedge::text
