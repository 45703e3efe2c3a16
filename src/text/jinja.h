// The template engine as the rest of the module sees it: source in, then any number of renders over a general
// context. What it renders is the Jinja that chat templates use, as Hugging Face transformers sets it up:
// immutable sandbox, trim_blocks, lstrip_blocks, loop controls, {% generation %}, and tojson without HTML
// escapes.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/jinja_runtime.h"
#include "text/jinja_value.h"

namespace hedge::text::jinja {

struct Program;

// Immutable; render() may be called by several threads at once.
class Template {
 public:
  // kInvalidArgument with line and what was expected; kUnsupported names the construct and its line;
  // kExhausted when it is larger or nested deeper than the limits in jinja_parser.h.
  static Result<Template> parse(std::string_view source);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // `context` is a dict: the variables of the template. `now` is what strftime_now() formats.
  // kInvalidArgument with the template's own words when it calls raise_exception(), or with line and cause
  // where Jinja raises; kExhausted at a limit; kUnsupported for a construct that Hedge does not have.
  Result<std::string> render(const Value& context, const std::tm& now, const Limits& limits = {}) const;

 private:
  explicit Template(std::unique_ptr<const Program> program);
  std::unique_ptr<const Program> program_;
};

}  // namespace hedge::text::jinja
