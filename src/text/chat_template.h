// Chat templates: the Jinja subset that GGUF files carry, rendered with limits on steps, output and depth, so
// that a hostile template can neither hang nor exhaust memory. Parsed once; rendering is const and
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"

namespace hedge::text {

struct TemplateInput {
  std::vector<chat::Message> messages;
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
};

class ChatTemplate {
 public:
  // kInvalidArgument with line and what was expected; kUnsupported names a construct outside the subset.
  static Result<std::unique_ptr<ChatTemplate>> parse(std::string source);
  virtual ~ChatTemplate() = default;
  // kInvalidArgument with the template's own words when it calls raise_exception().
  virtual Result<std::string> render(const TemplateInput& input) const = 0;
  virtual const std::string& source() const = 0;
};

}  // namespace hedge::text
