// The parser's state, shared by its two halves: statements (jinja_parser.cc) and expressions
// (jinja_parser_expr.cc). Recursive descent over the token list; methods return null or false once an error
// is set, and the first error stands.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"

namespace hedge::text::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Result<Program> run();

 private:
  // Counts a level of nesting for its lifetime.
  class Nested {
   public:
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting) {
        parser_.fail("nested deeper than " + std::to_string(kMaxNesting), ErrorCode::kExhausted);
      }
    }
    ~Nested() { --parser_.nesting_; }

   private:
    Parser& parser_;
  };

  // What of the enclosing constructs matters to a statement inside.
  struct MacroUse {
    bool caller = false, varargs = false, kwargs = false;
  };

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  Token take() { return position_ + 1 < tokens_.size() ? tokens_[position_++] : tokens_[position_]; }
  bool failed() const { return error_.has_value(); }
  void fail(const std::string& what, ErrorCode code = ErrorCode::kInvalidArgument) {
    fail_at(current().line, what, code);
  }
  void fail_at(int line, const std::string& what, ErrorCode code = ErrorCode::kInvalidArgument) {
    if (!error_) error_ = parse_error(line, what, code);
  }
  bool skip_operator(std::string_view op);
  bool skip_name(std::string_view name);
  bool expect_operator(std::string_view op);
  bool expect_name(std::string_view name);
  bool expect(TokenKind kind, const char* what);
  std::string expect_identifier();
  SymbolId symbol(const std::string& name);

  // Statements.
  std::string parse_block(Block& block, std::initializer_list<std::string_view> ends);
  bool at_end_tag(std::initializer_list<std::string_view> ends) const;
  void parse_output(Block& block);
  void parse_statement(Block& block);
  // "%}", the statements up to one of the end tags, whose name it gives and passes.
  std::string parse_body(Block& block, std::initializer_list<std::string_view> ends);
  void parse_if(Stmt& stmt);
  void parse_for(Stmt& stmt);
  void parse_set(Stmt& stmt);
  void parse_with(Stmt& stmt);
  void parse_macro(Stmt& stmt);
  void parse_call_block(Stmt& stmt);
  void parse_filter_block(Stmt& stmt);
  void parse_captured(Stmt& stmt, std::string_view end);
  void parse_signature(MacroDef& macro);
  void parse_macro_body(MacroDef& macro, std::string_view end);
  std::optional<Target> parse_target(bool allow_attribute, bool allow_tuple);
  std::optional<Target> parse_single_target(bool allow_attribute);

  // Expressions.
  ExprPtr make(ExprKind kind, int line);
  ExprPtr finish(ExprPtr expr);  // sets the depth
  ExprPtr parse_tuple(bool with_condition, bool explicit_parentheses, std::string_view end_name = {});
  ExprPtr parse_expression(bool with_condition = true);
  ExprPtr parse_condition();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  std::optional<Op> take_compare_operator();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr expr);
  ExprPtr parse_filter_expr(ExprPtr expr);
  ExprPtr parse_subscript(ExprPtr expr);
  ExprPtr parse_call(ExprPtr callee);
  std::unique_ptr<CallArgs> parse_call_args();
  ExprPtr parse_filter(ExprPtr operand, bool start_inline);
  ExprPtr parse_test(ExprPtr operand);
  std::string dotted_name();
  void note_unknown(int line, const std::string& what);

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int nesting_ = 0;
  int loops_ = 0;         // enclosing loops within the current macro
  int conditionals_ = 0;  // constructs whose inside may never run
  // Filters and tests that Hedge does not know and that are certain to be reached.
  std::vector<Error> unknown_;
  std::vector<MacroUse> macros_;
  std::unordered_map<std::string, SymbolId> symbol_ids_;
  Program program_;
  std::optional<Error> error_;
};

}  // namespace hedge::text::jinja
