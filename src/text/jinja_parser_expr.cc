// Expressions down to their operands. Follows jinja2/parser.py (3.1), with its precedences: ~ binds tighter
// than + and looser than
// *, filters and tests bind to the operand of a unary minus, not to its result.
#include <algorithm>

#include "text/jinja_parser_internal.h"

namespace hedge::text::jinja {

namespace {

bool ends_tuple(const Token& token) {
  return token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd ||
         token.is_operator(")");
}

}  // namespace

ExprPtr Parser::make(ExprKind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr Parser::finish(ExprPtr expr) {
  if (failed()) return nullptr;
  const auto raise = [&](const ExprPtr& child) {
    if (child) expr->depth = std::max(expr->depth, child->depth + 1);
  };
  for (const ExprPtr& operand : expr->operands) raise(operand);
  if (expr->args) {
    for (const ExprPtr& argument : expr->args->positional) raise(argument);
    for (const auto& [name, argument] : expr->args->keywords) raise(argument);
    raise(expr->args->star);
    raise(expr->args->star_star);
  }
  if (expr->depth > kMaxExprDepth) {
    fail_at(expr->line, "expression deeper than " + std::to_string(kMaxExprDepth), ErrorCode::kExhausted);
    return nullptr;
  }
  return expr;
}

ExprPtr Parser::parse_tuple(bool with_condition, bool explicit_parentheses, std::string_view end_name) {
  ExprPtr tuple = make(ExprKind::kTuple, current().line);
  bool is_tuple = false;
  while (!failed()) {
    if (!tuple->operands.empty() && !expect_operator(",")) return nullptr;
    if (ends_tuple(current()) || (!end_name.empty() && current().is_name(end_name))) break;
    tuple->operands.push_back(parse_expression(with_condition));
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (failed()) return nullptr;
  if (is_tuple) return finish(std::move(tuple));
  if (!tuple->operands.empty()) return std::move(tuple->operands[0]);
  if (explicit_parentheses) return finish(std::move(tuple));
  fail("expected an expression, found " + describe(current()));
  return nullptr;
}

ExprPtr Parser::parse_expression(bool with_condition) {
  const Nested nested(*this);
  if (failed()) return nullptr;
  return with_condition ? parse_condition() : parse_or();
}

ExprPtr Parser::parse_condition() {
  const int line = current().line;
  const size_t unknown_before = unknown_.size();
  ExprPtr value = parse_or();
  while (!failed() && skip_name("if")) {
    ExprPtr expr = make(ExprKind::kCond, line);
    expr->operands.push_back(parse_or());
    expr->operands.push_back(std::move(value));
    expr->operands.push_back(!failed() && skip_name("else") ? parse_expression() : nullptr);
    value = finish(std::move(expr));
    unknown_.resize(std::min(unknown_before, unknown_.size()));  // either value may never be reached
  }
  return failed() ? nullptr : std::move(value);
}

ExprPtr Parser::parse_or() {
  ExprPtr left = parse_and();
  if (failed() || !current().is_name("or")) return left;
  ExprPtr expr = make(ExprKind::kOr, left->line);
  expr->operands.push_back(std::move(left));
  while (!failed() && skip_name("or")) expr->operands.push_back(parse_and());
  return finish(std::move(expr));
}

ExprPtr Parser::parse_and() {
  ExprPtr left = parse_not();
  if (failed() || !current().is_name("and")) return left;
  ExprPtr expr = make(ExprKind::kAnd, left->line);
  expr->operands.push_back(std::move(left));
  while (!failed() && skip_name("and")) expr->operands.push_back(parse_not());
  return finish(std::move(expr));
}

ExprPtr Parser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Nested nested(*this);
  if (failed()) return nullptr;
  ExprPtr expr = make(ExprKind::kNot, take().line);
  expr->operands.push_back(parse_not());
  return finish(std::move(expr));
}

std::optional<Op> Parser::take_compare_operator() {
  static constexpr std::pair<std::string_view, Op> kCompare[] = {
      {"==", Op::kEqual},     {"!=", Op::kNotEqual}, {"<", Op::kLess},
      {"<=", Op::kLessEqual}, {">", Op::kGreater},   {">=", Op::kGreaterEqual},
  };
  if (current().kind == TokenKind::kOperator) {
    for (const auto& [text, op] : kCompare) {
      if (skip_operator(text)) return op;
    }
  }
  if (skip_name("in")) return Op::kIn;
  if (current().is_name("not") && ahead().is_name("in")) {
    take();
    take();
    return Op::kNotIn;
  }
  return std::nullopt;
}

ExprPtr Parser::parse_compare() {
  ExprPtr left = parse_sum();
  if (failed()) return nullptr;
  std::optional<Op> op = take_compare_operator();
  if (!op) return left;
  ExprPtr expr = make(ExprKind::kCompare, left->line);
  expr->operands.push_back(std::move(left));
  for (; op && !failed(); op = take_compare_operator()) {
    expr->ops.push_back(*op);
    expr->operands.push_back(parse_sum());
    if (failed()) return nullptr;
  }
  return finish(std::move(expr));
}

ExprPtr Parser::parse_sum() {
  ExprPtr left = parse_concat();
  while (!failed() && (current().is_operator("+") || current().is_operator("-"))) {
    ExprPtr expr = make(ExprKind::kBinary, current().line);
    expr->op = take().text == "+" ? Op::kAdd : Op::kSubtract;
    expr->operands.push_back(std::move(left));
    expr->operands.push_back(parse_concat());
    left = finish(std::move(expr));
  }
  return failed() ? nullptr : std::move(left);
}

ExprPtr Parser::parse_concat() {
  ExprPtr left = parse_product();
  if (failed() || !current().is_operator("~")) return left;
  ExprPtr expr = make(ExprKind::kConcat, left->line);
  expr->operands.push_back(std::move(left));
  while (!failed() && skip_operator("~")) expr->operands.push_back(parse_product());
  return finish(std::move(expr));
}

ExprPtr Parser::parse_product() {
  static constexpr std::pair<std::string_view, Op> kProduct[] = {
      {"*", Op::kMultiply}, {"/", Op::kDivide}, {"//", Op::kFloorDivide}, {"%", Op::kModulo}};
  ExprPtr left = parse_power();
  while (!failed()) {
    const auto entry = std::find_if(std::begin(kProduct), std::end(kProduct), [&](const auto& candidate) {
      return current().is_operator(candidate.first);
    });
    if (entry == std::end(kProduct)) break;
    ExprPtr expr = make(ExprKind::kBinary, take().line);
    expr->op = entry->second;
    expr->operands.push_back(std::move(left));
    expr->operands.push_back(parse_power());
    left = finish(std::move(expr));
  }
  return failed() ? nullptr : std::move(left);
}

ExprPtr Parser::parse_power() {
  ExprPtr left = parse_unary(true);
  while (!failed() && current().is_operator("**")) {
    ExprPtr expr = make(ExprKind::kBinary, take().line);
    expr->op = Op::kPower;
    expr->operands.push_back(std::move(left));
    expr->operands.push_back(parse_unary(true));
    left = finish(std::move(expr));
  }
  return failed() ? nullptr : std::move(left);
}

ExprPtr Parser::parse_unary(bool with_filter) {
  ExprPtr expr;
  if (current().is_operator("-") || current().is_operator("+")) {
    const Nested nested(*this);
    if (failed()) return nullptr;
    const Token sign = take();
    expr = make(sign.text == "-" ? ExprKind::kNegate : ExprKind::kPlus, sign.line);
    expr->operands.push_back(parse_unary(false));
    expr = finish(std::move(expr));
  } else {
    expr = parse_primary();
  }
  if (!failed()) expr = parse_postfix(std::move(expr));
  if (!failed() && with_filter) expr = parse_filter_expr(std::move(expr));
  return failed() ? nullptr : std::move(expr);
}

}  // namespace hedge::text::jinja
