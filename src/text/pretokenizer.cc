#include "text/pretokenizer.h"

#include <fmt/core.h>

#include <string>
#include <utility>

#include "base/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace hedge::text {
namespace {

constexpr size_t kExpressionsMax = 6;

struct Definition {
  std::string_view names;  // separated by spaces
  unsigned flags;
  const char* expressions[kExpressionsMax];
};

constexpr auto kIgnoresMerges = Pretokenizer::kIgnoresMerges;
constexpr auto kAddsBos = Pretokenizer::kAddsBos;
constexpr auto kRawUtf8 = Pretokenizer::kRawUtf8;
constexpr auto kAlwaysAddsBos = Pretokenizer::kAlwaysAddsBos;
constexpr auto kWholeNewlines = Pretokenizer::kWholeNewlines;

constexpr Definition kDefinitions[] = {
#define HEDGE_PRETOKENIZER(names, flags, ...) {names, flags, {__VA_ARGS__}},
#include "text/pretokenizer_list.inc"
#undef HEDGE_PRETOKENIZER
};

// No expression in the list needs more than a few steps for each byte of a piece; a match that takes longer
// is given up and the rest of the piece stays whole.
constexpr uint32_t kMatchLimit = 50'000'000;

// What "\p{X}" and "\s" stand for inside of [] when the text is ClassText::classes.
struct Escape {
  std::string_view written;
  std::string_view set;
};
constexpr Escape kClassEscapes[] = {
    {R"(\p{L})", "A-Za-z\xd2"},
    {R"(\p{Upper})", "A-Z\xd2"},
    {R"(\p{Lower})", "a-z\xd2"},
    {R"(\p{N})", "0-9\xd1"},
    {R"(\p{P})", "!-#%-*,-/:;?@\\[-\\]_{}\xd3"},
    {R"(\p{S})", "$+<->^`|~\xd5"},
    {R"(\p{M})", "\xd4"},
};
// Over code points, where PCRE2's own \s would follow its version of Unicode.
constexpr Escape kCodePointEscapes[] = {
    {R"(\s)", R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})"},
};

// Replaces the escapes by their sets, in brackets of their own where they stand outside of any.
template <size_t kCount>
std::string expand(std::string_view expression, const Escape (&escapes)[kCount]) {
  std::string out;
  bool in_set = false;
  for (size_t i = 0; i < expression.size();) {
    const Escape* found = nullptr;
    for (const Escape& escape : escapes) {
      if (expression.substr(i).starts_with(escape.written)) found = &escape;
    }
    if (found != nullptr) {
      if (!in_set) out += '[';
      out += found->set;
      if (!in_set) out += ']';
      i += found->written.size();
    } else if (expression[i] == '\\') {
      out += expression.substr(i, 2);
      i += 2;
    } else {
      if (expression[i] == '[') in_set = true;
      if (expression[i] == ']') in_set = false;
      out += expression[i++];
    }
  }
  return out;
}

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct ContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct MatchDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using MatchData = std::unique_ptr<pcre2_match_data, MatchDeleter>;

// One expression of a definition, ready to run.
struct Step {
  enum class Kind { kClasses, kCodePoints, kDigits3, kAsciiDigits3 };
  Kind kind;
  std::unique_ptr<pcre2_code, CodeDeleter> code;  // null for the digit groups
  bool jit = false;
};

// Part of the text, in bytes of utf8 and in code points (places in `classes`).
struct Piece {
  size_t byte_begin, byte_end;
  size_t point_begin, point_end;
};

// Runs the steps over one text. The match data is not shared, so a Pretokenizer can serve many threads.
class Run {
 public:
  Run(const ClassText& text, const std::vector<Step>& steps, pcre2_match_context* context,
      const Pretokenizer::Sink& sink)
      : text_(text),
        steps_(steps),
        context_(context),
        sink_(sink),
        data_(pcre2_match_data_create(1, nullptr)) {}

  void step(size_t depth, const Piece& piece) {
    if (piece.byte_begin == piece.byte_end) return;
    if (depth == steps_.size() || data_ == nullptr) {
      sink_(text_.utf8.substr(piece.byte_begin, piece.byte_end - piece.byte_begin));
      return;
    }
    switch (steps_[depth].kind) {
      case Step::Kind::kClasses:
      case Step::Kind::kCodePoints:
        match_all(depth, piece);
        return;
      case Step::Kind::kDigits3:
        group_digits(depth, piece, "\xd1", false);
        return;
      case Step::Kind::kAsciiDigits3:
        group_digits(depth, piece, "", true);
        return;
    }
  }

 private:
  void match_all(size_t depth, const Piece& piece) {
    const Step& current = steps_[depth];
    const bool classes = current.kind == Step::Kind::kClasses;
    const std::string_view subject =
        classes ? text_.classes.substr(piece.point_begin, piece.point_end - piece.point_begin)
                : text_.strict_utf8.substr(piece.byte_begin, piece.byte_end - piece.byte_begin);
    Piece rest = piece;  // what is not handed on yet
    size_t position = 0, handed_on = 0;
    const auto hand_on = [&](size_t end) {
      const Piece part = classes ? cut_points(rest, end - handed_on) : cut_bytes(rest, end - handed_on);
      handed_on = end;
      step(depth + 1, part);
    };
    while (position < subject.size()) {
      const int found = match(current, subject, position);
      if (found < 0) break;
      const size_t* range = pcre2_get_ovector_pointer(data_.get());
      const size_t begin = range[0], end = range[1];
      if (end == begin) break;  // No expression of the list matches nothing.
      if (begin > handed_on) hand_on(begin);
      hand_on(end);
      position = end;
    }
    step(depth + 1, rest);
  }

  int match(const Step& current, std::string_view subject, size_t position) {
    const auto* bytes = reinterpret_cast<PCRE2_SPTR>(subject.data());
    if (current.jit) {
      const int found =
          pcre2_jit_match(current.code.get(), bytes, subject.size(), position, 0, data_.get(), context_);
      if (found != PCRE2_ERROR_JIT_STACKLIMIT)
        return found;  // The interpreter takes its frames from the heap.
    }
    return pcre2_match(current.code.get(), bytes, subject.size(), position, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       data_.get(), context_);
  }

  // Cuts runs of digits into threes counted from the right: before each group, or after the first part and
  // each group.
  void group_digits(size_t depth, const Piece& piece, std::string_view other_digits, bool cut_before) {
    const auto is_digit = [&](size_t point) {
      const char c = text_.classes[point];
      return (c >= '0' && c <= '9') || other_digits.find(c) != std::string_view::npos;
    };
    Piece rest = piece;
    for (size_t i = piece.point_begin; i < piece.point_end;) {
      size_t end = i;
      while (end < piece.point_end && is_digit(end)) ++end;
      const size_t first = i + (end - i) % 3;
      for (size_t cut = first; end > i && cut <= end; cut += 3) {
        const bool wanted = cut_before ? cut < end : cut > i;
        if (wanted && cut > rest.point_begin) step(depth + 1, cut_points(rest, cut - rest.point_begin));
      }
      i = end + 1;
    }
    step(depth + 1, rest);
  }

  // Takes the first `points` code points, or `bytes` bytes, off `rest`.
  Piece cut_points(Piece& rest, size_t points) const {
    Piece part = rest;
    part.point_end = rest.point_begin + points;
    if (text_.ascii()) {
      part.byte_end = rest.byte_begin + points;
    } else {
      size_t byte = rest.byte_begin;
      for (size_t i = 0; i < points; ++i) {
        ++byte;
        while (byte < rest.byte_end && utf8_continues(text_.utf8[byte])) ++byte;
      }
      part.byte_end = byte;
    }
    rest.point_begin = part.point_end;
    rest.byte_begin = part.byte_end;
    return part;
  }
  Piece cut_bytes(Piece& rest, size_t bytes) const {
    Piece part = rest;
    part.byte_end = rest.byte_begin + bytes;
    size_t points = 0;
    for (size_t i = part.byte_begin; i < part.byte_end; ++i) points += utf8_continues(text_.utf8[i]) ? 0 : 1;
    part.point_end = rest.point_begin + points;
    rest.point_begin = part.point_end;
    rest.byte_begin = part.byte_end;
    return part;
  }

  const ClassText& text_;
  const std::vector<Step>& steps_;
  pcre2_match_context* context_;
  const Pretokenizer::Sink& sink_;
  MatchData data_;
};

Result<Step> make_step(std::string_view expression) {
  if (expression == "@digits3") return Step{Step::Kind::kDigits3, nullptr};
  if (expression == "@ascii_digits3") return Step{Step::Kind::kAsciiDigits3, nullptr};
  Step step;
  uint32_t options = PCRE2_DOLLAR_ENDONLY;
  std::string expanded;
  if (expression.find(R"(\x{)") != std::string_view::npos) {
    step.kind = Step::Kind::kCodePoints;
    options |= PCRE2_UTF;
    expanded = expand(expression, kCodePointEscapes);
  } else {
    step.kind = Step::Kind::kClasses;
    expanded = expand(expression, kClassEscapes);
  }
  int error = 0;
  size_t offset = 0;
  step.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expanded.data()), expanded.size(), options,
                                &error, &offset, nullptr));
  if (step.code == nullptr) {
    return make_error(ErrorCode::kInternal,
                      fmt::format("pre-tokenizer expression: PCRE2 error {} at offset {}, expected "
                                  "an expression that compiles",
                                  error, offset));
  }
  // Not fatal where it is absent (a processor without support, memory that may not be executed): only slower.
  step.jit = pcre2_jit_compile(step.code.get(), PCRE2_JIT_COMPLETE) == 0;
  return step;
}

class RegexPretokenizer final : public Pretokenizer {
 public:
  static Result<std::unique_ptr<Pretokenizer>> make(const Definition& definition) {
    auto made = std::make_unique<RegexPretokenizer>();
    made->flags_ = definition.flags;
    made->context_.reset(pcre2_match_context_create(nullptr));
    if (made->context_ == nullptr)
      return make_error(ErrorCode::kExhausted, "no memory for a PCRE2 match context");
    pcre2_set_match_limit(made->context_.get(), kMatchLimit);
    for (const char* expression : definition.expressions) {
      if (expression == nullptr) break;
      HEDGE_TRY_SET(Step step, make_step(expression));
      made->steps_.push_back(std::move(step));
    }
    return std::unique_ptr<Pretokenizer>(std::move(made));
  }

  void split(const ClassText& text, const Sink& sink) const override {
    Run(text, steps_, context_.get(), sink).step(0, {0, text.utf8.size(), 0, text.classes.size()});
  }

 private:
  std::vector<Step> steps_;
  std::unique_ptr<pcre2_match_context, ContextDeleter> context_;
};

std::vector<std::string_view> words(std::string_view list) {
  std::vector<std::string_view> out;
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    out.push_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Pretokenizer>> Pretokenizer::make(std::string_view name) {
  const std::string_view wanted = name.empty() ? "default" : name;
  for (const Definition& definition : kDefinitions) {
    for (const std::string_view known : words(definition.names)) {
      if (known == wanted) return RegexPretokenizer::make(definition);
    }
  }
  return make_error(
      ErrorCode::kUnsupported,
      fmt::format("tokenizer.ggml.pre: expected a pre-tokenizer that Hedge knows (default, gpt-2, "
                  "llama-bpe, qwen2 ...), got \"{}\"",
                  name.substr(0, 64)));
}

std::vector<std::string_view> pretokenizer_names() {
  std::vector<std::string_view> names;
  for (const Definition& definition : kDefinitions) {
    for (const std::string_view name : words(definition.names)) names.push_back(name);
  }
  return names;
}

}  // namespace hedge::text
