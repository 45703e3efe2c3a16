#include "text/jinja_eval.h"

#include <algorithm>

#include "text/jinja_builtins.h"
#include "text/jinja_ops.h"

namespace hedge::text::jinja {

Evaluator::Evaluator(const Program& program, const Value& context, const Limits& limits, const std::tm& now)
    : program_(program), runtime_(limits, now), globals_(program.symbols.size()) {
  for (size_t symbol = 0; symbol < program.symbols.size(); ++symbol) {
    const std::string& name = program.symbols[symbol];
    if (const Value* value = find_key(context.as_dict(), name)) {
      globals_[symbol] = *value;
    } else if (const FunctionEntry* function = find_function(name)) {
      globals_[symbol] = runtime_.object(std::make_shared<FunctionObject>(function->call));
    }
  }
}

Evaluator::Level::Level(Evaluator& evaluator) : evaluator_(evaluator) {
  if (++evaluator.depth_ > evaluator.runtime_.limits().depth) {
    evaluator.runtime_.fail(
        "template nested or recursive deeper than " + std::to_string(evaluator.runtime_.limits().depth),
        ErrorCode::kExhausted);
  }
}

const Value* Evaluator::find(SymbolId symbol) {
  size_t looked_at = 0;
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    looked_at += scope->variables.size();
    for (const auto& [name, value] : scope->variables) {
      if (name == symbol) return &value;
    }
  }
  runtime_.step(looked_at / 32);
  return globals_[symbol] ? &*globals_[symbol] : nullptr;
}

Value Evaluator::eval(const Expr& expr) {
  const Level level(*this);
  if (!runtime_.step()) return Value();
  switch (expr.kind) {
    case ExprKind::kConst:
      return expr.constant;
    case ExprKind::kName:
      return eval_name(expr);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return eval_sequence(expr);
    case ExprKind::kDict:
      return eval_dict(expr);
    case ExprKind::kGetattr:
    case ExprKind::kGetitem:
      return eval_item(expr);
    case ExprKind::kSlice:
      return eval_slice(expr);
    case ExprKind::kCall:
      return eval_call(expr, nullptr);
    case ExprKind::kFilter:
      return eval_filter(expr, nullptr);
    case ExprKind::kTest:
      return eval_test(expr);
    case ExprKind::kNot:
      return Value::boolean(!truthy(eval(*expr.operands[0])));
    case ExprKind::kNegate:
    case ExprKind::kPlus: {
      const Value value = eval(*expr.operands[0]);
      if (runtime_.failed()) return Value();
      const Value negated = negate(runtime_, value);
      if (expr.kind == ExprKind::kNegate || runtime_.failed()) return negated;
      return value.is_bool() ? Value::integer(value.as_int()) : value;
    }
    case ExprKind::kBinary: {
      const Value left = eval(*expr.operands[0]);
      const Value right = eval(*expr.operands[1]);
      runtime_.set_line(expr.line);
      return runtime_.failed() ? Value() : binary(runtime_, expr.op, left, right);
    }
    case ExprKind::kConcat:
      return eval_concat(expr);
    case ExprKind::kCompare:
      return eval_compare(expr);
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return eval_logic(expr);
    case ExprKind::kCond: {
      const bool condition = truthy(eval(*expr.operands[0]));
      if (runtime_.failed()) return Value();
      if (condition) return eval(*expr.operands[1]);
      return expr.operands[2] ? eval(*expr.operands[2]) : Value::undefined(Undefined::Why::kNoItem, nullptr);
    }
  }
  return Value();
}

Value Evaluator::eval_name(const Expr& expr) {
  if (const Value* value = find(expr.symbol)) return *value;
  return Value::undefined(Undefined::Why::kName, &program_.symbols[expr.symbol]);
}

Value Evaluator::eval_sequence(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.operands.size());
  for (const ExprPtr& operand : expr.operands) {
    items.push_back(eval(*operand));
    if (runtime_.failed()) return Value();
  }
  return runtime_.list(std::move(items), expr.kind == ExprKind::kList ? Sequence::kList : Sequence::kTuple);
}

Value Evaluator::eval_dict(const Expr& expr) {
  Value::Entries entries;
  entries.reserve(expr.operands.size() / 2);
  for (size_t i = 0; i < expr.operands.size(); i += 2) {
    Value key = eval(*expr.operands[i]);
    Value value = eval(*expr.operands[i + 1]);
    if (key.is_dict() || key.is_sequence(Sequence::kList)) {
      return runtime_.fail(std::string("unhashable type: '") + key.type_name() + "'");
    }
    const auto same = std::find_if(entries.begin(), entries.end(),
                                   [&](const auto& entry) { return equal(runtime_, entry.first, key); });
    if (runtime_.failed()) return Value();
    if (same != entries.end()) {
      same->second = std::move(value);
    } else {
      entries.emplace_back(std::move(key), std::move(value));
    }
  }
  return runtime_.dict(std::move(entries));
}

Value Evaluator::eval_item(const Expr& expr) {
  const Value value = eval(*expr.operands[0]);
  if (runtime_.failed()) return Value();
  if (expr.kind == ExprKind::kGetattr) {
    runtime_.set_line(expr.line);
    return get_attribute(runtime_, value, expr.text);
  }
  const Expr& key_expr = *expr.operands[1];
  const Value key = eval(key_expr);
  if (runtime_.failed()) return Value();
  runtime_.set_line(expr.line);
  const bool named = key_expr.kind == ExprKind::kConst && key_expr.constant.is_string();
  return get_item(runtime_, value, key, named ? &key_expr.constant.text() : nullptr);
}

Value Evaluator::eval_slice(const Expr& expr) {
  const Value value = eval(*expr.operands[0]);
  const Value start = eval_optional(expr.operands[1]);
  const Value stop = eval_optional(expr.operands[2]);
  const Value step = eval_optional(expr.operands[3]);
  runtime_.set_line(expr.line);
  return runtime_.failed() ? Value() : slice(runtime_, value, start, stop, step);
}

void Evaluator::eval_args(const CallArgs* call, Args& args) {
  if (call == nullptr) return;
  for (const ExprPtr& argument : call->positional) {
    args.positional.push_back(eval(*argument));
    if (runtime_.failed()) return;
  }
  for (const auto& [name, argument] : call->keywords) {
    args.keywords.emplace_back(name, eval(*argument));
    if (runtime_.failed()) return;
  }
  if (call->star) {
    for (Value& item : collect(runtime_, eval(*call->star))) args.positional.push_back(std::move(item));
  }
  if (call->star_star && !runtime_.failed()) {
    const Value mapping = eval(*call->star_star);
    if (!mapping.is_dict()) {
      runtime_.fail(std::string("** expects a mapping, found ") + mapping.type_name());
      return;
    }
    for (const auto& entry : mapping.as_dict().entries) {
      const Value& key = entry.first;
      const bool twice =
          !key.is_string() || std::any_of(args.keywords.begin(), args.keywords.end(),
                                          [&](const auto& keyword) { return keyword.first == key.text(); });
      if (twice || !runtime_.step(args.keywords.size() / 16 + 1)) {
        runtime_.fail("** with a key that is no string or was given before");
        return;
      }
      args.keywords.emplace_back(key.text(), entry.second);
    }
  }
}

Value Evaluator::eval_call(const Expr& expr, const Value* caller) {
  const Expr& callee = *expr.operands[0];
  // value.method(...) without a bound method in between.
  if (callee.kind == ExprKind::kGetattr) {
    const Value self = eval(*callee.operands[0]);
    if (runtime_.failed()) return Value();
    const MethodEntry* method = find_method(self, callee.text);
    if (method != nullptr && method->call != nullptr && caller == nullptr) {
      Args args;
      eval_args(expr.args.get(), args);
      runtime_.set_line(expr.line);
      return runtime_.failed() ? Value() : method->call(runtime_, self, args);
    }
    runtime_.set_line(expr.line);
    const Value function = get_attribute(runtime_, self, callee.text);
    Args args;
    eval_args(expr.args.get(), args);
    if (caller != nullptr) args.keywords.emplace_back("caller", *caller);
    runtime_.set_line(expr.line);
    return runtime_.failed() ? Value() : call(function, args);
  }
  const Value function = eval(callee);
  Args args;
  eval_args(expr.args.get(), args);
  if (caller != nullptr) args.keywords.emplace_back("caller", *caller);
  runtime_.set_line(expr.line);
  return runtime_.failed() ? Value() : call(function, args);
}

Value Evaluator::call(const Value& callee, const Args& args) {
  if (callee.is_undefined()) return fail_undefined(runtime_, callee);
  if (callee.is_object()) {
    Object& object = callee.as_object();
    switch (object.kind) {
      case ObjectKind::kMacro:
        return call_macro(static_cast<const MacroObject&>(object), args);
      case ObjectKind::kFunction:
        return static_cast<const FunctionObject&>(object).call(runtime_, args);
      case ObjectKind::kMethod: {
        const auto& method = static_cast<const MethodObject&>(object);
        return method.call(runtime_, method.self, args);
      }
      case ObjectKind::kJoiner: {
        auto& joiner = static_cast<JoinerObject&>(object);
        return std::exchange(joiner.used, true) ? joiner.separator : runtime_.str("");
      }
      case ObjectKind::kNamespace:
      case ObjectKind::kLoop:
      case ObjectKind::kCycler:
      case ObjectKind::kScope:
        break;
    }
  }
  return runtime_.fail(std::string("'") + callee.type_name() + "' object is not callable");
}

Value Evaluator::call_macro(const MacroObject& macro, const Args& args) {
  const Level level(*this);
  const Inner inner(*this, macro.scope);
  const int line = runtime_.line();
  if (!bind_macro_args(macro.definition, args)) return Value();
  Value text = capture(macro.definition.body);
  runtime_.set_line(line);
  return text;
}

bool Evaluator::bind_macro_args(const MacroDef& macro, const Args& args) {
  const size_t count = macro.parameters.size();
  std::vector<bool> used(args.keywords.size());
  for (size_t i = 0; i < count; ++i) {
    const Value* given = i < args.positional.size() ? &args.positional[i] : nullptr;
    for (size_t k = 0; given == nullptr && k < args.keywords.size(); ++k) {
      if (args.keywords[k].first != macro.parameter_names[i]) continue;
      given = &args.keywords[k].second;
      used[k] = true;
    }
    if (!runtime_.step(args.keywords.size() / 16 + 1)) return false;
    if (given != nullptr) {
      assign(macro.parameters[i], *given);
    } else if (const size_t first_default = count - macro.defaults.size(); i >= first_default) {
      assign(macro.parameters[i], eval(*macro.defaults[i - first_default]));
    } else {
      assign(macro.parameters[i], Value::undefined(Undefined::Why::kNotPassed, &macro.parameter_names[i]));
    }
    if (runtime_.failed()) return false;
  }
  return bind_extra_args(macro, args, used);
}

bool Evaluator::bind_extra_args(const MacroDef& macro, const Args& args, const std::vector<bool>& used) {
  const size_t count = macro.parameters.size();
  std::vector<Value> extra;
  if (args.positional.size() > count) {
    extra.assign(args.positional.begin() + static_cast<ptrdiff_t>(count), args.positional.end());
  }
  if (!extra.empty() && !macro.uses_varargs) {
    runtime_.fail("macro '" + macro.name + "' takes at most " + std::to_string(count) + " arguments, " +
                  std::to_string(args.positional.size()) + " given");
    return false;
  }
  Value caller = Value::undefined(Undefined::Why::kName, &program_.symbols[program_.caller_symbol]);
  Value::Entries keywords;
  for (size_t k = 0; k < args.keywords.size(); ++k) {
    const auto& [name, value] = args.keywords[k];
    if (used[k]) continue;
    if (name == "caller" && macro.uses_caller) {
      caller = value;
    } else if (macro.uses_kwargs) {
      keywords.emplace_back(runtime_.str(name, false), value);
    } else {
      runtime_.fail("macro '" + macro.name + "' has no parameter '" + name + "'");
      return false;
    }
  }
  if (macro.uses_caller) assign(program_.caller_symbol, caller);
  if (macro.uses_varargs) assign(program_.varargs_symbol, runtime_.list(std::move(extra), Sequence::kTuple));
  if (macro.uses_kwargs) assign(program_.kwargs_symbol, runtime_.dict(std::move(keywords)));
  return !runtime_.failed();
}

Value Evaluator::eval_filter(const Expr& expr, const Value* input) {
  Value value;
  if (expr.operands[0] == nullptr) {
    value = *input;
  } else if (expr.operands[0]->kind == ExprKind::kFilter && input != nullptr) {
    value = eval_filter(*expr.operands[0],
                        input);  // a chain over a block's text; its height is kMaxExprDepth at most
  } else {
    value = eval(*expr.operands[0]);
  }
  if (runtime_.failed()) return Value();
  if (expr.callee == nullptr) {
    runtime_.set_line(expr.line);
    return runtime_.fail("filter '" + expr.text + "'", ErrorCode::kUnsupported);
  }
  Args args;
  eval_args(expr.args.get(), args);
  runtime_.set_line(expr.line);
  if (runtime_.failed()) return Value();
  return static_cast<const FilterEntry*>(expr.callee)->call(runtime_, value, args);
}

Value Evaluator::eval_test(const Expr& expr) {
  const Value value = eval(*expr.operands[0]);
  if (runtime_.failed()) return Value();
  if (expr.callee == nullptr) {
    runtime_.set_line(expr.line);
    return runtime_.fail("test '" + expr.text + "'", ErrorCode::kUnsupported);
  }
  Args args;
  eval_args(expr.args.get(), args);
  runtime_.set_line(expr.line);
  if (runtime_.failed()) return Value();
  return Value::boolean(static_cast<const TestEntry*>(expr.callee)->call(runtime_, value, args));
}

Value Evaluator::eval_concat(const Expr& expr) {
  Builder out(runtime_);
  for (const ExprPtr& operand : expr.operands) {
    const Value value = eval(*operand);
    if (runtime_.failed() || !append_text(out, runtime_, value)) return Value();
  }
  return runtime_.str(out.take());
}

Value Evaluator::eval_compare(const Expr& expr) {
  Value left = eval(*expr.operands[0]);
  for (size_t i = 0; i < expr.ops.size() && !runtime_.failed(); ++i) {
    Value right = eval(*expr.operands[i + 1]);
    runtime_.set_line(expr.line);
    if (runtime_.failed() || !compare(runtime_, expr.ops[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Evaluator::eval_logic(const Expr& expr) {
  const bool stop_at = expr.kind == ExprKind::kOr;
  Value value;
  for (const ExprPtr& operand : expr.operands) {
    value = eval(*operand);
    if (runtime_.failed() || truthy(value) == stop_at) break;
  }
  return value;
}

}  // namespace hedge::text::jinja
