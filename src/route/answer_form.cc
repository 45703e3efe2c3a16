#include "route/answer_form.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "base/ascii.h"

namespace hedge::route {
namespace {

bool is_space(unsigned char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Whether `word` is a JSON number or literal, or the beginning of one.
bool word_begins(std::string_view word) {
  for (const std::string_view literal : {"true", "false", "null"})
    if (literal.substr(0, word.size()) == word) return true;
  // -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
  enum { kStart, kSign, kZero, kInteger, kPoint, kFraction, kE, kESign, kExponent } state = kStart;
  for (const char c : word) {
    const bool digit = is_digit(c);
    const bool e = c == 'e' || c == 'E';
    if (state == kStart && c == '-') {
      state = kSign;
    } else if ((state == kStart || state == kSign) && digit) {
      state = c == '0' ? kZero : kInteger;
    } else if (state == kInteger && digit) {
    } else if ((state == kZero || state == kInteger) && c == '.') {
      state = kPoint;
    } else if ((state == kPoint || state == kFraction) && digit) {
      state = kFraction;
    } else if ((state == kZero || state == kInteger || state == kFraction) && e) {
      state = kE;
    } else if (state == kE && (c == '+' || c == '-')) {
      state = kESign;
    } else if ((state == kE || state == kESign || state == kExponent) && digit) {
      state = kExponent;
    } else {
      return false;
    }
  }
  return true;
}

bool word_complete(std::string_view word) {
  return word == "true" || word == "false" || word == "null" || (word_begins(word) && is_digit(word.back()));
}

}  // namespace

std::optional<int> LoopWatch::push(int32_t id) {
  if (id < 0) return std::nullopt;
  int longest = 0;
  for (size_t period = 1; period <= kPeriodMax; ++period) {
    const bool same = count_ >= period && last_[(count_ - period) % kPeriodMax] == id;
    run_[period] = same ? run_[period] + 1 : 0;
    const int tokens = run_[period] + static_cast<int>(period);
    if (same && tokens >= kTokensMin && tokens >= kCopiesMin * static_cast<int>(period))
      longest = std::max(longest, tokens);
  }
  last_[count_ % kPeriodMax] = id;
  ++count_;
  const bool begins = longest > 0 && !looping_;
  looping_ = longest > 0;
  return begins ? std::optional(longest) : std::nullopt;
}

std::string_view to_string(Form form) {
  switch (form) {
    case Form::kFree:
      return "free";
    case Form::kJson:
      return "JSON";
    case Form::kJsonOnly:
      return "only JSON";
    case Form::kCode:
      return "a code block";
    case Form::kList:
      return "a list";
  }
  return "";
}

Form asked_form(const chat::Request& request) {
  if (request.raw) return Form::kFree;
  const auto last = std::find_if(request.messages.rbegin(), request.messages.rend(),
                                 [](const chat::Message& m) { return m.role == chat::Role::kUser; });
  if (last == request.messages.rend()) return Form::kFree;
  constexpr size_t kBytesMax = 1u << 16;
  std::string text = last->content.substr(0, kBytesMax);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  const auto has = [&](std::initializer_list<std::string_view> phrases) {
    return std::any_of(phrases.begin(), phrases.end(),
                       [&](std::string_view p) { return text.find(p) != std::string::npos; });
  };
  if (has({"only json", "only valid json", "json only", "only with json", "only the json", "only a json",
           "nothing but json"}))
    return Form::kJsonOnly;
  if (has({"as json", "in json", "return json", "output json", "with json", "valid json", "as a json",
           "return a json", "with a json"}))
    return Form::kJson;
  if (has({"in a code block", "in a fenced code block", "inside a code block", "as a code block"}))
    return Form::kCode;
  if (has({"bullet list", "bulleted list", "bullet points", "numbered list"})) return Form::kList;
  return Form::kFree;
}

std::optional<FormBreak> FormWatch::push(std::string_view text) {
  for (const char c : text) {
    if (broken_) return std::nullopt;
    if (auto found = push_char(static_cast<unsigned char>(c))) {
      broken_ = true;
      return found;
    }
  }
  return std::nullopt;
}

std::optional<FormBreak> FormWatch::push_char(unsigned char c) {
  ++bytes_;
  const bool is_garbage = garbage(c);
  std::optional<FormBreak> found;
  if (is_garbage && garbage_ > kGarbageMax) {
    found = FormBreak{"garbage", static_cast<double>(garbage_), kGarbageMax};
  } else if (form_ == Form::kJson || form_ == Form::kJsonOnly) {
    const bool was_before = state_ == State::kBefore;
    if (!json(c)) {
      const int preamble = form_ == Form::kJsonOnly ? 0 : kPreambleMax;
      found = was_before
                  ? FormBreak{"no JSON yet", static_cast<double>(bytes_), static_cast<double>(preamble)}
                  : FormBreak{"broken JSON", static_cast<double>(bytes_), 0};
    }
  } else if (form_ != Form::kFree && !begun_) {
    begun_ = form_begins(c);
    if (!begun_ && bytes_ > kFormBytesMax)
      found = FormBreak{form_ == Form::kCode ? "no code block yet" : "no list yet",
                        static_cast<double>(bytes_), kFormBytesMax};
  }
  before_[0] = before_[1];
  before_[1] = c;
  return found;
}

bool FormWatch::garbage(unsigned char c) {
  const bool control = (c < 0x20 && !is_space(c) && c != '\f' && c != '\v') || c == 0x7f;
  const bool replacement = before_[0] == 0xef && before_[1] == 0xbf && c == 0xbd;
  garbage_ += control || replacement ? 1 : 0;
  return control || replacement;
}

bool FormWatch::form_begins(unsigned char c) {
  if (form_ == Form::kCode) return before_[0] == '`' && before_[1] == '`' && c == '`';
  if (c == '\n') {
    line_bytes_ = 0;
    digits_ = false;
    return false;
  }
  if (line_bytes_ == 0 && is_space(c)) return false;
  ++line_bytes_;
  if (is_digit(static_cast<char>(c)) && (line_bytes_ == 1 || digits_)) {
    digits_ = true;
    return false;
  }
  const bool marks =
      (digits_ && (c == '.' || c == ')')) ||
      (line_bytes_ == 2 && c == ' ' && (before_[1] == '-' || before_[1] == '*' || before_[1] == '+')) ||
      (line_bytes_ == 3 && before_[0] == 0xe2 && before_[1] == 0x80 && c == 0xa2);
  digits_ = false;
  return marks;
}

bool FormWatch::value_begins(unsigned char c) {
  if (c == '{' || c == '[') {
    if (depth_ == kDepthMax) {
      state_ = State::kDone;
      return true;
    }
    object_[depth_++] = c == '{';
    state_ = c == '{' ? State::kKey : State::kValue;
    may_close_ = true;
    return true;
  }
  if (c == '"') {
    key_ = false;
    state_ = State::kString;
    return true;
  }
  word_.assign(1, static_cast<char>(c));
  state_ = State::kWord;
  return word_begins(word_);
}

void FormWatch::value_ends() { state_ = depth_ == 0 ? State::kDone : State::kAfter; }

bool FormWatch::json(unsigned char c) {
  switch (state_) {
    case State::kBefore:
      if (c == '{' || c == '[') {
        // Within a line of words it may be JSON or prose: not judged.
        if (form_ == Form::kJson && preamble_ && before_[1] != '\n') return state_ = State::kDone, true;
        return value_begins(c);
      }
      if (is_space(c)) return true;
      if (c == '`') {
        if (++fences_ == 3) state_ = State::kFence;
        return true;
      }
      preamble_ = true;
      return form_ == Form::kJson && bytes_ <= kPreambleMax;
    case State::kFence:  // the language's name, to the end of the line
      if (c == '\n') state_ = State::kValue;
      return c == '\n' || is_space(c) || is_alnum(static_cast<char>(c));
    case State::kValue:
      if (is_space(c)) return true;
      if (c == ']' && may_close_ && depth_ > 0) {
        --depth_;
        value_ends();
        return true;
      }
      may_close_ = false;
      return value_begins(c);
    case State::kKey:
      if (is_space(c)) return true;
      if (c == '}' && may_close_) {
        --depth_;
        value_ends();
        return true;
      }
      may_close_ = false;
      key_ = true;
      state_ = State::kString;
      return c == '"';
    case State::kColon:
      if (c == ':') state_ = State::kValue;
      may_close_ = false;
      return c == ':' || is_space(c);
    case State::kAfter:
      if (is_space(c)) return true;
      if (c == ',') {
        state_ = object_[depth_ - 1] ? State::kKey : State::kValue;
        may_close_ = false;
        return true;
      }
      if (c != (object_[depth_ - 1] ? '}' : ']')) return false;
      --depth_;
      value_ends();
      return true;
    case State::kString:
      if (c == '\\') state_ = State::kEscape;
      if (c == '"') {
        if (key_) {
          state_ = State::kColon;
        } else {
          value_ends();
        }
      }
      return c >= 0x20;
    case State::kEscape:
      state_ = c == 'u' ? State::kHex : State::kString;
      hex_ = 0;
      return std::string_view("\"\\/bfnrtu").find(static_cast<char>(c)) != std::string_view::npos;
    case State::kHex:
      if (++hex_ == 4) state_ = State::kString;
      return is_hex(static_cast<char>(c));
    case State::kWord:
      if (is_alnum(static_cast<char>(c)) || c == '+' || c == '-' || c == '.') {
        // A number may have any length; nobody needs more than this of it.
        if (word_.size() < 64) word_.push_back(static_cast<char>(c));
        return word_begins(word_);
      }
      if (!word_complete(word_)) return false;
      value_ends();
      return state_ == State::kDone || json(c);
    case State::kDone:
      return true;
  }
  return true;
}

}  // namespace hedge::route
