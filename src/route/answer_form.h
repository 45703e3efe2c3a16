// Signals in the answer's tokens and text that need no model: it goes round in a loop, or cannot become what
// was asked for any more. Pure functions of what they are given; nothing here knows who writes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "chat/request.h"

namespace hedge::route {

// Follows the tokens' ids. A loop is a piece of at most kPeriodMax tokens that stands kCopiesMin times in a
// row and fills kTokensMin tokens or more. Lists and tables repeat less, and never exactly.
class LoopWatch {
 public:
  static constexpr size_t kPeriodMax = 64;
  static constexpr int kCopiesMin = 4;
  static constexpr int kTokensMin = 32;

  // The length of the loop in tokens, when this token completes one; each is told once.
  std::optional<int> push(int32_t id);

 private:
  std::array<int32_t, kPeriodMax> last_{};  // ring
  size_t count_ = 0;
  std::array<int, kPeriodMax + 1> run_{};  // [period] tokens in a row that are the one a period before
  bool looping_ = false;
};

enum class Form : uint8_t { kFree, kJson, kJsonOnly, kCode, kList };
std::string_view to_string(Form form);

// What the last user message asks the answer to be, in so many words ("as JSON", "only JSON", "in a code
// block", "a bulleted list"); kFree when it asks for nothing of the kind.
Form asked_form(const chat::Request& request);

// Why a text cannot be what was asked for any more.
struct FormBreak {
  std::string_view what;  // "garbage", "not JSON", ...
  double value = 0;       // what was counted
  double threshold = 0;   // how much is allowed
};

// Follows the text of an answer. What is held against it is certain or nearly so: broken characters, JSON
// that no continuation makes valid, a form that has not begun after many bytes.
class FormWatch {
 public:
  static constexpr int kGarbageMax = 2;      // characters that no text holds: U+FFFD, controls
  static constexpr int kPreambleMax = 200;   // bytes before the JSON begins; of "only JSON" none
  static constexpr int kFormBytesMax = 400;  // within which a list or a code block begins
  static constexpr size_t kDepthMax = 128;   // of JSON; what is deeper is not judged

  explicit FormWatch(Form form) : form_(form) {}

  // The first break; nothing after it.
  std::optional<FormBreak> push(std::string_view text);

 private:
  enum class State : uint8_t {
    kBefore,
    kFence,
    kValue,
    kKey,
    kColon,
    kAfter,
    kString,
    kEscape,
    kHex,
    kWord,
    kDone
  };

  std::optional<FormBreak> push_char(unsigned char c);
  bool garbage(unsigned char c);
  bool json(unsigned char c);  // false: no continuation makes it valid
  bool value_begins(unsigned char c);
  void value_ends();
  bool form_begins(unsigned char c);

  const Form form_;
  bool broken_ = false, begun_ = false;
  int garbage_ = 0, bytes_ = 0;
  unsigned char before_[2] = {};  // the last two bytes
  // JSON
  State state_ = State::kBefore;
  std::array<bool, kDepthMax> object_{};  // what is open: objects or lists
  size_t depth_ = 0;
  bool preamble_ = false;   // there were words before it
  bool key_ = false;        // the string is a key
  bool may_close_ = false;  // right after the bracket
  int hex_ = 0, fences_ = 0;
  std::string word_;  // number or literal
  // Lists and code
  int line_bytes_ = 0;
  bool digits_ = false;
};

}  // namespace hedge::route
