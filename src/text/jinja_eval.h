// Walks the tree: expressions (jinja_eval.cc) and statements (jinja_exec.cc). One Evaluator is one render.
// Names are looked up at the time they are read, from the innermost scope outward, then among the variables
// of the template and its context, then among the global functions. `if` opens no scope; a loop opens one for
// every item, as macros, {% call %}, {% filter %}, {% set %} blocks and {% with %} do. Jinja decides at
// compile time where a name lives, with one visible difference: a variable of the context that the template
// reads only inside a loop, macro or block, and sets at its top level without ever reading it there, is
// undefined until it is set; here it has the context's value.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_runtime.h"

namespace hedge::text::jinja {

struct Scope : Object {
  std::shared_ptr<Scope> parent;  // null: the variables of the template
  std::vector<std::pair<SymbolId, Value>> variables;
  bool kept = false;  // a macro holds it, so it lives until the render ends
  Scope() : Object(ObjectKind::kScope) {}
  void clear() override { variables.clear(); }
};

struct MacroObject : Object {
  const MacroDef& definition;
  std::shared_ptr<Scope> scope;  // where it was defined
  MacroObject(const MacroDef& def, std::shared_ptr<Scope> defined_in)
      : Object(ObjectKind::kMacro), definition(def), scope(std::move(defined_in)) {}
};

class Evaluator {
 public:
  // `program` must outlive the Evaluator. REQUIRES: `context` is a dict no deeper than kMaxValueDepth.
  Evaluator(const Program& program, const Value& context, const Limits& limits, const std::tm& now);

  Result<std::string> run();

 private:
  enum class Flow : uint8_t { kNormal, kBreak, kContinue };

  // Counts one level of the C++ stack.
  class Level {
   public:
    explicit Level(Evaluator& evaluator);
    ~Level() { --evaluator_.depth_; }

   private:
    Evaluator& evaluator_;
  };
  // A scope for its lifetime.
  class Inner {
   public:
    explicit Inner(Evaluator& evaluator) : Inner(evaluator, evaluator.scope_) {}
    Inner(Evaluator& evaluator, std::shared_ptr<Scope> parent);
    ~Inner() { evaluator_.scope_ = std::move(outer_); }

   private:
    Evaluator& evaluator_;
    std::shared_ptr<Scope> outer_;
  };

  Value eval(const Expr& expr);
  Value eval_name(const Expr& expr);
  Value eval_sequence(const Expr& expr);
  Value eval_dict(const Expr& expr);
  Value eval_item(const Expr& expr);
  Value eval_slice(const Expr& expr);
  Value eval_call(const Expr& expr, const Value* caller);
  Value eval_filter(const Expr& expr, const Value* input);
  Value eval_test(const Expr& expr);
  Value eval_concat(const Expr& expr);
  Value eval_compare(const Expr& expr);
  Value eval_logic(const Expr& expr);
  Value eval_optional(const ExprPtr& expr) { return expr ? eval(*expr) : Value::none(); }
  void eval_args(const CallArgs* call, Args& args);
  Value call(const Value& callee, const Args& args);
  Value call_macro(const MacroObject& macro, const Args& args);
  bool bind_macro_args(const MacroDef& macro, const Args& args);
  bool bind_extra_args(const MacroDef& macro, const Args& args, const std::vector<bool>& used);

  Flow exec(const Block& block);
  Flow exec(const Stmt& stmt);
  void print(const Stmt& stmt);
  Flow exec_if(const Stmt& stmt);
  void exec_for(const Stmt& stmt);
  Value filtered(const Stmt& stmt, const Value& source);
  void exec_set(const Stmt& stmt);
  void exec_set_block(const Stmt& stmt);
  void exec_call_block(const Stmt& stmt);
  void exec_filter_block(const Stmt& stmt);
  Flow exec_with(const Stmt& stmt);
  // What the block prints.
  Value capture(const Block& block);
  Value make_macro(const MacroDef& definition);

  const Value* find(SymbolId symbol);
  void assign(SymbolId symbol, Value value);
  void assign(const Target& target, const Value& value);
  bool emit(std::string_view text);

  const Program& program_;
  Runtime runtime_;
  std::vector<std::optional<Value>> globals_;  // by SymbolId
  std::shared_ptr<Scope> scope_;
  std::string* out_ = nullptr;
  size_t pending_bytes_ = 0;  // of the output and of all blocks that are being captured
  int depth_ = 0;
};

}  // namespace hedge::text::jinja
