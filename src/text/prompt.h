// From a conversation to the one prompt text that the model continues, by the file's chat template, or, for a
// base model without one, as a plain transcript that is stopped at the next turn. Immutable after load;
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "gguf/file.h"
#include "text/tokenizer.h"

namespace hedge::text {

class PromptFormat {
 public:
  // A template in the file that cannot be parsed is an error, not a silent fallback.
  static Result<std::unique_ptr<PromptFormat>> load(const gguf::File& file, const Tokenizer& tokenizer);
  virtual ~PromptFormat() = default;

  // The prompt, ending where the assistant's answer goes on: after the generation prompt and
  // `assistant_prefix`, byte for byte. Trailing whitespace of the prefix is kept. kInvalidArgument, with the
  // field "messages" and the template's own words, when the template refuses the conversation.
  virtual Result<std::string> render(const std::vector<chat::Message>& messages,
                                     std::string_view assistant_prefix) const = 0;

  // The rendered prompt's token ids. A control token's name in what messages say ("<|im_end|>" in a user's
  // text) is text: only the template writes control tokens, so that nobody speaks in another's role.
  // REQUIRES the tokenizer that it was loaded with. Errors are those of render().
  Result<std::vector<TokenId>> encode(const Tokenizer& tokenizer, const std::vector<chat::Message>& messages,
                                      std::string_view assistant_prefix) const;

  // Texts that end the answer besides the end-of-turn token ("\nUser:" for a transcript); often empty.
  virtual const std::vector<std::string>& stops() const = 0;
  // Whether the rendered text already begins with BOS, so that encode() must not add another.
  virtual bool renders_bos() const = 0;
  virtual bool has_template() const = 0;
  // A transcript's prompt ends in "Assistant:" because in most vocabularies the space that follows belongs to
  // the first word of the answer. When this is true and there was no assistant_prefix, take one space
  // (U+0020), if one is there, off the front of the answer's text before anything else sees it. With a prefix
  // take off nothing: render() has put the space before it.
  virtual bool strip_leading_space() const { return !has_template(); }
  // The file's template text, empty for a transcript.
  virtual std::string_view template_source() const = 0;
};

}  // namespace hedge::text
