#include "api/logprobs.h"

#include <algorithm>
#include <iterator>

#include "base/utf8.h"

namespace hedge::api {
namespace {

// OpenAI's stand-in for minus infinity, which JSON cannot say.
constexpr double kLogprobMin = -9999.0;

double finite(float logprob) { return logprob >= kLogprobMin ? static_cast<double>(logprob) : kLogprobMin; }

OrderedJson token_json(const chat::TokenLogprob& token) {
  OrderedJson bytes = OrderedJson::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {
      {"token", utf8_sanitize(token.bytes)}, {"logprob", finite(token.logprob)}, {"bytes", std::move(bytes)}};
}

size_t top_count(const chat::TokenInfo& token, int top) {
  return std::min(token.top.size(), static_cast<size_t>(std::max(top, 0)));
}

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

size_t leading_space(std::string_view text) { return std::min(text.find_first_not_of(" \n\t"), text.size()); }

// White space at the beginning of an answer's tokens that is not in its text.
size_t missing_space(const std::vector<chat::TokenInfo>& tokens, std::string_view text) {
  std::string bytes;
  for (const chat::TokenInfo& token : tokens) bytes += token.chosen.bytes;
  const size_t of_tokens = leading_space(bytes);
  const size_t of_text = leading_space(text);
  return of_tokens > of_text ? of_tokens - of_text : 0;
}

}  // namespace

void LogprobQueue::push(const chat::Delta& delta) {
  if (!wanted()) return;
  waiting_.insert(waiting_.end(), delta.tokens.begin(), delta.tokens.end());
  if (text_bytes_ == 0 && !delta.text.empty()) text_bytes_ = missing_space(waiting_, delta.text);
  text_bytes_ += delta.text.size();
}

std::vector<chat::TokenInfo> LogprobQueue::take() {
  size_t count = 0;
  while (count < waiting_.size() && token_bytes_ < text_bytes_) {
    token_bytes_ += waiting_[count].chosen.bytes.size();
    ++count;
  }
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<chat::TokenInfo> ready(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  return ready;
}

OrderedJson chat_logprobs(const std::vector<chat::TokenInfo>& tokens, int top) {
  OrderedJson content = OrderedJson::array();
  for (const chat::TokenInfo& token : tokens) {
    OrderedJson entry = token_json(token.chosen);
    OrderedJson best = OrderedJson::array();
    for (size_t i = 0; i < top_count(token, top); ++i) best.push_back(token_json(token.top[i]));
    entry["top_logprobs"] = std::move(best);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

OrderedJson text_logprobs(const std::vector<chat::TokenInfo>& tokens, int top, size_t& text_offset) {
  OrderedJson names = OrderedJson::array();
  OrderedJson logprobs = OrderedJson::array();
  OrderedJson tops = OrderedJson::array();
  OrderedJson offsets = OrderedJson::array();
  for (const chat::TokenInfo& token : tokens) {
    const std::string name = utf8_sanitize(token.chosen.bytes);
    OrderedJson best = OrderedJson::object();
    for (size_t i = 0; i < top_count(token, top); ++i) {
      best[utf8_sanitize(token.top[i].bytes)] = finite(token.top[i].logprob);
    }
    offsets.push_back(text_offset);
    text_offset += count_characters(name);
    names.push_back(name);
    logprobs.push_back(finite(token.chosen.logprob));
    tops.push_back(std::move(best));
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

}  // namespace hedge::api
