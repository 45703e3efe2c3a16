// Statements. Follows jinja2/parser.py (3.1).
#include <algorithm>

#include "text/jinja_parser_internal.h"

namespace hedge::text::jinja {

bool Parser::skip_operator(std::string_view op) {
  if (!current().is_operator(op)) return false;
  take();
  return true;
}

bool Parser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  take();
  return true;
}

bool Parser::expect_operator(std::string_view op) {
  if (skip_operator(op)) return true;
  fail("expected '" + std::string(op) + "', found " + describe(current()));
  return false;
}

bool Parser::expect_name(std::string_view name) {
  if (skip_name(name)) return true;
  fail("expected '" + std::string(name) + "', found " + describe(current()));
  return false;
}

bool Parser::expect(TokenKind kind, const char* what) {
  if (current().kind == kind) {
    take();
    return true;
  }
  fail(std::string("expected ") + what + ", found " + describe(current()));
  return false;
}

std::string Parser::expect_identifier() {
  if (current().kind == TokenKind::kName) return take().text;
  fail("expected a name, found " + describe(current()));
  return {};
}

SymbolId Parser::symbol(const std::string& name) {
  const auto [entry, inserted] = symbol_ids_.emplace(name, static_cast<SymbolId>(program_.symbols.size()));
  if (inserted) program_.symbols.push_back(name);
  return entry->second;
}

Result<Program> Parser::run() {
  program_.loop_symbol = symbol("loop");
  program_.caller_symbol = symbol("caller");
  program_.varargs_symbol = symbol("varargs");
  program_.kwargs_symbol = symbol("kwargs");
  parse_block(program_.body, {});
  if (error_) return *std::move(error_);
  if (!unknown_.empty()) return unknown_[0];
  return std::move(program_);
}

bool Parser::at_end_tag(std::initializer_list<std::string_view> ends) const {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return current().is_name(end); });
}

std::string Parser::parse_block(Block& block, std::initializer_list<std::string_view> ends) {
  const Nested nested(*this);
  while (!failed()) {
    const Token& token = current();
    switch (token.kind) {
      case TokenKind::kData: {
        auto stmt = std::make_unique<Stmt>(StmtKind::kText, token.line);
        stmt->text = Value::string(token.text);
        block.push_back(std::move(stmt));
        take();
        break;
      }
      case TokenKind::kVariableBegin:
        parse_output(block);
        break;
      case TokenKind::kBlockBegin:
        take();
        if (at_end_tag(ends)) return take().text;
        parse_statement(block);
        if (!failed()) expect(TokenKind::kBlockEnd, "'%}'");
        break;
      case TokenKind::kEnd:
        if (ends.size() > 0)
          fail("expected '" + std::string(*ends.begin()) + "', found the end of the template");
        return {};
      case TokenKind::kVariableEnd:
      case TokenKind::kBlockEnd:
      case TokenKind::kName:
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
      case TokenKind::kOperator:
        fail("unexpected " + describe(token));
        break;
    }
  }
  return {};
}

void Parser::parse_output(Block& block) {
  auto stmt = std::make_unique<Stmt>(StmtKind::kOutput, current().line);
  take();
  stmt->exprs.push_back(parse_tuple(true, false));
  if (!failed()) expect(TokenKind::kVariableEnd, "'}}'");
  block.push_back(std::move(stmt));
}

std::string Parser::parse_body(Block& block, std::initializer_list<std::string_view> ends) {
  skip_operator(":");
  if (failed() || !expect(TokenKind::kBlockEnd, "'%}'")) return {};
  return parse_block(block, ends);
}

void Parser::parse_statement(Block& block) {
  if (current().kind != TokenKind::kName) {
    fail("expected a tag name, found " + describe(current()));
    return;
  }
  const int line = current().line;
  const std::string tag = current().text;
  auto stmt = std::make_unique<Stmt>(StmtKind::kText, line);
  static constexpr std::string_view kUnsupported[] = {"autoescape", "block", "extends", "include", "import",
                                                      "from",       "do",    "trans",   "debug"};
  if (std::find(std::begin(kUnsupported), std::end(kUnsupported), tag) != std::end(kUnsupported)) {
    fail("tag '" + tag + "'", ErrorCode::kUnsupported);
    return;
  }
  take();
  if (tag == "if") {
    parse_if(*stmt);
  } else if (tag == "for") {
    parse_for(*stmt);
  } else if (tag == "set") {
    parse_set(*stmt);
  } else if (tag == "with") {
    parse_with(*stmt);
  } else if (tag == "macro") {
    parse_macro(*stmt);
  } else if (tag == "call") {
    parse_call_block(*stmt);
  } else if (tag == "filter") {
    parse_filter_block(*stmt);
  } else if (tag == "generation") {
    stmt->kind = StmtKind::kScope;
    parse_captured(*stmt, "endgeneration");
  } else if (tag == "print") {
    stmt->kind = StmtKind::kOutput;
    while (!failed() && current().kind != TokenKind::kBlockEnd) {
      if (!stmt->exprs.empty() && !expect_operator(",")) break;
      stmt->exprs.push_back(parse_expression());
    }
  } else if (tag == "break" || tag == "continue") {
    stmt->kind = tag == "break" ? StmtKind::kBreak : StmtKind::kContinue;
    if (loops_ == 0) fail_at(line, "'" + tag + "' outside a loop");
  } else {
    fail_at(line, "unknown tag '" + tag + "'");
  }
  block.push_back(std::move(stmt));
}

void Parser::parse_if(Stmt& stmt) {
  stmt.kind = StmtKind::kIf;
  while (!failed()) {
    stmt.exprs.push_back(parse_tuple(false, false));
    if (failed()) return;
    ++conditionals_;
    const std::string end = parse_body(stmt.bodies.emplace_back(), {"elif", "else", "endif"});
    if (end == "else") parse_body(stmt.bodies.emplace_back(), {"endif"});
    --conditionals_;
    if (end != "elif") return;
  }
}

void Parser::parse_for(Stmt& stmt) {
  stmt.kind = StmtKind::kFor;
  std::optional<Target> target = parse_target(false, true);
  if (failed() || !expect_name("in")) return;
  stmt.targets.push_back(*std::move(target));
  stmt.exprs.push_back(parse_tuple(false, false, "recursive"));
  stmt.exprs.push_back(!failed() && skip_name("if") ? parse_expression() : nullptr);
  if (failed()) return;
  if (current().is_name("recursive")) {
    fail("recursive loop", ErrorCode::kUnsupported);
    return;
  }
  ++loops_;
  ++conditionals_;
  const std::string end = parse_body(stmt.bodies.emplace_back(), {"endfor", "else"});
  --loops_;
  if (end == "else") parse_body(stmt.bodies.emplace_back(), {"endfor"});
  --conditionals_;
}

void Parser::parse_set(Stmt& stmt) {
  std::optional<Target> target = parse_target(true, true);
  if (failed()) return;
  stmt.targets.push_back(*std::move(target));
  if (skip_operator("=")) {
    stmt.kind = StmtKind::kSet;
    stmt.exprs.push_back(parse_tuple(true, false));
    return;
  }
  stmt.kind = StmtKind::kSetBlock;
  stmt.exprs.push_back(current().is_operator("|") ? parse_filter(nullptr, false) : nullptr);
  parse_captured(stmt, "endset");
}

void Parser::parse_with(Stmt& stmt) {
  stmt.kind = StmtKind::kWith;
  while (!failed() && current().kind != TokenKind::kBlockEnd) {
    if (!stmt.targets.empty() && !expect_operator(",")) return;
    std::optional<Target> target = parse_target(false, true);
    if (failed() || !expect_operator("=")) return;
    stmt.targets.push_back(*std::move(target));
    stmt.exprs.push_back(parse_expression());
  }
  if (!failed()) parse_body(stmt.bodies.emplace_back(), {"endwith"});
}

// A body that becomes one text: break and continue cannot leave it.
void Parser::parse_captured(Stmt& stmt, std::string_view end) {
  if (failed()) return;
  const int loops = std::exchange(loops_, 0);
  parse_body(stmt.bodies.emplace_back(), {end});
  loops_ = loops;
}

void Parser::parse_signature(MacroDef& macro) {
  if (!expect_operator("(")) return;
  while (!failed() && !current().is_operator(")")) {
    if (!macro.parameters.empty() && !expect_operator(",")) return;
    const std::string name = expect_identifier();
    if (failed()) return;
    macro.parameter_names.push_back(name);
    macro.parameters.push_back(symbol(name));
    if (skip_operator("=")) {
      macro.defaults.push_back(parse_expression());
    } else if (!macro.defaults.empty()) {
      fail("parameter '" + name + "' without a default follows one with a default");
    }
  }
  if (!failed()) expect_operator(")");
}

void Parser::parse_macro_body(MacroDef& macro, std::string_view end) {
  macros_.emplace_back();
  const int loops = std::exchange(loops_, 0);
  ++conditionals_;
  parse_body(macro.body, {end});
  --conditionals_;
  loops_ = loops;
  const MacroUse use = macros_.back();
  macros_.pop_back();
  const auto is_parameter = [&](std::string_view name) {
    return std::find(macro.parameter_names.begin(), macro.parameter_names.end(), name) !=
           macro.parameter_names.end();
  };
  macro.uses_caller = use.caller && !is_parameter("caller");
  macro.uses_varargs = use.varargs && !is_parameter("varargs");
  macro.uses_kwargs = use.kwargs && !is_parameter("kwargs");
  if (!macros_.empty()) {  // what an inner macro reads, the outer one must provide
    macros_.back().caller |= use.caller;
    macros_.back().varargs |= use.varargs;
    macros_.back().kwargs |= use.kwargs;
  }
}

void Parser::parse_macro(Stmt& stmt) {
  stmt.kind = StmtKind::kMacro;
  stmt.macro = std::make_unique<MacroDef>();
  stmt.macro->name = expect_identifier();
  if (failed()) return;
  stmt.macro->symbol = symbol(stmt.macro->name);
  parse_signature(*stmt.macro);
  if (!failed()) parse_macro_body(*stmt.macro, "endmacro");
}

void Parser::parse_call_block(Stmt& stmt) {
  stmt.kind = StmtKind::kCallBlock;
  stmt.macro = std::make_unique<MacroDef>();
  stmt.macro->name = "caller";
  if (current().is_operator("(")) parse_signature(*stmt.macro);
  if (failed()) return;
  stmt.exprs.push_back(parse_expression());
  if (failed()) return;
  if (stmt.exprs[0]->kind != ExprKind::kCall) {
    fail_at(stmt.line, "expected a call in 'call'");
    return;
  }
  parse_macro_body(*stmt.macro, "endcall");
}

void Parser::parse_filter_block(Stmt& stmt) {
  stmt.kind = StmtKind::kFilterBlock;
  stmt.exprs.push_back(parse_filter(nullptr, true));
  parse_captured(stmt, "endfilter");
}

std::optional<Target> Parser::parse_single_target(bool allow_attribute) {
  const Nested nested(*this);
  if (failed()) return std::nullopt;
  if (skip_operator("(")) {
    std::optional<Target> inner = parse_target(allow_attribute, true);
    if (failed() || !expect_operator(")")) return std::nullopt;
    return inner;
  }
  static constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
  const Token token = current();
  Target target;
  const std::string name = expect_identifier();
  if (failed()) return std::nullopt;
  if (std::find(std::begin(kConstants), std::end(kConstants), name) != std::end(kConstants)) {
    fail_at(token.line, "cannot assign to '" + name + "'");
    return std::nullopt;
  }
  target.symbol = symbol(name);
  if (allow_attribute && skip_operator(".")) {
    target.kind = Target::Kind::kAttribute;
    target.attribute = expect_identifier();
    if (failed()) return std::nullopt;
  }
  return target;
}

std::optional<Target> Parser::parse_target(bool allow_attribute, bool allow_tuple) {
  std::optional<Target> first = parse_single_target(allow_attribute);
  if (failed() || !allow_tuple || !current().is_operator(",")) return first;
  Target tuple;
  tuple.kind = Target::Kind::kTuple;
  tuple.parts.push_back(*std::move(first));
  while (skip_operator(",")) {
    if (current().is_name("in") || current().is_operator("=") || current().is_operator(")") ||
        current().kind == TokenKind::kBlockEnd) {
      break;  // a comma may end the list
    }
    std::optional<Target> next = parse_single_target(allow_attribute);
    if (failed()) return std::nullopt;
    tuple.parts.push_back(*std::move(next));
  }
  return tuple;
}

Result<Program> parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return make_error(ErrorCode::kExhausted, "chat template has " + std::to_string(source.size()) +
                                                 " bytes, the limit is " + std::to_string(kMaxSourceBytes));
  }
  HEDGE_TRY_SET(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace hedge::text::jinja
