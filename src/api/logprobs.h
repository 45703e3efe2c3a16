// Private to api/: tokens with their log-probabilities, sent in step with the text that they became.
#pragma once

#include <cstddef>
#include <vector>

#include "api/json_reader.h"
#include "chat/event.h"

namespace hedge::api {

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
  std::vector<chat::TokenInfo> take();  // tokens whose text has begun to come
  // Where the next tokens of a text completion begin, in characters; text_logprobs() advances it.
  size_t& text_offset() { return text_offset_; }

 private:
  int top_ = -1;
  std::vector<chat::TokenInfo> waiting_;
  size_t text_bytes_ = 0;   // of the text that came, with the space that was taken off its beginning
  size_t token_bytes_ = 0;  // of the tokens taken
  size_t text_offset_ = 0;
};

// {"content":[{"token","logprob","bytes","top_logprobs"}],"refusal":null}
OrderedJson chat_logprobs(const std::vector<chat::TokenInfo>& tokens, int top);
// {"tokens","token_logprobs","top_logprobs","text_offset"}
OrderedJson text_logprobs(const std::vector<chat::TokenInfo>& tokens, int top, size_t& text_offset);

}  // namespace hedge::api
