// Private to api/: tokens with their log-probabilities, sent in step with the text that they became.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_reader.h"
#include "chat/event.h"

namespace hedge::api {

// Counts along the text that the bytes of tokens become. A character may be spread over several tokens; each
// of them begins where that character does. Broken bytes are U+FFFD in the text.
class TextCursor {
 public:
  // Goes past one token. Returns where it begins, in characters.
  size_t pass(std::string_view token);
  size_t bytes() const { return bytes_; }  // where the next one begins

 private:
  void count(std::string_view whole);

  size_t bytes_ = 0;
  size_t characters_ = 0;
  std::string partial_;  // the beginning of a character
};

struct PlacedToken {
  chat::TokenInfo info;
  size_t offset = 0;  // where its text begins in the answer's, in characters
};

// Text lags behind its tokens while a character or a possible stop string is incomplete, and a stop string's
// text never comes. So a token waits here until text has come up to where it begins, and those that still
// wait at the end are dropped.
class LogprobQueue {
 public:
  LogprobQueue() = default;
  // `top` as in Request::top_logprobs.
  explicit LogprobQueue(int top) : top_(top) {}

  bool wanted() const { return top_ >= 0; }
  int top() const { return top_; }

  void push(const chat::Delta& delta);
  std::vector<PlacedToken> take();  // tokens whose text has begun to come

 private:
  int top_ = -1;
  std::vector<chat::TokenInfo> waiting_;
  size_t missing_space_ = 0;  // that was taken off the text's beginning, but not off its tokens
  size_t text_bytes_ = 0;     // of the text that came
  TextCursor cursor_;         // behind the tokens taken
};

// {"content":[{"token","logprob","bytes","top_logprobs"}],"refusal":null}
OrderedJson chat_logprobs(const std::vector<PlacedToken>& tokens, int top);
// {"tokens","token_logprobs","top_logprobs","text_offset"}
OrderedJson text_logprobs(const std::vector<PlacedToken>& tokens, int top);

}  // namespace hedge::api
