#include "text/prompt.h"

#include <gtest/gtest.h>

#include "chat/stop_filter.h"
#include "gguf/writer.h"
#include "text/chat_template.h"

namespace hedge::text {
namespace {

using chat::Message;
using chat::Role;

// Has a BOS and an EOS with names; nothing else is asked of it.
class NamesOnlyTokenizer : public Tokenizer {
 public:
  NamesOnlyTokenizer() {
    bos_ = 0;
    eos_ = 1;
  }
  std::vector<TokenId> encode(std::string_view, EncodeOptions) const override { return {}; }
  std::string with_controls_marked(std::string_view text, std::string_view) const override {
    return std::string(text);
  }
  std::string_view token_bytes(TokenId, bool) const override { return {}; }
  int vocab_size() const override { return 2; }
  TokenType type(TokenId) const override { return TokenType::kControl; }
  std::string_view token_name(TokenId id) const override { return id == 0 ? "<s>" : "</s>"; }
};

class PromptTest : public testing::Test {
 protected:
  // A file with this chat template, or without one.
  Result<std::unique_ptr<PromptFormat>> load(const char* chat_template) {
    gguf::Writer writer;
    writer.add_string("general.architecture", "llama");
    if (chat_template != nullptr) writer.add_string("tokenizer.chat_template", chat_template);
    bytes_ = writer.to_bytes();
    file_ = gguf::File::parse(bytes_).value();
    return PromptFormat::load(*file_, tokenizer_);
  }

  const NamesOnlyTokenizer tokenizer_;
  std::vector<uint8_t> bytes_;
  std::unique_ptr<gguf::File> file_;
};

constexpr char kChatml[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe nice.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

TEST_F(PromptTest, TemplateEndsInTheGenerationPromptAndThePrefix) {
  const auto format = load(kChatml).value();
  EXPECT_TRUE(format->has_template());
  EXPECT_FALSE(format->strip_leading_space());
  EXPECT_FALSE(format->renders_bos());
  EXPECT_EQ(format->template_source(), kChatml);
  EXPECT_TRUE(format->stops().empty());
  const std::string prompt =
      "<|im_start|>system\nBe nice.<|im_end|>\n<|im_start|>user\nHé<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(format->render({{Role::kUser, "Hé", ""}}, "").value(), prompt);
  for (const char* prefix : {"The capital of", " The ", "x\n", "\n"}) {
    EXPECT_EQ(format->render({{Role::kUser, "Hé", ""}}, prefix).value(), prompt + prefix);
  }
}

TEST_F(PromptTest, TellsWhetherTheTemplateWritesBos) {
  EXPECT_TRUE(load("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}").value()->renders_bos());
  EXPECT_FALSE(load("{{ messages[0].content }}").value()->renders_bos());
  // One that wants a system message first is asked with one.
  EXPECT_TRUE(
      load("{% if messages[0].role != 'system' %}{{ raise_exception('no') }}{% endif %}{{ bos_token }}")
          .value()
          ->renders_bos());
}

TEST_F(PromptTest, TemplateThatRefusesGivesItsOwnWords) {
  const auto format = load(
                          "{% if messages[0].role == 'system' %}{{ raise_exception('System role not "
                          "supported') }}{% endif %}")
                          .value();
  const auto refused = format->render({{Role::kSystem, "x", ""}}, "");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused.error().detail, "System role not supported");
  EXPECT_EQ(refused.error().field, "messages");
}

TEST_F(PromptTest, BrokenTemplateIsAnErrorAndNoFallback) {
  const auto broken = load("{% if %}");
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().code, ErrorCode::kInvalidArgument);
  const auto unsupported = load("{% include 'a' %}");
  ASSERT_FALSE(unsupported.ok());
  EXPECT_EQ(unsupported.error().code, ErrorCode::kUnsupported);
  EXPECT_FALSE(load("\xff").ok());
}

TEST_F(PromptTest, TranscriptForABaseModel) {
  const auto format = load(nullptr).value();
  EXPECT_FALSE(format->has_template());
  EXPECT_TRUE(format->strip_leading_space());
  EXPECT_FALSE(format->renders_bos());
  EXPECT_EQ(format->template_source(), "");
  EXPECT_EQ(format->render({{Role::kUser, " Hi \n", ""}}, "").value(), "User: Hi\nAssistant:");
  const std::vector<Message> messages = {{Role::kSystem, "Answer briefly.", ""},
                                         {Role::kUser, "One", ""},
                                         {Role::kAssistant, "Two ", ""},
                                         {Role::kTool, "3", "adder"},
                                         {Role::kUser, "", ""}};
  const std::string prompt = "Answer briefly.\n\nUser: One\nAssistant: Two \nTool: 3\nUser:\nAssistant:";
  EXPECT_EQ(format->render(messages, "").value(), prompt);
  EXPECT_EQ(format->render(messages, "The capital").value(), prompt + " The capital");
  EXPECT_EQ(format->render(messages, "x \n").value(), prompt + " x \n");
  EXPECT_EQ(format->render({}, "").value(), "Assistant:");
}

TEST_F(PromptTest, TranscriptStopsAtTheNextTurn) {
  const auto format = load(nullptr).value();
  for (const char* next :
       {"\nUser: more", "\n\nUser: more", "\nAssistant: more", "\nSystem: x", "\n\nTool: y"}) {
    chat::StopFilter filter(format->stops());
    std::string text;
    for (const char c : std::string(" Paris.\nReally.") + next) text += filter.push(std::string(1, c));
    EXPECT_TRUE(filter.stopped());
    EXPECT_EQ(text, " Paris.\nReally.");
  }
}

TEST(ChatTemplateTest, GivesNamesAndTokensToTheTemplate) {
  const auto parsed = ChatTemplate::parse(
      "{{ bos_token }}{% for m in messages %}[{{ m.role }}|{{ m.name or '-' }}|{{ m.content }}]{% endfor "
      "%}{{ eos_token }}"
      "{{ tools is none }}{{ add_generation_prompt }}");
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_text();
  TemplateInput input;
  input.messages = {{Role::kUser, "a", "ann"}, {Role::kTool, "b", ""}};
  input.add_generation_prompt = false;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  EXPECT_EQ((*parsed)->render(input).value(), "<s>[user|ann|a][tool|-|b]</s>TrueFalse");
}

}  // namespace
}  // namespace hedge::text
