#include "text/jinja.h"

#include "text/jinja_ast.h"
#include "text/jinja_eval.h"
#include "text/jinja_parser.h"

namespace hedge::text::jinja {

Template::Template(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::parse(std::string_view source) {
  HEDGE_TRY_SET(Program program, jinja::parse(source));
  return Template(std::make_unique<const Program>(std::move(program)));
}

Result<std::string> Template::render(const Value& context, const std::tm& now, const Limits& limits) const {
  if (!context.is_dict()) {
    return make_error(ErrorCode::kInvalidArgument,
                      std::string("template context: expected dict, found ") + context.type_name());
  }
  if (context.depth() > kMaxValueDepth) {
    return make_error(ErrorCode::kExhausted, "template context is nested " + std::to_string(context.depth()) +
                                                 " deep, the limit is " + std::to_string(kMaxValueDepth));
  }
  return Evaluator(*program_, context, limits, now).run();
}

}  // namespace hedge::text::jinja
