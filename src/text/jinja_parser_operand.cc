// Operands of expressions: names, literals, subscripts, calls, filters and tests.
#include "text/jinja_builtins.h"
#include "text/jinja_parser_internal.h"

namespace hedge::text::jinja {

ExprPtr Parser::parse_primary() {
  const Token& token = current();
  ExprPtr expr = make(ExprKind::kConst, token.line);
  switch (token.kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kString: {
      std::string text = take().text;
      while (current().kind == TokenKind::kString) text += take().text;
      expr->constant = Value::string(text);
      return expr;
    }
    case TokenKind::kInteger:
      expr->constant = Value::integer(take().integer);
      return expr;
    case TokenKind::kFloat:
      expr->constant = Value::real(take().real);
      return expr;
    case TokenKind::kOperator:
      if (token.text == "(") {
        take();
        ExprPtr inner = parse_tuple(true, true);
        if (failed() || !expect_operator(")")) return nullptr;
        return inner;
      }
      if (token.text == "[") return parse_list();
      if (token.text == "{") return parse_dict();
      break;
    case TokenKind::kData:
    case TokenKind::kVariableBegin:
    case TokenKind::kVariableEnd:
    case TokenKind::kBlockBegin:
    case TokenKind::kBlockEnd:
    case TokenKind::kEnd:
      break;
  }
  fail("unexpected " + describe(token));
  return nullptr;
}

ExprPtr Parser::parse_name() {
  const Token token = take();
  ExprPtr expr = make(ExprKind::kConst, token.line);
  if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
    expr->constant = Value::boolean((token.text[0] | 0x20) == 't');
  } else if (token.text == "none" || token.text == "None") {
    expr->constant = Value::none();
  } else {
    expr->kind = ExprKind::kName;
    expr->symbol = symbol(token.text);
    if (!macros_.empty()) {
      macros_.back().caller |= token.text == "caller";
      macros_.back().varargs |= token.text == "varargs";
      macros_.back().kwargs |= token.text == "kwargs";
    }
  }
  return expr;
}

ExprPtr Parser::parse_list() {
  ExprPtr expr = make(ExprKind::kList, take().line);
  while (!failed() && !current().is_operator("]")) {
    if (!expr->operands.empty() && !expect_operator(",")) return nullptr;
    if (current().is_operator("]")) break;
    expr->operands.push_back(parse_expression());
  }
  if (failed() || !expect_operator("]")) return nullptr;
  return finish(std::move(expr));
}

ExprPtr Parser::parse_dict() {
  ExprPtr expr = make(ExprKind::kDict, take().line);
  while (!failed() && !current().is_operator("}")) {
    if (!expr->operands.empty() && !expect_operator(",")) return nullptr;
    if (current().is_operator("}")) break;
    expr->operands.push_back(parse_expression());
    if (failed() || !expect_operator(":")) return nullptr;
    expr->operands.push_back(parse_expression());
  }
  if (failed() || !expect_operator("}")) return nullptr;
  return finish(std::move(expr));
}

ExprPtr Parser::parse_postfix(ExprPtr expr) {
  while (!failed()) {
    if (current().is_operator(".") || current().is_operator("[")) {
      expr = parse_subscript(std::move(expr));
    } else if (current().is_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      break;
    }
  }
  return failed() ? nullptr : std::move(expr);
}

ExprPtr Parser::parse_filter_expr(ExprPtr expr) {
  while (!failed()) {
    if (current().is_operator("|")) {
      expr = parse_filter(std::move(expr), false);
    } else if (current().is_name("is")) {
      expr = parse_test(std::move(expr));
    } else if (current().is_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      break;
    }
  }
  return failed() ? nullptr : std::move(expr);
}

ExprPtr Parser::parse_subscript(ExprPtr operand) {
  ExprPtr expr = make(ExprKind::kGetitem, current().line);
  expr->operands.push_back(std::move(operand));
  if (take().text == ".") {
    if (current().kind == TokenKind::kInteger) {
      expr->operands.push_back(make(ExprKind::kConst, current().line));
      expr->operands[1]->constant = Value::integer(take().integer);
      return finish(std::move(expr));
    }
    expr->kind = ExprKind::kGetattr;
    expr->text = expect_identifier();
    return finish(std::move(expr));
  }
  ExprPtr bounds[3];
  int bound = 0;
  if (!current().is_operator(":")) {
    if (current().is_operator("]")) fail("expected a subscript, found ']'");
    bounds[0] = parse_expression();
    if (failed()) return nullptr;
    if (current().is_operator(",")) {
      fail("subscript with several parts", ErrorCode::kUnsupported);
      return nullptr;
    }
  }
  while (bound < 2 && skip_operator(":")) {
    ++bound;
    if (current().is_operator(":") || current().is_operator("]")) continue;
    bounds[bound] = parse_expression();
    if (failed()) return nullptr;
  }
  if (!expect_operator("]")) return nullptr;
  if (bound == 0) {
    expr->operands.push_back(std::move(bounds[0]));
  } else {
    expr->kind = ExprKind::kSlice;
    for (ExprPtr& part : bounds) expr->operands.push_back(std::move(part));
  }
  return finish(std::move(expr));
}

ExprPtr Parser::parse_call(ExprPtr callee) {
  ExprPtr expr = make(ExprKind::kCall, current().line);
  expr->operands.push_back(std::move(callee));
  expr->args = parse_call_args();
  return finish(std::move(expr));
}

std::unique_ptr<CallArgs> Parser::parse_call_args() {
  const int line = current().line;
  auto args = std::make_unique<CallArgs>();
  if (!expect_operator("(")) return nullptr;
  bool first = true;
  while (!failed() && !current().is_operator(")")) {
    if (!first && !expect_operator(",")) return nullptr;
    if (!first && current().is_operator(")")) break;
    first = false;
    if (skip_operator("*")) {
      if (args->star || args->star_star) fail_at(line, "arguments in the wrong order");
      args->star = parse_expression();
    } else if (skip_operator("**")) {
      if (args->star_star) fail_at(line, "arguments in the wrong order");
      args->star_star = parse_expression();
    } else if (current().kind == TokenKind::kName && ahead().is_operator("=")) {
      if (args->star_star) fail_at(line, "arguments in the wrong order");
      std::string name = take().text;
      take();
      for (const auto& keyword : args->keywords) {
        if (keyword.first == name) fail_at(line, "keyword argument '" + name + "' given twice");
      }
      args->keywords.emplace_back(std::move(name), parse_expression());
    } else {
      if (args->star || args->star_star || !args->keywords.empty())
        fail_at(line, "arguments in the wrong order");
      args->positional.push_back(parse_expression());
    }
  }
  if (failed() || !expect_operator(")")) return nullptr;
  return args;
}

std::string Parser::dotted_name() {
  std::string name = expect_identifier();
  while (!failed() && skip_operator(".")) name += "." + expect_identifier();
  return name;
}

// Where it may never be reached, the evaluator reports it when it is.
void Parser::note_unknown(int line, const std::string& what) {
  if (conditionals_ == 0) unknown_.push_back(parse_error(line, what, ErrorCode::kUnsupported));
}

ExprPtr Parser::parse_filter(ExprPtr operand, bool start_inline) {
  while (!failed() && (start_inline || current().is_operator("|"))) {
    if (!start_inline) take();
    start_inline = false;
    ExprPtr expr = make(ExprKind::kFilter, current().line);
    expr->text = dotted_name();
    if (failed()) return nullptr;
    expr->callee = find_filter(expr->text);
    if (expr->callee == nullptr) note_unknown(expr->line, "filter '" + expr->text + "'");
    expr->operands.push_back(std::move(operand));
    if (current().is_operator("(")) expr->args = parse_call_args();
    operand = finish(std::move(expr));
  }
  return failed() ? nullptr : std::move(operand);
}

ExprPtr Parser::parse_test(ExprPtr operand) {
  const int line = take().line;
  const bool negated = skip_name("not");
  ExprPtr expr = make(ExprKind::kTest, line);
  expr->text = dotted_name();
  if (failed()) return nullptr;
  expr->callee = find_test(expr->text);
  if (expr->callee == nullptr) note_unknown(line, "test '" + expr->text + "'");
  expr->operands.push_back(std::move(operand));
  const Token& next = current();
  if (next.is_operator("(")) {
    expr->args = parse_call_args();
  } else if (next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
             next.kind == TokenKind::kFloat || next.is_operator("[") || next.is_operator("{") ||
             (next.kind == TokenKind::kName && next.text != "else" && next.text != "or" &&
              next.text != "and")) {
    if (next.text == "is") {
      fail("tests cannot be chained with 'is'");
      return nullptr;
    }
    expr->args = std::make_unique<CallArgs>();
    ExprPtr argument = parse_primary();
    if (!failed()) argument = parse_postfix(std::move(argument));
    expr->args->positional.push_back(std::move(argument));
  }
  ExprPtr test = finish(std::move(expr));
  if (failed() || !negated) return test;
  ExprPtr inverted = make(ExprKind::kNot, line);
  inverted->operands.push_back(std::move(test));
  return finish(std::move(inverted));
}

}  // namespace hedge::text::jinja
