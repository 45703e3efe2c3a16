// Statements.
#include "text/jinja_builtins.h"
#include "text/jinja_eval.h"
#include "text/jinja_ops.h"

namespace hedge::text::jinja {

namespace {

// A macro keeps the scopes around it; what one of them takes.
constexpr size_t kKeptScopeBytes = sizeof(Scope) + 256;

}  // namespace

Result<std::string> Evaluator::run() {
  std::string text;
  out_ = &text;
  exec(program_.body);
  if (runtime_.failed()) return runtime_.error();
  return text;
}

Evaluator::Inner::Inner(Evaluator& evaluator, std::shared_ptr<Scope> parent) : evaluator_(evaluator) {
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(parent);
  outer_ = std::exchange(evaluator.scope_, std::move(scope));
}

void Evaluator::assign(SymbolId symbol, Value value) {
  if (scope_ == nullptr) {
    globals_[symbol] = std::move(value);
    return;
  }
  if (!runtime_.step(scope_->variables.size() / 32)) return;
  for (auto& [name, current] : scope_->variables) {
    if (name == symbol) {
      current = std::move(value);
      return;
    }
  }
  scope_->variables.emplace_back(symbol, std::move(value));
}

void Evaluator::assign(const Target& target, const Value& value) {
  switch (target.kind) {
    case Target::Kind::kName:
      assign(target.symbol, value);
      return;
    case Target::Kind::kAttribute: {
      const Value* object = find(target.symbol);
      if (object == nullptr || !object->is_object(ObjectKind::kNamespace)) {
        runtime_.fail("cannot assign an attribute of '" + program_.symbols[target.symbol] +
                      "', it is no namespace");
        return;
      }
      auto& space = static_cast<NamespaceObject&>(object->as_object());
      if (Value* current = space.find(target.attribute)) {
        *current = value;
      } else if (runtime_.charge_for_good(target.attribute.size() + sizeof(space.attributes[0]))) {
        space.attributes.emplace_back(target.attribute, value);
      }
      return;
    }
    case Target::Kind::kTuple: {
      const std::vector<Value> items = collect(runtime_, value);
      if (runtime_.failed()) return;
      if (items.size() != target.parts.size()) {
        runtime_.fail("expected " + std::to_string(target.parts.size()) + " values to unpack, found " +
                      std::to_string(items.size()));
        return;
      }
      for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
      return;
    }
  }
}

bool Evaluator::emit(std::string_view text) {
  if (!runtime_.work(text.size())) return false;
  pending_bytes_ += text.size();
  if (pending_bytes_ > runtime_.limits().output_bytes) {
    runtime_.fail("template gives more than " + std::to_string(runtime_.limits().output_bytes) + " bytes",
                  ErrorCode::kExhausted);
    return false;
  }
  *out_ += text;
  return true;
}

Evaluator::Flow Evaluator::exec(const Block& block) {
  for (const auto& stmt : block) {
    const Flow flow = exec(*stmt);
    if (flow != Flow::kNormal || runtime_.failed()) return flow;
  }
  return Flow::kNormal;
}

Evaluator::Flow Evaluator::exec(const Stmt& stmt) {
  const Level level(*this);
  if (!runtime_.step()) return Flow::kNormal;
  runtime_.set_line(stmt.line);
  switch (stmt.kind) {
    case StmtKind::kText:
      emit(stmt.text.text());
      break;
    case StmtKind::kOutput:
      print(stmt);
      break;
    case StmtKind::kIf:
      return exec_if(stmt);
    case StmtKind::kFor:
      exec_for(stmt);
      break;
    case StmtKind::kSet:
      exec_set(stmt);
      break;
    case StmtKind::kSetBlock:
      exec_set_block(stmt);
      break;
    case StmtKind::kMacro:
      assign(stmt.macro->symbol, make_macro(*stmt.macro));
      break;
    case StmtKind::kCallBlock:
      exec_call_block(stmt);
      break;
    case StmtKind::kFilterBlock:
      exec_filter_block(stmt);
      break;
    case StmtKind::kWith:
      return exec_with(stmt);
    case StmtKind::kScope: {
      const Inner inner(*this);
      exec(stmt.bodies[0]);
      break;
    }
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

void Evaluator::print(const Stmt& stmt) {
  for (const ExprPtr& expr : stmt.exprs) {
    const Value value = eval(*expr);
    if (runtime_.failed()) return;
    if (value.is_string()) {
      emit(value.text());
    } else {
      emit(to_text(runtime_, value));
    }
  }
}

Evaluator::Flow Evaluator::exec_if(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.exprs.size(); ++i) {
    const bool chosen = truthy(eval(*stmt.exprs[i]));
    if (runtime_.failed()) return Flow::kNormal;
    if (chosen) return exec(stmt.bodies[i]);
  }
  return stmt.bodies.size() > stmt.exprs.size() ? exec(stmt.bodies.back()) : Flow::kNormal;
}

// The items that pass the loop's own filter.
Value Evaluator::filtered(const Stmt& stmt, const Value& source) {
  std::vector<Value> items;
  Iter iter(runtime_, source);
  for (Value item; iter.next(item);) {
    const Inner inner(*this);
    assign(stmt.targets[0], item);
    if (runtime_.failed()) return Value();
    if (truthy(eval(*stmt.exprs[1]))) items.push_back(std::move(item));
  }
  return runtime_.list(std::move(items), Sequence::kGenerator);
}

void Evaluator::exec_for(const Stmt& stmt) {
  Value source = eval(*stmt.exprs[0]);
  if (!runtime_.failed() && stmt.exprs[1]) source = filtered(stmt, source);
  if (runtime_.failed()) return;
  const auto loop = std::make_shared<LoopObject>(runtime_, source);
  const Value loop_value = runtime_.object(loop);
  bool completed = false;  // an item: Jinja's else runs unless one did, even after a break
  while (!runtime_.failed() && loop->advance()) {
    const Inner inner(*this);
    assign(program_.loop_symbol, loop_value);
    assign(stmt.targets[0], *loop->current);
    if (runtime_.failed()) return;
    const Flow flow = exec(stmt.bodies[0]);
    if (flow == Flow::kBreak) break;
    completed |= flow == Flow::kNormal;
  }
  if (runtime_.failed() || completed || stmt.bodies.size() < 2) return;
  const Inner inner(*this);
  exec(stmt.bodies[1]);
}

void Evaluator::exec_set(const Stmt& stmt) {
  const Value value = eval(*stmt.exprs[0]);
  if (runtime_.failed()) return;
  runtime_.set_line(stmt.line);
  assign(stmt.targets[0], value);
}

Value Evaluator::capture(const Block& block) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  exec(block);
  out_ = outer;
  pending_bytes_ -= text.size();
  return runtime_.failed() ? Value() : runtime_.str(std::move(text));
}

void Evaluator::exec_set_block(const Stmt& stmt) {
  Value text;
  {
    const Inner inner(*this);
    text = capture(stmt.bodies[0]);
  }
  if (!runtime_.failed() && stmt.exprs[0]) text = eval_filter(*stmt.exprs[0], &text);
  if (!runtime_.failed()) assign(stmt.targets[0], text);
}

Value Evaluator::make_macro(const MacroDef& definition) {
  for (std::shared_ptr<Scope> scope = scope_; scope != nullptr && !scope->kept; scope = scope->parent) {
    scope->kept = true;
    if (!runtime_.charge_for_good(kKeptScopeBytes)) return Value();
    runtime_.keep(scope);
  }
  return runtime_.object(std::make_shared<MacroObject>(definition, scope_));
}

void Evaluator::exec_call_block(const Stmt& stmt) {
  const Value caller = make_macro(*stmt.macro);
  if (runtime_.failed()) return;
  const Value value = eval_call(*stmt.exprs[0], &caller);
  if (!runtime_.failed()) emit(to_text(runtime_, value));
}

void Evaluator::exec_filter_block(const Stmt& stmt) {
  const Inner inner(*this);
  const Value text = capture(stmt.bodies[0]);
  if (runtime_.failed()) return;
  const Value value = eval_filter(*stmt.exprs[0], &text);
  if (!runtime_.failed()) emit(to_text(runtime_, value));
}

Evaluator::Flow Evaluator::exec_with(const Stmt& stmt) {
  std::vector<Value> values;
  for (const ExprPtr& expr : stmt.exprs) {  // all are evaluated outside the new scope
    values.push_back(eval(*expr));
    if (runtime_.failed()) return Flow::kNormal;
  }
  const Inner inner(*this);
  for (size_t i = 0; i < values.size(); ++i) assign(stmt.targets[i], values[i]);
  return runtime_.failed() ? Flow::kNormal : exec(stmt.bodies[0]);
}

}  // namespace hedge::text::jinja
