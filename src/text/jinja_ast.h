// The parsed template: a tree of plain nodes that the evaluator walks. Immutable after the parse; shared by
// renders.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace hedge::text::jinja {

// Names of variables are numbered at the parse.
using SymbolId = uint32_t;

enum class ExprKind : uint8_t {
  kConst,    // constant
  kName,     // symbol
  kList,     // operands
  kTuple,    // operands
  kDict,     // operands: key, value, key, value, ...
  kGetattr,  // operands[0].text
  kGetitem,  // operands[0][operands[1]]
  kSlice,    // operands[0][operands[1]:operands[2]:operands[3]]; absent bounds are null
  kCall,     // operands[0](args)
  kFilter,   // operands[0] | text(args); null operand inside {% filter %} and {% set %}: the block's text
  kTest,     // operands[0] is text(args)
  kNot,      // operands[0]
  kNegate,
  kPlus,
  kBinary,   // operands[0] op operands[1]
  kConcat,   // operands joined by ~
  kCompare,  // operands[0] ops[0] operands[1] ops[1] ...
  kAnd,      // operands
  kOr,       // operands
  kCond,     // operands: condition, then, else (may be null)
};

enum class Op : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
  ExprPtr star;       // *list
  ExprPtr star_star;  // **dict
};

struct Expr {
  ExprKind kind;
  int line;
  int depth = 1;  // of the tree below, so that evaluation cannot overflow the stack
  SymbolId symbol = 0;
  Op op = Op::kAdd;
  std::string text;
  Value constant;
  std::vector<ExprPtr> operands;
  std::vector<Op> ops;
  std::unique_ptr<CallArgs> args;
  const void* callee = nullptr;  // of a filter or test: its entry in the table, null when there is none
};

enum class StmtKind : uint8_t {
  kText,         // text
  kOutput,       // exprs: printed one after the other
  kIf,           // exprs and bodies: condition i guards body i; one more body is the else
  kFor,          // target, exprs[0] iterable, exprs[1] filter (may be null), bodies[0], bodies[1] else
  kSet,          // target = exprs[0]
  kSetBlock,     // target = bodies[0], through the filter chain exprs[0] (may be null)
  kMacro,        // macro
  kCallBlock,    // macro is the caller, exprs[0] the call
  kFilterBlock,  // bodies[0] through exprs[0]
  kWith,         // targets[i] = exprs[i], then bodies[0]
  kScope,        // bodies[0] in its own scope ({% generation %})
  kBreak,
  kContinue,
};

// What is assigned to: a name, an attribute of a namespace, or several targets.
struct Target {
  enum class Kind : uint8_t { kName, kAttribute, kTuple };
  Kind kind = Kind::kName;
  SymbolId symbol = 0;  // of the name or the namespace
  std::string attribute;
  std::vector<Target> parts;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

struct MacroDef {
  std::string name;
  SymbolId symbol = 0;
  std::vector<std::string> parameter_names;
  std::vector<SymbolId> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Block body;
  bool uses_caller = false;  // the body reads these special names
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

struct Stmt {
  StmtKind kind;
  int line;
  Value text;
  std::vector<Target> targets;
  std::vector<ExprPtr> exprs;
  std::vector<Block> bodies;
  std::unique_ptr<MacroDef> macro;

  Stmt(StmtKind stmt_kind, int stmt_line) : kind(stmt_kind), line(stmt_line) {}
};

struct Program {
  Block body;
  std::vector<std::string> symbols;  // by SymbolId
  // Numbers of the names that the evaluator itself sets.
  SymbolId loop_symbol = 0;
  SymbolId caller_symbol = 0;
  SymbolId varargs_symbol = 0;
  SymbolId kwargs_symbol = 0;
};

}  // namespace hedge::text::jinja
